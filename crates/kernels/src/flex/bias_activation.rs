use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{
    activate::{activate, reverse},
    buffer::{Buffer, numbers},
    fused::Fused,
    rows::{column_sums, part_length},
};
use crate::Activation;

/// `activation(x + bias)`.
#[derive(Clone, Debug)]
pub(crate) struct BiasActivation {
    pub(crate) activation: Activation,
}

impl Fused<2> for BiasActivation {
    type Saved = ();

    fn forward(&self, inputs: &[FlexTensor; 2], _: bool) -> (FlexTensor, Option<()>) {
        let [x, bias] = inputs.each_ref().map(numbers);
        let mut output = Buffer::new(x.len());
        let part = part_length(x.len(), bias.len());
        let parts = output.par_chunks_mut(part).zip(x.par_chunks(part));
        parts.for_each(|(output, x)| activate(self.activation, x, Some(bias), output));
        (output.into_tensor(inputs[0].layout().shape().clone()), Some(()))
    }

    fn backward(
        self,
        inputs: [FlexTensor; 2],
        (): (),
        gradient: FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let [x, bias] = inputs.each_ref().map(numbers);
        let part = part_length(x.len(), bias.len());
        let mut dx = Buffer::new(x.len());
        let parts = dx.par_chunks_mut(part).zip(x.par_chunks(part)).zip(numbers(&gradient).par_chunks(part));
        parts.for_each(|((dx, x), gradient)| {
            dx.copy_from_slice(gradient);
            reverse(self.activation, x, Some(bias), dx, None);
        });
        let dbias = wanted[1].then(|| column_sums(&dx, bias.len()).into_tensor([bias.len()].into()));
        [Some(dx.into_tensor(inputs[0].layout().shape().clone())), dbias]
    }
}
