use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use sensorium_contract::Seed;
use sensorium_kernels::{layer_norm, rms_norm};

use crate::{Draw, NormKind, param};

/// A normalisation over the width: see [`NormKind`].
#[derive(Module, Debug)]
pub struct Norm {
    /// `[width]`
    pub gamma: Param<Tensor<1>>,
    /// `[width]`; of layer normalisation alone.
    pub beta: Option<Param<Tensor<1>>>,
    #[module(skip)]
    pub(crate) epsilon: f64,
}

impl Norm {
    /// A normalisation that starts as the identity scale.
    pub fn new(kind: NormKind, width: usize, epsilon: f64, seed: Seed, device: &Device) -> Self {
        let gamma = param([width], Draw::Constant(1.0), seed, device);
        let beta = (kind == NormKind::Layer).then(|| param([width], Draw::Constant(0.0), seed, device));
        Self { gamma, beta, epsilon }
    }

    /// What is added to variances before the root.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// `[rows, tokens, width]` → the same
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.beta {
            Some(beta) => layer_norm(x, self.gamma.val(), beta.val(), self.epsilon),
            None => rms_norm(x, self.gamma.val(), self.epsilon),
        }
    }
}
