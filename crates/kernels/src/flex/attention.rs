use std::sync::Arc;

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{
    attend::Sample,
    buffer::{Buffer, numbers},
    fused::Fused,
    plan::{Plan, Task, at},
    scratch::{Scratch, with_scratch},
};
use crate::AttentionOptions;

/// Self-attention from a fused projection. Hidden tokens are neither read nor computed; they give
/// zeros.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    pub(crate) plan: Arc<Plan>,
    pub(crate) options: AttentionOptions,
}

/// Matrices of a task, from the real rows of the inputs to those of the output.
type Work<'a> = dyn Fn(&Task, [&[f32]; 2], &mut [f32], &mut super::attend::Scratch) + Sync + 'a;

impl Attention {
    fn samples<'a>(&'a self, task: &'a Task, qkv: &'a [f32], width: usize) -> impl Iterator<Item = Sample<'a>> {
        task.sequences.iter().map(move |sequence| Sample {
            qkv: &qkv[at(sequence, 3 * width)],
            tokens: sequence.len(),
            width,
            options: self.options,
        })
    }

    /// Runs `work` on all tasks; `inputs` and output come with the widths of their rows.
    fn run(&self, inputs: [(&[f32], usize); 2], (output, width): (&mut [f32], usize), work: &Work) {
        let plan = &*self.plan;
        let parts = plan.split(output, width);
        parts.into_par_iter().with_max_len(1).for_each(|(task, output)| {
            with_scratch(|scratch| {
                let Scratch { attention, rows: [first, second, real, ..], .. } = scratch;
                let [a, b] = inputs;
                let samples = |(values, width): (_, usize)| plan.samples(task, values, width);
                let a = plan.gather(task, samples(a), a.1, first);
                let b = plan.gather(task, samples(b), b.1, second);
                if plan.is_packed() {
                    return work(task, [a, b], output, attention);
                }
                real.resize(task.rows.len() * width);
                work(task, [a, b], real, attention);
                output.fill(0.0);
                plan.scatter(task, real, width, output);
            });
        });
    }
}

impl Fused<1> for Attention {
    type Saved = ();

    fn forward(&self, [qkv]: &[FlexTensor; 1], _: bool) -> (FlexTensor, Option<()>) {
        let shape = qkv.layout().shape();
        let [rows, tokens, width] = [shape[0], shape[1], shape[2] / 3];
        let mut output = Buffer::new(rows * tokens * width);
        let qkv = (numbers(qkv), 3 * width);
        self.run([qkv, qkv], (&mut output, width), &|task, [qkv, _], output, scratch| {
            for (sample, sequence) in self.samples(task, qkv, width).zip(&task.sequences) {
                sample.forward(&mut output[at(sequence, width)], scratch);
            }
        });
        (output.into_tensor([rows, tokens, width].into()), Some(()))
    }

    fn backward(self, [qkv]: [FlexTensor; 1], (): (), gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let shape = qkv.layout().shape().clone();
        let width = shape[2] / 3;
        let mut output = Buffer::new(shape.num_elements());
        let inputs = [(numbers(&qkv), 3 * width), (numbers(&gradient), width)];
        self.run(inputs, (&mut output, 3 * width), &|task, [qkv, gradient], output, scratch| {
            for (sample, sequence) in self.samples(task, qkv, width).zip(&task.sequences) {
                let output = &mut output[at(sequence, 3 * width)];
                sample.backward(&gradient[at(sequence, width)], output, scratch);
            }
        });
        [Some(output.into_tensor(shape))]
    }
}
