use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use sensorium_contract::Seed;
use sensorium_kernels::matmul;

use crate::{Draw, LowRank, LowRankConfig, param};

/// `x · weight + bias`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[inputs, outputs]`
    pub weight: Param<Tensor<2>>,
    /// `[outputs]`
    pub bias: Option<Param<Tensor<1>>>,
    /// What is learned in the weight's stead while a model is fine-tuned.
    pub low_rank: Option<LowRank>,
}

impl Linear {
    /// A layer whose weight is drawn by `draw`, with a bias of zeros.
    pub fn new(inputs: usize, outputs: usize, draw: Draw, seed: Seed, device: &Device) -> Self {
        let bias = param([outputs], Draw::Constant(0.0), seed, device);
        Self { bias: Some(bias), ..Self::without_bias(inputs, outputs, draw, seed, device) }
    }

    /// A layer without a bias.
    pub fn without_bias(inputs: usize, outputs: usize, draw: Draw, seed: Seed, device: &Device) -> Self {
        Self { weight: param([inputs, outputs], draw, seed, device), bias: None, low_rank: None }
    }

    /// The layer with a low-rank change beside its weight, which changes nothing as it begins.
    pub(crate) fn with_low_rank(self, config: LowRankConfig, seed: Seed) -> Self {
        let low_rank = LowRank::new(self.weight.dims(), config, seed, &self.weight.device());
        Self { low_rank: Some(low_rank), ..self }
    }

    /// The layer with its change in the weight itself.
    pub(crate) fn merged(self) -> Self {
        let weight = self.whole_weight();
        Self { weight: self.weight.map(|_| weight), bias: self.bias, low_rank: None }
    }

    /// What tokens are multiplied by, `[inputs, outputs]`.
    pub(crate) fn whole_weight(&self) -> Tensor<2> {
        match &self.low_rank {
            Some(low_rank) => self.weight.val() + low_rank.change(),
            None => self.weight.val(),
        }
    }

    /// `[.., inputs]` → `[.., outputs]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let y = self.product(x);
        match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        }
    }

    /// The same without the bias.
    pub(crate) fn product<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let mut shape = x.dims();
        let [inputs, outputs] = self.weight.dims();
        let rows = shape[..D - 1].iter().product::<usize>();
        shape[D - 1] = outputs;
        // One product over all tokens: batched products would pack the weight once a sample.
        matmul(x.reshape([rows, inputs]), self.whole_weight()).reshape(shape) // [.., outputs]
    }
}
