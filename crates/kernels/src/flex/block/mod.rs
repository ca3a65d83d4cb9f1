//! The whole block as one operation: each task carries its own samples through all stages.

mod backward;
mod forward;
mod vectors;

use std::sync::Arc;

use burn_flex::FlexTensor;

use super::{
    buffer::{Buffer, numbers},
    fused::Fused,
    plan::Plan,
};
use crate::{BlockOptions, NormPlace};

/// Number of inputs: `x` and the parameters.
pub(crate) const INPUTS: usize = 13;

/// A block over the real tokens of one batch.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) plan: Arc<Plan>,
    pub(crate) options: BlockOptions,
}

/// What the backward pass reads, all of it over the real tokens.
#[derive(Debug)]
pub(crate) struct Saved {
    /// Queries, keys and values.
    qkv: Buffer,
    /// What attention gave.
    attended: Buffer,
    /// The sum after attention, before any norm.
    sum1: Buffer,
    /// The feed-forward before its activation.
    hidden: Buffer,
    /// The sum after the feed-forward where a norm follows; else it is the output, which nobody needs.
    sum2: Buffer,
}

/// The parameters.
#[derive(Clone, Copy)]
struct Weights<'a> {
    inner_norm: [&'a [f32]; 2],
    outer_norm: [&'a [f32]; 2],
    qkv: [&'a [f32]; 2],
    out: [&'a [f32]; 2],
    up: [&'a [f32]; 2],
    down: [&'a [f32]; 2],
}

impl<'a> Weights<'a> {
    fn of(inputs: &'a [FlexTensor; INPUTS], norms: NormPlace) -> Self {
        let pair = |index: usize| [numbers(&inputs[index]), numbers(&inputs[index + 1])];
        let [inner_norm, outer_norm] = inner_and_outer([pair(1), pair(7)], norms);
        Self { inner_norm, outer_norm, qkv: pair(3), out: pair(5), up: pair(9), down: pair(11) }
    }

    fn width(&self) -> usize {
        self.inner_norm[0].len()
    }

    fn hidden(&self) -> usize {
        self.up[1].len()
    }
}

/// From the norms of attention and of the feed-forward to the one between the two halves and the one that the block
/// begins or ends with; and back.
fn inner_and_outer<T>([first, second]: [T; 2], norms: NormPlace) -> [T; 2] {
    match norms {
        NormPlace::Before => [second, first],
        NormPlace::After => [first, second],
    }
}

impl Fused<INPUTS> for Block {
    type Saved = Arc<Saved>;

    fn forward(&self, inputs: &[FlexTensor; INPUTS], keep: bool) -> (FlexTensor, Option<Arc<Saved>>) {
        let (output, saved) = forward::run(self, numbers(&inputs[0]), Weights::of(inputs, self.options.norms), keep);
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
