//! Texts and pictures side by side (CLIP, Radford et al. 2021).

use burn::{module::Param, tensor::Tensor};
use sensorium_contract::host_f32;
use sensorium_objectives::{ContrastiveConfig, ObjectiveConfig};

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

/// The objective whose temperature has come to `scale` `[1]`, a logarithm.
pub(crate) fn contrastive(scale: &Param<Tensor<1>>) -> ObjectiveConfig {
    let temperature = (-number(scale)).exp();
    ObjectiveConfig::Contrastive(ContrastiveConfig { temperature, ..ContrastiveConfig::default() })
}

/// The only element.
pub(crate) fn number(parameter: &Param<Tensor<1>>) -> f32 {
    host_f32(parameter.val())[0]
}
