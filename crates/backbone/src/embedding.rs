use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor},
};
use sensorium_contract::Seed;
use sensorium_kernels::{logits, lookup};

use crate::{Draw, param};

/// One learned vector for each of a number of values.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[values, width]`
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// Vectors drawn by `draw`.
    pub fn new(values: usize, width: usize, draw: Draw, seed: Seed, device: &Device) -> Self {
        Self { weight: param([values, width], draw, seed, device) }
    }

    /// `[rows, tokens]` of ids → `[rows, tokens, width]`
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        lookup(self.weight.val(), ids)
    }

    /// How many values there are vectors for.
    pub fn values(&self) -> usize {
        self.weight.lazy_shape()[0]
    }

    /// How well each value's vector fits, `[rows, tokens, width]` → `[rows, tokens, values]`; `bias` `[values]`.
    pub fn logits(&self, x: Tensor<3>, bias: Option<Tensor<1>>) -> Tensor<3> {
        logits(x, self.weight.val(), bias)
    }
}
