//! What modalities that cut a plane into patches share: pictures and spectrograms.

use burn::{
    module::Param,
    tensor::{Device, Tensor},
};
use ndarray::{Array2, ArrayD, Ix3};
use rand::seq::index;
use sensorium_contract::{Array, Arrays, MaskTarget, Masked, Name, Rng, Truth, tensor_bool};

/// Array of a batch: `[rows, patches, values]`.
pub(crate) const PATCHES: &str = "patches";
/// Array of a batch: `[rows, patches]`, true where a patch is real; absent if all are.
pub(crate) const MASK: &str = "mask";
/// Array of a batch: `[rows, patches]`, true where masked modelling hides a patch; absent if none is.
pub(crate) const HIDDEN: &str = "hidden";

/// A hash of a file's bytes that equal files share.
pub(crate) fn content(bytes: &[u8]) -> u64 {
    let hash = blake3::hash(bytes);
    u64::from_le_bytes(std::array::from_fn(|byte| hash.as_bytes()[byte]))
}

/// Hides `ratio` of each row's real patches, at least one, drawn by the row's generator. `offset` tokens
/// stand in front of the patches; `truth` turns a patch's values into what must be predicted.
pub(crate) fn hide(
    name: &Name,
    arrays: &Arrays,
    rngs: &mut [Rng],
    ratio: f32,
    offset: usize,
    truth: impl Fn(&mut [f32]),
) -> Masked {
    let patches = arrays.f32(PATCHES).view();
    // Collating makes patches of three axes only.
    let patches = patches.into_dimensionality::<Ix3>().unwrap_or_else(|error| unreachable!("{error}"));
    let patches = patches.as_standard_layout();
    let (row_count, patch_count, width) = patches.dim();
    let Some(all) = patches.as_slice() else { unreachable!("an array of standard layout is a slice") };
    let mut hidden = Array2::from_elem((row_count, patch_count), false);
    let (mut rows, mut tokens, mut values) =
        (Vec::new(), Vec::new(), Vec::with_capacity((all.len() as f32 * ratio) as usize));
    for (row, rng) in rngs.iter_mut().enumerate().take(row_count) {
        for patch in choose(real(arrays, row, patch_count), ratio, rng) {
            hidden[[row, patch]] = true;
            rows.push(row);
            tokens.push(patch + offset);
            let (from, to) = ((row * patch_count + patch) * width, values.len());
            values.extend_from_slice(&all[from..from + width]);
            truth(&mut values[to..]);
        }
    }
    let arrays = arrays.clone().with(HIDDEN, Array::Bool(hidden.into_dyn()));
    let numbers = Array2::from_shape_vec((rows.len(), width), values).unwrap_or_else(|error| unreachable!("{error}"));
    let target = MaskTarget { modality: name.clone(), head: 0, rows, tokens, truth: Truth::Numbers(numbers) };
    let targets = if target.rows.is_empty() { Vec::new() } else { vec![target] };
    Masked { arrays, targets }
}

/// The number of real patches of a row; they stand in front of the padding.
fn real(arrays: &Arrays, row: usize, patches: usize) -> usize {
    match arrays.contains(MASK) {
        true => arrays.bool(MASK).index_axis(ndarray::Axis(0), row).iter().filter(|&&real| real).count(),
        false => patches,
    }
}

/// `round(ratio · patches)` of the patches, at least one unless the ratio is 0, ascending.
fn choose(patches: usize, ratio: f32, rng: &mut Rng) -> Vec<usize> {
    let least = usize::from(ratio > 0.0 && patches > 0);
    let count = ((ratio * patches as f32).round() as usize).clamp(least, patches);
    let mut chosen = index::sample(rng, patches, count).into_vec();
    chosen.sort_unstable();
    chosen
}

/// Embedded patches with the hidden ones replaced by a learned vector.
///
/// # Shapes
/// `values` `[rows, patches, width]`, `token` `[width]` → `[rows, patches, width]`
pub(crate) fn replace_hidden(
    values: Tensor<3>,
    arrays: &Arrays,
    token: &Param<Tensor<1>>,
    device: &Device,
) -> Tensor<3> {
    if !arrays.contains(HIDDEN) {
        return values;
    }
    let shape = values.dims();
    let [_, _, width] = shape;
    let hidden = tensor_bool::<2>(arrays.bool(HIDDEN), &device.clone().inner());
    let hidden = hidden.unsqueeze_dim::<3>(2).expand(shape); // [rows, patches, width]
    let token = token.val().reshape([1, 1, width]).expand(shape); // [rows, patches, width]
    values.mask_where(hidden, token)
}

/// Patches with the class token in front, if there is one.
///
/// # Shapes
/// `values` `[rows, patches, width]`, `class` `[width]` → `[rows, 1 + patches, width]`
pub(crate) fn prepend_class(values: Tensor<3>, class: Option<&Param<Tensor<1>>>) -> Tensor<3> {
    let Some(class) = class else { return values };
    let [rows, _, width] = values.dims();
    let class = class.val().reshape([1, 1, width]).expand([rows, 1, width]);
    Tensor::cat(vec![class, values], 1)
}

/// The mask of a batch with `offset` real tokens in front of the patches; nothing if all are real.
pub(crate) fn token_mask(arrays: &Arrays, offset: usize) -> Option<ArrayD<bool>> {
    if !arrays.contains(MASK) {
        return None;
    }
    let mask = arrays.bool(MASK);
    let (rows, patches) = (mask.shape()[0], mask.shape()[1]);
    let token = |(row, token): (usize, usize)| token < offset || mask[[row, token - offset]];
    Some(Array2::from_shape_fn((rows, offset + patches), token).into_dyn())
}
