use burn::tensor::{DType, Tensor};

use crate::{coverage::Operation, flex};

/// Layer normalisation over the last axis (Ba et al. 2016), with the biased variance.
///
/// # Shapes
/// `x` `[rows, tokens, width]`, `gamma` and `beta` `[width]` → `[rows, tokens, width]`
pub fn layer_norm(x: Tensor<3>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f64) -> Tensor<3> {
    if let Some(output) = flex::layer_norm(&x, &gamma, &beta, epsilon) {
        Operation::LayerNorm.count_fused();
        return output;
    }
    Operation::LayerNorm.count_composed();
    composed(x, gamma, beta, epsilon)
}

pub(crate) fn composed(x: Tensor<3>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f64) -> Tensor<3> {
    let [_, _, width] = x.dims();
    let epsilon = seen(epsilon, x.dtype());
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().square().mean_dim(2); // [rows, tokens, 1]
    let normed = centred / variance.add_scalar(epsilon).sqrt();
    normed * gamma.reshape([1, 1, width]) + beta.reshape([1, 1, width])
}

/// Normalisation of the last axis to mean square 1 (Zhang and Sennrich 2019).
///
/// # Shapes
/// `x` `[rows, tokens, width]`, `gamma` `[width]` → `[rows, tokens, width]`
pub fn rms_norm(x: Tensor<3>, gamma: Tensor<1>, epsilon: f64) -> Tensor<3> {
    Operation::RmsNorm.count_composed();
    let [_, _, width] = x.dims();
    let epsilon = seen(epsilon, x.dtype());
    let mean_square = x.clone().square().mean_dim(2); // [rows, tokens, 1]
    x / mean_square.add_scalar(epsilon).sqrt() * gamma.reshape([1, 1, width])
}

/// The least epsilon that a type tells from 0: without it a row of zeros would be divided by zero.
fn seen(epsilon: f64, dtype: DType) -> f64 {
    const LEAST_F16: f64 = 6e-8;
    if dtype == DType::F16 { epsilon.max(LEAST_F16) } else { epsilon }
}
