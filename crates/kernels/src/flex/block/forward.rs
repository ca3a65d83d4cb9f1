use std::ops::Range;

use rayon::prelude::*;

use super::{Block, Saved, Weights};
use crate::flex::{
    activate::activate,
    attend::Sample,
    buffer::Buffer,
    panels::{Panels, Strided},
    plan::{Plan, Task, at, pieces, take},
    product::{Product, Start, Window},
    rows::Norm,
    scratch::{Scratch, with_scratch},
};
use crate::{AttentionOptions, BlockOptions, NormPlace};

/// The weights of the four products, packed once for all tasks.
struct Packed {
    qkv: Panels,
    out: Panels,
    up: Panels,
    down: Panels,
}

impl Packed {
    fn new(weights: &Weights) -> Self {
        let pack = |[weight, bias]: [&[f32]; 2]| {
            let columns = bias.len();
            Panels::pack(Strided::rows(weight, columns), weight.len() / columns.max(1), columns)
        };
        let ((qkv, out), (up, down)) =
            rayon::join(|| (pack(weights.qkv), pack(weights.out)), || (pack(weights.up), pack(weights.down)));
        Self { qkv, out, up, down }
    }
}

struct Forward<'a> {
    weights: Weights<'a>,
    packed: Packed,
    plan: &'a Plan,
    options: BlockOptions,
    keep: bool,
}

/// A task's part of the inputs, the output, and of what is kept.
struct Part<'a> {
    task: &'a Task,
    /// Hidden tokens included.
    x: &'a [f32],
    /// Hidden tokens included.
    output: &'a mut [f32],
    qkv: &'a mut [f32],
    attended: &'a mut [f32],
    sum1: &'a mut [f32],
    hidden: &'a mut [f32],
    sum2: &'a mut [f32],
}

/// The output, hidden tokens included, and with `keep` what the backward pass needs.
pub(super) fn run(block: &Block, x: &[f32], weights: Weights, keep: bool) -> (Buffer, Option<Saved>) {
    let (width, hidden) = (weights.width(), weights.hidden());
    let Block { plan, options } = block;
    let sum2 = sum2_width(width, options.norms);
    let rows = if keep { plan.rows() } else { 0 };
    let mut saved = Saved {
        qkv: Buffer::new(rows * 3 * width),
        attended: Buffer::new(rows * width),
        sum1: Buffer::new(rows * width),
        hidden: Buffer::new(rows * hidden),
        sum2: Buffer::new(rows * sum2),
    };
    let mut output = Buffer::new(x.len());
    let parts = parts(plan, x, &mut output, &mut saved, [width, hidden, sum2], keep);
    let forward = Forward { weights, packed: Packed::new(&weights), plan, options: *options, keep };
    parts.into_par_iter().with_max_len(1).for_each(|part| with_scratch(|scratch| forward.task(part, scratch)));
    (output, keep.then_some(saved))
}

fn parts<'a>(
    plan: &'a Plan,
    x: &'a [f32],
    mut output: &'a mut [f32],
    saved: &'a mut Saved,
    [width, hidden, sum2_width]: [usize; 3],
    keep: bool,
) -> Vec<Part<'a>> {
    let Saved { qkv, attended, sum1, hidden: before, sum2 } = saved;
    let mut rest: [&mut [f32]; 5] = [qkv, attended, sum1, before, sum2];
    let part = |task: &'a Task| {
        let samples = task.samples.start * plan.tokens * width..task.samples.end * plan.tokens * width;
        let rows = if keep { task.rows.len() } else { 0 };
        Part {
            task,
            x: &x[samples.clone()],
            output: take(&mut output, samples.len()),
            qkv: take(&mut rest[0], rows * 3 * width),
            attended: take(&mut rest[1], rows * width),
            sum1: take(&mut rest[2], rows * width),
            hidden: take(&mut rest[3], rows * hidden),
            sum2: take(&mut rest[4], rows * sum2_width),
        }
    };
    plan.tasks.iter().map(part).collect()
}

/// Numbers a token in [`Saved::sum2`].
fn sum2_width(width: usize, norms: NormPlace) -> usize {
    match norms {
        NormPlace::Before => 0,
        NormPlace::After => width,
    }
}

/// Where a task works, in memory that is kept or not.
struct Stages<'a> {
    x: &'a [f32],
    qkv: &'a mut [f32],
    attended: &'a mut [f32],
    sum1: &'a mut [f32],
    hidden: &'a mut [f32],
    sum2: &'a mut [f32],
    output: &'a mut [f32],
}

impl Forward<'_> {
    fn task(&self, part: Part, scratch: &mut Scratch) {
        let (width, hidden, rows) = (self.weights.width(), self.weights.hidden(), part.task.rows.len());
        let Scratch { attention, rows: [x, qkv, attended, sum1, before, sum2, output, normed, active], .. } = scratch;
        let mut stages = Stages {
            x: self.plan.gather(part.task, part.x, width, x),
            qkv: self.kept(part.qkv, qkv, rows * 3 * width),
            attended: self.kept(part.attended, attended, rows * width),
            sum1: self.kept(part.sum1, sum1, rows * width),
            hidden: self.kept(part.hidden, before, rows * hidden),
            sum2: self.kept(part.sum2, sum2, rows * sum2_width(width, self.options.norms)),
            output: if self.plan.is_packed() {
                &mut *part.output
            } else {
                output.resize(rows * width);
                output
            },
        };
        for piece in pieces(rows) {
            self.project(&mut stages, piece, normed);
        }
        for sequence in &part.task.sequences {
            self.sample(stages.qkv, sequence).forward(&mut stages.attended[at(sequence, width)], attention);
        }
        for piece in pieces(rows) {
            self.finish(&mut stages, piece, normed, active);
        }
        if !self.plan.is_packed() {
            part.output.copy_from_slice(part.x);
            self.plan.scatter(part.task, output, width, part.output);
        }
    }

    fn kept<'a>(&self, kept: &'a mut [f32], scratch: &'a mut Buffer, length: usize) -> &'a mut [f32] {
        if self.keep {
            return kept;
        }
        scratch.resize(length);
        scratch
    }

    fn sample<'a>(&self, qkv: &'a [f32], sequence: &Range<usize>) -> Sample<'a> {
        let BlockOptions { heads, causal, .. } = self.options;
        let width = self.weights.width();
        Sample {
            qkv: &qkv[at(sequence, 3 * width)],
            tokens: sequence.len(),
            width,
            options: AttentionOptions { heads, causal },
        }
    }

    fn norm<'a>(&self, x: &'a [f32], [gamma, beta]: [&'a [f32]; 2]) -> Norm<'a> {
        Norm { x, gamma, beta, epsilon: self.options.epsilon as f32 }
    }

    /// Queries, keys and values, after a norm if one stands before.
    fn project(&self, stages: &mut Stages, piece: Range<usize>, normed: &mut Buffer) {
        let (width, norms) = (self.weights.width(), self.options.norms);
        let mut x = &stages.x[at(&piece, width)];
        if norms == NormPlace::Before {
            normed.resize(piece.len() * width);
            self.norm(x, self.weights.outer_norm).forward(normed);
            x = normed;
        }
        let output = &mut stages.qkv[at(&piece, 3 * width)];
        product(x, &self.packed.qkv, output, Start::Bias(self.weights.qkv[1]), piece.len());
    }

    /// Everything after attention.
    fn finish(&self, stages: &mut Stages, piece: Range<usize>, normed: &mut Buffer, active: &mut Buffer) {
        let (width, hidden, rows) = (self.weights.width(), self.weights.hidden(), piece.len());
        let norms = self.options.norms;
        let sum1 = &mut stages.sum1[at(&piece, width)];
        sum1.copy_from_slice(&stages.x[at(&piece, width)]);
        let attended = &stages.attended[at(&piece, width)];
        product(attended, &self.packed.out, sum1, Start::OutputAndBias(self.weights.out[1]), rows);
        normed.resize(rows * width);
        self.norm(sum1, self.weights.inner_norm).forward(normed);
        let before = &mut stages.hidden[at(&piece, hidden)];
        product(normed, &self.packed.up, before, Start::Bias(self.weights.up[1]), rows);
        active.resize(rows * hidden);
        activate(self.options.activation, before, None, active);
        let output = &mut stages.output[at(&piece, width)];
        let down = |sum2: &mut [f32], entered: &[f32]| {
            sum2.copy_from_slice(entered);
            product(active, &self.packed.down, sum2, Start::OutputAndBias(self.weights.down[1]), rows);
        };
        match norms {
            NormPlace::Before => down(output, sum1),
            NormPlace::After => {
                let sum2 = &mut stages.sum2[at(&piece, width)];
                down(sum2, normed);
                self.norm(sum2, self.weights.outer_norm).forward(output);
            }
        }
    }
}

/// A product of all rows of contiguous matrices.
pub(super) fn product(left: &[f32], right: &Panels, output: &mut [f32], start: Start, rows: usize) {
    let rows = rows.max(1);
    let (inner, columns) = (left.len() / rows, output.len() / rows);
    let output = Window::new(output, columns);
    Product { left: Strided::rows(left, inner), right, rows, output, start }.run();
}
