//! Everything that is written for the CPU backend.

mod activate;
mod attend;
mod block;
mod buffer;
mod fused;
mod math;
mod outer;
mod product;
mod rows;
mod scratch;
mod simd;

use std::sync::Arc;

use burn::tensor::{Bool, Tensor};
use fused::{accepts, flex_primitive, run};

use crate::{
    BlockOptions, BlockWeights,
    coverage::{Fusion, fuses},
};

/// The block as one operation, if all its tensors are where it can run.
pub(crate) fn block(
    x: &Tensor<3>,
    mask: Option<&Tensor<2, Bool>>,
    weights: &BlockWeights,
    options: BlockOptions,
) -> Option<Tensor<3>> {
    if !fuses(Fusion::Blocks) {
        return None;
    }
    let w = weights.clone();
    let vectors = [
        &w.norm1_gamma,
        &w.norm1_beta,
        &w.qkv_bias,
        &w.out_bias,
        &w.norm2_gamma,
        &w.norm2_beta,
        &w.up_bias,
        &w.down_bias,
    ];
    let matrices = [&w.qkv_weight, &w.out_weight, &w.up_weight, &w.down_weight];
    if !accepts(x) || !vectors.into_iter().all(accepts) || !matrices.into_iter().all(accepts) {
        return None;
    }
    let [rows, tokens, _] = x.dims();
    let mask = match mask {
        None => None,
        Some(mask) => Some(flex_primitive(mask.clone())?),
    };
    let mask = mask.as_ref().map(buffer::truths);
    let operation = block::Block { plan: Arc::new(block::Plan::new(rows, tokens, mask)), options };
    let inputs = [
        x.clone().into_dispatch(),
        w.norm1_gamma.into_dispatch(),
        w.norm1_beta.into_dispatch(),
        w.qkv_weight.into_dispatch(),
        w.qkv_bias.into_dispatch(),
        w.out_weight.into_dispatch(),
        w.out_bias.into_dispatch(),
        w.norm2_gamma.into_dispatch(),
        w.norm2_beta.into_dispatch(),
        w.up_weight.into_dispatch(),
        w.up_bias.into_dispatch(),
        w.down_weight.into_dispatch(),
        w.down_bias.into_dispatch(),
    ];
    Some(run(operation, inputs))
}
