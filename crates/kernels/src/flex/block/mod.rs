//! The whole block as one operation: each task carries its own samples through all stages.

mod backward;
mod forward;

use std::sync::Arc;

use burn_flex::FlexTensor;

use super::{
    buffer::{Buffer, numbers},
    fused::Fused,
    plan::Plan,
};
use crate::BlockOptions;

/// Number of inputs: `x` and the parameters.
pub(crate) const INPUTS: usize = 13;

/// A block over the real tokens of one batch.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) plan: Arc<Plan>,
    pub(crate) options: BlockOptions,
}

/// What the backward pass reads, all of it over the real tokens: the projection, what attention
/// gave, the residual between the halves, and the feed-forward before its activation.
#[derive(Debug)]
pub(crate) struct Saved {
    qkv: Buffer,
    attended: Buffer,
    middle: Buffer,
    hidden: Buffer,
}

/// The parameters, in the order of the operation's inputs.
#[derive(Clone, Copy)]
struct Weights<'a> {
    norm1: [&'a [f32]; 2],
    qkv: [&'a [f32]; 2],
    out: [&'a [f32]; 2],
    norm2: [&'a [f32]; 2],
    up: [&'a [f32]; 2],
    down: [&'a [f32]; 2],
}

impl<'a> Weights<'a> {
    fn of(inputs: &'a [FlexTensor; INPUTS]) -> Self {
        let pair = |index: usize| [numbers(&inputs[index]), numbers(&inputs[index + 1])];
        Self { norm1: pair(1), qkv: pair(3), out: pair(5), norm2: pair(7), up: pair(9), down: pair(11) }
    }

    fn width(&self) -> usize {
        self.norm1[0].len()
    }

    fn hidden(&self) -> usize {
        self.up[1].len()
    }
}

impl Fused<INPUTS> for Block {
    type Saved = Arc<Saved>;

    fn forward(&self, inputs: &[FlexTensor; INPUTS], keep: bool) -> (FlexTensor, Option<Arc<Saved>>) {
        let (output, saved) = forward::run(self, numbers(&inputs[0]), Weights::of(inputs), keep);
        (output.into_tensor(inputs[0].layout().shape().clone()), saved.map(Arc::new))
    }

    fn backward(
        self,
        inputs: [FlexTensor; INPUTS],
        saved: Arc<Saved>,
        gradient: FlexTensor,
        wanted: [bool; INPUTS],
    ) -> [Option<FlexTensor>; INPUTS] {
        let found = backward::run(&self, &inputs, &saved, numbers(&gradient), wanted);
        let mut index = 0;
        found.map(|gradient| {
            let shape = inputs[index].layout().shape().clone();
            let gradient = gradient.filter(|_| wanted[index]).map(|gradient| gradient.into_tensor(shape));
            index += 1;
            gradient
        })
    }
}
