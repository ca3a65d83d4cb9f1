//! Everything that is written for the CPU backend.
//!
//! Each function gives nothing where its tensors are of another backend or type, and the caller
//! then composes the operation.

mod activate;
mod adamw;
mod attend;
mod attention;
mod bias_activation;
mod block;
mod buffer;
mod cross_entropy;
mod fused;
mod layer_norm;
mod linear;
mod lookup;
mod math;
mod outer;
mod panels;
mod plan;
mod product;
mod rows;
mod scratch;
mod simd;

use std::sync::Arc;

use burn::tensor::{Bool, Int, Tensor};
use fused::{accepts, flex_primitive, from_flex, run, to_flex};
use plan::Plan;
#[cfg(test)]
pub(crate) use simd::on_each_level;

use crate::{
    Activation, AdamwMoments, AdamwOptions, AdamwStep, AttentionOptions, BlockOptions, BlockWeights, Precision,
    coverage::{Fusion, fuses},
};

/// Whether operations that hold products may be fused so far: they compute them in f32.
fn multiplies(fusion: Fusion) -> bool {
    fuses(fusion) && Precision::now() == Precision::F32
}

/// Rows from which packing a weight pays.
const LEAST_ROWS: usize = 16;

pub(crate) fn layer_norm(x: &Tensor<3>, gamma: &Tensor<1>, beta: &Tensor<1>, epsilon: f64) -> Option<Tensor<3>> {
    if !(fuses(Fusion::Operations) && accepts(x) && accepts(gamma) && accepts(beta)) {
        return None;
    }
    let [_, _, width] = x.dims();
    assert_eq!([gamma.dims(), beta.dims()], [[width]; 2], "scale and shift of another width");
    let inputs = [x.clone().into_dispatch(), gamma.clone().into_dispatch(), beta.clone().into_dispatch()];
    Some(run(layer_norm::LayerNorm { epsilon }, inputs))
}

pub(crate) fn bias_activation(x: &Tensor<3>, bias: &Tensor<1>, activation: Activation) -> Option<Tensor<3>> {
    if !(fuses(Fusion::Operations) && accepts(x) && accepts(bias)) {
        return None;
    }
    let [_, _, width] = x.dims();
    assert_eq!(bias.dims(), [width], "bias of another width");
    let inputs = [x.clone().into_dispatch(), bias.clone().into_dispatch()];
    Some(run(bias_activation::BiasActivation { activation }, inputs))
}

pub(crate) fn linear(x: &Tensor<3>, weight: &Tensor<2>, bias: Option<&Tensor<1>>) -> Option<Tensor<3>> {
    product(linear::Linear { transposed: false }, weight.dims(), x, weight, bias)
}

pub(crate) fn logits(x: &Tensor<3>, table: &Tensor<2>, bias: Option<&Tensor<1>>) -> Option<Tensor<3>> {
    let [values, width] = table.dims();
    product(linear::Linear { transposed: true }, [width, values], x, table, bias)
}

fn product(
    operation: linear::Linear,
    [inputs, outputs]: [usize; 2],
    x: &Tensor<3>,
    weight: &Tensor<2>,
    bias: Option<&Tensor<1>>,
) -> Option<Tensor<3>> {
    let [rows, tokens, width] = x.dims();
    let accepted = multiplies(Fusion::Operations) && accepts(x) && accepts(weight);
    if !accepted || rows * tokens < LEAST_ROWS || outputs == 0 {
        return None;
    }
    assert_eq!(width, inputs, "weight of another width");
    let [x, weight] = [x.clone().into_dispatch(), weight.clone().into_dispatch()];
    match bias {
        None => Some(run(operation, [x, weight])),
        Some(bias) if accepts(bias) => {
            assert_eq!(bias.dims(), [outputs], "bias of another width");
            Some(run(operation, [x, weight, bias.clone().into_dispatch()]))
        }
        Some(_) => None,
    }
}

pub(crate) fn lookup(table: &Tensor<2>, ids: &Tensor<2, Int>) -> Option<Tensor<3>> {
    if !fuses(Fusion::Operations) || !accepts(table) {
        return None;
    }
    let operation = lookup::Lookup::new(&flex_primitive(ids.clone())?, ids.dims())?;
    Some(run(operation, [table.clone().into_dispatch()]))
}

pub(crate) fn cross_entropy(logits: &Tensor<2>, classes: &Tensor<1, Int>) -> Option<Tensor<1>> {
    let [items, _] = logits.dims();
    if !fuses(Fusion::Operations) || !accepts(logits) || items == 0 {
        return None;
    }
    assert_eq!(classes.dims(), [items], "logits and classes differ in number");
    let operation = cross_entropy::CrossEntropy::new(&flex_primitive(classes.clone())?)?;
    Some(run(operation, [logits.clone().into_dispatch()]))
}

pub(crate) fn attention(
    qkv: &Tensor<3>,
    mask: Option<&Tensor<2, Bool>>,
    options: AttentionOptions,
) -> Option<Tensor<3>> {
    if !multiplies(Fusion::Operations) || !accepts(qkv) {
        return None;
    }
    let [rows, tokens, triple] = qkv.dims();
    assert!(triple.is_multiple_of(3 * options.heads), "width {triple} is not three times {} heads", options.heads);
    let plan = Arc::new(plan(rows, tokens, mask)?);
    Some(run(attention::Attention { plan, options }, [qkv.clone().into_dispatch()]))
}

fn plan(rows: usize, tokens: usize, mask: Option<&Tensor<2, Bool>>) -> Option<Plan> {
    let Some(mask) = mask else { return Some(Plan::new(rows, tokens, None)) };
    assert_eq!(mask.dims(), [rows, tokens], "a mask of another shape");
    let mask = flex_primitive(mask.clone())?;
    Some(Plan::new(rows, tokens, Some(buffer::truths(&mask))))
}

pub(crate) fn block(
    x: &Tensor<3>,
    mask: Option<&Tensor<2, Bool>>,
    weights: &BlockWeights,
    options: BlockOptions,
) -> Option<Tensor<3>> {
    let w = weights;
    let matrices = [&w.qkv_weight, &w.out_weight, &w.up_weight, &w.down_weight];
    if !multiplies(Fusion::Blocks)
        || !accepts(x)
        || !w.vectors().into_iter().all(accepts)
        || !matrices.into_iter().all(accepts)
    {
        return None;
    }
    let [rows, tokens, width] = x.dims();
    let [_, hidden] = w.up_weight.dims();
    let vectors = w.vectors().map(|vector| vector.dims()[0]);
    assert_eq!(vectors, [width, width, 3 * width, width, width, width, hidden, width], "vectors of other widths");
    let expected = [[width, 3 * width], [width, width], [width, hidden], [hidden, width]];
    assert_eq!(matrices.map(|matrix| matrix.dims()), expected, "weights of other widths");
    assert!(width.is_multiple_of(options.heads), "width {width} is not a multiple of {} heads", options.heads);
    let operation = block::Block { plan: Arc::new(plan(rows, tokens, mask)?), options };
    let vector = |x: &Tensor<1>| x.clone().into_dispatch();
    let matrix = |x: &Tensor<2>| x.clone().into_dispatch();
    let inputs = [
        x.clone().into_dispatch(),
        vector(&w.norm1_gamma),
        vector(&w.norm1_beta),
        matrix(&w.qkv_weight),
        vector(&w.qkv_bias),
        matrix(&w.out_weight),
        vector(&w.out_bias),
        vector(&w.norm2_gamma),
        vector(&w.norm2_beta),
        matrix(&w.up_weight),
        vector(&w.up_bias),
        matrix(&w.down_weight),
        vector(&w.down_bias),
    ];
    Some(run(operation, inputs))
}

/// The step, or its tensors again if it cannot run here.
pub(crate) fn adamw_step<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moments: Option<AdamwMoments<D>>,
    options: AdamwOptions,
) -> Result<AdamwStep<D>, (Tensor<D>, Tensor<D>, Option<AdamwMoments<D>>)> {
    let plain = |x: &Tensor<D>| accepts(x) && !x.device().is_autodiff();
    let fits = moments.as_ref().is_none_or(|moments| plain(&moments.first) && plain(&moments.second));
    if !fuses(Fusion::Operations) || !fits || !plain(&parameter) || !plain(&gradient) {
        return Err((parameter, gradient, moments));
    }
    assert_eq!(parameter.dims(), gradient.dims(), "parameter and gradient differ");
    let moments = moments.map(|moments| [to_flex(moments.first), to_flex(moments.second)]);
    let [parameter, first, second] =
        adamw::step(to_flex(parameter), to_flex(gradient), moments, options).map(from_flex);
    Ok(AdamwStep { parameter, moments: AdamwMoments { first, second } })
}

pub(crate) fn squared_norm<const D: usize>(x: &Tensor<D>) -> Option<Tensor<1>> {
    if !fuses(Fusion::Operations) || !accepts(x) || x.device().is_autodiff() {
        return None;
    }
    Some(from_flex(adamw::squared_norm(to_flex(x.clone()))))
}
