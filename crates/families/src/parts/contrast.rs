//! Texts and pictures side by side (CLIP, Radford et al. 2021).

use burn::tensor::Tensor;

/// Rows of length 1, `[rows, width]` → the same
pub(crate) fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().square().sum_dim(1).sqrt(); // [rows, 1]
    x / length
}

/// How well each text fits each picture; `scale` `[1]` is a logarithm.
///
/// `[texts, width]` and `[pictures, width]` → `[texts, pictures]`
pub(crate) fn similarities(texts: Tensor<2>, pictures: Tensor<2>, scale: Tensor<1>) -> Tensor<2> {
    texts.matmul(pictures.transpose()) * scale.exp().unsqueeze()
}
