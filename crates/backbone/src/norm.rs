use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use sensorium_contract::Seed;
use sensorium_kernels::layer_norm;

use crate::{Draw, param};

/// Layer normalisation (Ba et al. 2016): mean 0 and variance 1 over the width, then scale and shift.
#[derive(Module, Debug)]
pub struct Norm {
    /// `[width]`
    pub gamma: Param<Tensor<1>>,
    /// `[width]`
    pub beta: Param<Tensor<1>>,
    #[module(skip)]
    pub(crate) epsilon: f64,
}

impl Norm {
    /// A normalisation that starts as the identity scale.
    pub fn new(width: usize, epsilon: f64, seed: Seed, device: &Device) -> Self {
        let gamma = param([width], Draw::Constant(1.0), seed, device);
        let beta = param([width], Draw::Constant(0.0), seed, device);
        Self { gamma, beta, epsilon }
    }

    /// `[rows, tokens, width]` → the same
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        layer_norm(x, self.gamma.val(), self.beta.val(), self.epsilon)
    }
}
