use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor},
};
use sensorium_contract::Seed;

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
        let [rows, tokens] = ids.dims();
        let [_, width] = self.weight.dims();
        self.weight.val().select(0, ids.reshape([rows * tokens])).reshape([rows, tokens, width])
    }
}
