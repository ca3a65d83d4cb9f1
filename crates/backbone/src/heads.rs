use burn::tensor::Tensor;

/// `[rows, tokens, heads · head_width]` → `[rows, heads, tokens, head_width]`
pub(crate) fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [rows, tokens, width] = x.dims();
    x.reshape([rows, tokens, heads, width / heads]).swap_dims(1, 2)
}

/// `[rows, heads, tokens, head_width]` → `[rows, tokens, heads · head_width]`
pub(crate) fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [rows, heads, tokens, head_width] = x.dims();
    x.swap_dims(1, 2).reshape([rows, tokens, heads * head_width])
}
