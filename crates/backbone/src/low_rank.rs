use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use sensorium_contract::Seed;
use serde::{Deserialize, Serialize};

use crate::{Draw, param};

/// How large a low-rank change is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LowRankConfig {
    /// Columns of the first matrix and rows of the second.
    pub rank: usize,
    /// The product is multiplied by `alpha / rank`.
    pub alpha: f64,
}

impl Default for LowRankConfig {
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0 }
    }
}

impl LowRankConfig {
    /// Factor of the product.
    pub fn scale(self) -> f64 {
        self.alpha / self.rank as f64
    }

    /// What is impossible about it.
    pub fn problem(self) -> Option<String> {
        match self.rank > 0 && self.alpha > 0.0 && self.alpha.is_finite() {
            true => None,
            false => Some(format!("expected a rank and an alpha above 0, found {} and {}", self.rank, self.alpha)),
        }
    }
}

/// LoRA (Hu et al. 2021): a weight's change as a product of two thin matrices. The second begins at zero, so
/// that a layer begins as it was. The whole weight is formed before it is used, since the fused operations
/// read whole matrices.
#[derive(Module, Debug)]
pub struct LowRank {
    /// `[inputs, rank]`
    pub a: Param<Tensor<2>>,
    /// `[rank, outputs]`
    pub b: Param<Tensor<2>>,
    #[module(skip)]
    scale: f64,
}

impl LowRank {
    pub(crate) fn new([inputs, outputs]: [usize; 2], config: LowRankConfig, seed: Seed, device: &Device) -> Self {
        let bound = (inputs as f32).powf(-0.5);
        Self {
            a: param([inputs, config.rank], Draw::Uniform(bound), seed, device),
            b: param([config.rank, outputs], Draw::Constant(0.0), seed, device),
            scale: config.scale(),
        }
    }

    /// `[inputs, outputs]`
    pub(crate) fn change(&self) -> Tensor<2> {
        self.a.val().matmul(self.b.val()).mul_scalar(self.scale)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::Linear;

    #[test]
    fn a_layer_begins_as_it_was_and_then_follows_the_product() {
        let device = Device::flex();
        let plain = Linear::new(3, 2, Draw::Normal(1.0), Seed::new(1), &device);
        let x = Tensor::<2>::from_data([[1.0_f32, -2.0, 0.5]], &device);
        let layer = plain.clone().with_low_rank(LowRankConfig { rank: 1, alpha: 3.0 }, Seed::new(2));
        assert_eq!(layer.forward(x.clone()).into_data(), plain.forward(x.clone()).into_data(), "to the bit");
        let set = |param: Param<Tensor<2>>, data: TensorData| param.map(|_| Tensor::from_data(data, &device));
        let low_rank = layer.low_rank.clone().unwrap();
        let low_rank = LowRank {
            a: set(low_rank.a, TensorData::from([[1.0_f32], [2.0], [3.0]])),
            b: set(low_rank.b, TensorData::from([[10.0_f32, -1.0]])),
            ..low_rank
        };
        let layer = Linear { low_rank: Some(low_rank), ..layer };
        // x · a = 1 − 4 + 1.5 = −1.5; times b and 3/1.
        let change = layer.forward(x.clone()) - plain.forward(x);
        change.into_data().assert_approx_eq::<f32>(&TensorData::from([[-45.0_f32, 4.5]]), Default::default());
    }
}
