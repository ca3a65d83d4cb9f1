use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{
    buffer::{Buffer, numbers},
    fused::Fused,
    rows::{Norm, NormGradients, add_column_sums, part_length},
};

/// Layer normalisation of `x`, with scale and shift.
#[derive(Clone, Debug)]
pub(crate) struct LayerNorm {
    pub(crate) epsilon: f64,
}

impl LayerNorm {
    fn norm<'a>(&self, x: &'a [f32], inputs: &'a [FlexTensor; 3]) -> Norm<'a> {
        Norm { x, gamma: numbers(&inputs[1]), beta: numbers(&inputs[2]), epsilon: self.epsilon as f32 }
    }
}

impl Fused<3> for LayerNorm {
    type Saved = ();

    fn forward(&self, inputs: &[FlexTensor; 3], _: bool) -> (FlexTensor, Option<()>) {
        let (x, width) = (numbers(&inputs[0]), numbers(&inputs[1]).len());
        let mut output = Buffer::new(x.len());
        let part = part_length(x.len(), width);
        output
            .par_chunks_mut(part)
            .zip(x.par_chunks(part))
            .for_each(|(output, x)| self.norm(x, inputs).forward(output));
        (output.into_tensor(inputs[0].layout().shape().clone()), Some(()))
    }

    fn backward(self, inputs: [FlexTensor; 3], (): (), gradient: FlexTensor, _: [bool; 3]) -> [Option<FlexTensor>; 3] {
        let (x, dy, width) = (numbers(&inputs[0]), numbers(&gradient), numbers(&inputs[1]).len());
        let part = part_length(x.len(), width);
        let mut dx = Buffer::zeros(x.len());
        let mut shares = Buffer::zeros(x.len().div_ceil(part) * 2 * width);
        let parts = dx.par_chunks_mut(part).zip(x.par_chunks(part)).zip(dy.par_chunks(part));
        parts.zip(shares.par_chunks_mut(2 * width)).for_each(|(((dx, x), dy), share)| {
            let (dgamma, dbeta) = share.split_at_mut(width);
            self.norm(x, &inputs).backward(dy, NormGradients { dx, dgamma, dbeta }, None);
        });
        let mut sums = Buffer::zeros(2 * width);
        add_column_sums(&shares, &mut sums);
        let vector = |index: usize| {
            let mut vector = Buffer::new(width);
            vector.copy_from_slice(&sums[index * width..][..width]);
            Some(vector.into_tensor([width].into()))
        };
        [Some(dx.into_tensor(inputs[0].layout().shape().clone())), vector(0), vector(1)]
    }
}
