use burn::tensor::Tensor;

use crate::coverage::Operation;

/// `x · weight + bias`.
///
/// # Shapes
/// `x` `[rows, tokens, in]`, `weight` `[in, out]`, `bias` `[out]` → `[rows, tokens, out]`
pub fn linear(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    Operation::Linear.count_composed();
    composed(x, weight, bias)
}

fn composed(x: Tensor<3>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let [rows, tokens, width] = x.dims();
    let [_, out] = weight.dims();
    let y = x.reshape([rows * tokens, width]).matmul(weight); // [rows · tokens, out]
    let y = match bias {
        Some(bias) => y + bias.reshape([1, out]),
        None => y,
    };
    y.reshape([rows, tokens, out])
}
