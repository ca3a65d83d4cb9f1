use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use sensorium_backbone::{Draw, param};
use sensorium_contract::{Seed, tensor_bool};

use super::{Patches, bicubic::resample};
use crate::{FamilyError, Inputs, Layout};

/// Largest length of anything that sizes of pictures are made of.
const MOST: usize = 1 << 20;

/// Sizes of [`PictureEmbeddings`].
#[derive(Clone, Debug)]
pub(crate) struct PictureSizes {
    pub channels: usize,
    /// Rows and columns of a picture.
    pub picture: [usize; 2],
    /// Rows and columns of a patch.
    pub patch: [usize; 2],
    /// From patch to patch.
    pub stride: [usize; 2],
    pub width: usize,
    /// Names of the learned tokens before the patches.
    pub first: &'static [&'static str],
    /// Whether the patches' layer has a bias.
    pub bias: bool,
    /// Published shape of the token that stands for a hidden patch, if there is one.
    pub hidden: Option<Vec<usize>>,
}

impl PictureSizes {
    /// What is impossible about them.
    pub(crate) fn check(&self) -> Result<(), String> {
        let sizes = [("num_channels", self.channels), ("hidden_size", self.width)].into_iter();
        let pairs = [("image_size", self.picture), ("patch_size", self.patch), ("stride", self.stride)];
        let sides = pairs.into_iter().flat_map(|(key, pair)| pair.map(|side| (key, side)));
        if let Some((key, size)) = sizes.chain(sides).find(|&(_, size)| size == 0 || size > MOST) {
            return Err(format!("`{key}`: expected 1 to {MOST}, found {size}"));
        }
        match self.patches() {
            0 => Err(format!("`patch_size` {:?} is larger than the picture, {:?}", self.patch, self.picture)),
            _ => Ok(()),
        }
    }

    /// Rows and columns of patches.
    pub(crate) fn grid(&self) -> [usize; 2] {
        [0, 1].map(|axis| match self.picture[axis].checked_sub(self.patch[axis]) {
            Some(rest) => rest / self.stride[axis] + 1,
            None => 0,
        })
    }

    /// Number of patches of a picture.
    pub(crate) fn patches(&self) -> usize {
        self.grid().iter().product()
    }

    /// The published shape of the patches' layer.
    pub(crate) fn convolution(&self) -> [usize; 4] {
        [self.width, self.channels, self.patch[0], self.patch[1]]
    }

    /// Number of tokens of a picture.
    pub(crate) fn tokens(&self) -> usize {
        self.first.len() + self.patches()
    }
}

/// Patches of a picture, learned tokens before them, and learned positions (ViT, Dosovitskiy et al. 2021,
/// section 3.1).
#[derive(Module, Debug)]
pub struct PictureEmbeddings {
    /// From pixels.
    pub patches: Patches,
    /// Each `[1, width]`.
    pub first: Vec<Param<Tensor<2>>>,
    /// In place of a patch that is hidden, `[1, width]`.
    pub hidden: Option<Param<Tensor<2>>>,
    /// `[1, tokens, width]`
    pub positions: Param<Tensor<3>>,
    #[module(skip)]
    pub(crate) channels: usize,
    #[module(skip)]
    picture: [usize; 2],
}

impl PictureEmbeddings {
    pub(crate) fn new(sizes: &PictureSizes, device: &Device) -> Self {
        let (width, draw, seed) = (sizes.width, Draw::Normal(0.02), Seed::new(0));
        let token = || param([1, width], draw, seed, device);
        let mut patches = Patches::new([sizes.channels, sizes.patch[0], sizes.patch[1]], width, sizes.bias, device);
        patches.stride = sizes.stride;
        Self {
            patches,
            first: sizes.first.iter().map(|_| token()).collect(),
            hidden: sizes.hidden.is_some().then(token),
            positions: param([1, sizes.tokens(), width], draw, seed, device),
            channels: sizes.channels,
            picture: sizes.picture,
        }
    }

    /// Names below `theirs`.
    pub(crate) fn layout(layout: &mut Layout, own: &str, theirs: &str, sizes: &PictureSizes) {
        let width = sizes.width;
        let projection = format!("{theirs}.patch_embeddings.projection");
        layout.patches(&format!("{own}.patches.projection"), &projection, sizes.convolution(), sizes.bias);
        for (number, name) in sizes.first.iter().enumerate() {
            layout.tensor(format!("{own}.first.{number}"), format!("{theirs}.{name}"), &[1, 1, width]);
        }
        if let Some(shape) = &sizes.hidden {
            layout.tensor(format!("{own}.hidden"), format!("{theirs}.mask_token"), shape);
        }
        let positions = format!("{theirs}.position_embeddings");
        layout.tensor(format!("{own}.positions"), positions, &[1, sizes.tokens(), width]);
    }

    /// The pictures `[rows, channels, height, width]`, of any size that holds a patch.
    pub(crate) fn pixels(&self, inputs: &Inputs<'_>) -> Result<Tensor<4>, FamilyError> {
        let pixels = inputs.floats::<4>(PIXELS)?;
        let [rows, channels, height, width] = pixels.dims();
        if channels != self.channels {
            return Err(FamilyError::input(PIXELS, format!("expected {} channels, found {channels}", self.channels)));
        }
        match self.patches.grid([height, width]).contains(&0) || rows == 0 {
            true => {
                Err(FamilyError::input(PIXELS, format!("there is no patch in {rows} pictures of {height}×{width}")))
            }
            false => Ok(pixels),
        }
    }

    /// The same, of the configured size.
    pub(crate) fn pixels_of_size(&self, inputs: &Inputs<'_>) -> Result<Tensor<4>, FamilyError> {
        let pixels = self.pixels(inputs)?;
        let ([_, _, height, width], [rows, columns]) = (pixels.dims(), self.picture);
        match [height, width] == self.picture {
            true => Ok(pixels),
            false => Err(FamilyError::input(
                PIXELS,
                format!("expected pictures of {rows}×{columns}, found {height}×{width}"),
            )),
        }
    }

    /// Patches as tokens `[rows, patches, width]`, those that `bool_masked_pos` names hidden; without positions.
    pub(crate) fn tokens(&self, pixels: Tensor<4>, inputs: &Inputs<'_>) -> Result<Tensor<3>, FamilyError> {
        let x = self.patches.forward(pixels); // [rows, patches, width]
        let [rows, patches, _] = x.dims();
        let Some(hidden) = inputs.truths(HIDDEN, &[rows, patches])? else { return Ok(x) };
        let Some(token) = &self.hidden else {
            return Err(FamilyError::input(HIDDEN, "the checkpoint has no token for hidden patches"));
        };
        Ok(replaced(x, tensor_bool(&hidden, inputs.device()).float(), token.val()))
    }

    /// Pictures `[rows, channels, height, width]` of the configured size as tokens, `[rows, tokens, width]`.
    pub(crate) fn forward(&self, pixels: Tensor<4>) -> Tensor<3> {
        self.placed(self.patches.forward(pixels), self.positions.val())
    }

    /// Tokens with the learned ones before them, and positions `[1 or rows, tokens, width]` added.
    pub(crate) fn placed(&self, tokens: Tensor<3>, positions: Tensor<3>) -> Tensor<3> {
        let [rows, _, width] = tokens.dims();
        let first = self.first.iter().map(|token| token.val().unsqueeze::<3>().expand([rows, 1, width]));
        Tensor::cat(first.chain([tokens]).collect(), 1) + positions // [rows, first + tokens, width]
    }

    /// Positions for a picture of another size: those of the patches are a square, resampled.
    pub(crate) fn positions_for(&self, [height, width]: [usize; 2]) -> Tensor<3> {
        let positions = self.positions.val();
        let [_, tokens, _] = positions.dims();
        let (first, grid) = (self.first.len(), self.patches.grid([height, width]));
        let side = (tokens - first).isqrt();
        if grid == [side, side] && height == width {
            return positions;
        }
        let patches = resample(positions.clone().narrow(1, first, side * side), [side, side], grid);
        Tensor::cat(vec![positions.narrow(1, 0, first), patches], 1)
    }
}

/// Tokens `[rows, tokens, width]`, with `token` `[1, width]` where `hidden` `[rows, tokens]` is 1.
pub(crate) fn replaced(x: Tensor<3>, hidden: Tensor<2>, token: Tensor<2>) -> Tensor<3> {
    let hidden = hidden.unsqueeze_dim::<3>(2); // [rows, tokens, 1]
    x * hidden.clone().neg().add_scalar(1.0) + token.unsqueeze::<3>() * hidden
}

/// Pictures.
const PIXELS: &str = "pixel_values";
/// Which patches are hidden.
const HIDDEN: &str = "bool_masked_pos";
