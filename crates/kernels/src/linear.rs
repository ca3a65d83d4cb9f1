use burn::tensor::Tensor;

use crate::{coverage::Operation, flex, matmul};

/// `x · weight + bias`.
///
/// # Shapes
/// `x` `[rows, tokens, in]`, `weight` `[in, out]`, `bias` `[out]` → `[rows, tokens, out]`
pub fn linear(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    if let Some(output) = flex::linear(&x, &weight, bias.as_ref()) {
        Operation::Linear.count_fused();
        return output;
    }
    Operation::Linear.count_composed();
    composed(x, weight, bias)
}

pub(crate) fn composed(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let [rows, tokens, width] = x.dims();
    let [_, out] = weight.dims();
    let y = matmul(x.reshape([rows * tokens, width]), weight); // [rows · tokens, out]
    let y = match bias {
        Some(bias) => y + bias.reshape([1, out]),
        None => y,
    };
    y.reshape([rows, tokens, out])
}

/// `x · tableᵀ + bias`: how well each row of a table fits.
///
/// # Shapes
/// `x` `[rows, tokens, width]`, `table` `[values, width]`, `bias` `[values]` → `[rows, tokens, values]`
pub fn logits(x: Tensor<3>, table: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    if let Some(output) = flex::logits(&x, &table, bias.as_ref()) {
        Operation::Linear.count_fused();
        return output;
    }
    Operation::Linear.count_composed();
    composed(x, table.transpose(), bias)
}
