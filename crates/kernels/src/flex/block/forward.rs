use std::ops::Range;

use rayon::prelude::*;

use super::{Block, Saved, Weights};
use crate::flex::{
    activate::activate,
    attend::Sample,
    buffer::Buffer,
    plan::{Plan, Task, at, pieces, take},
    product::{Panels, Product, Start, Strided, Window},
    rows::Norm,
    scratch::{Scratch, with_scratch},
};
use crate::{AttentionOptions, BlockOptions};

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
    middle: &'a mut [f32],
    hidden: &'a mut [f32],
}

/// The output, hidden tokens included, and with `keep` what the backward pass needs.
pub(super) fn run(block: &Block, x: &[f32], weights: Weights, keep: bool) -> (Buffer, Option<Saved>) {
    let (width, hidden) = (weights.width(), weights.hidden());
    let Block { plan, options } = block;
    let rows = if keep { plan.rows() } else { 0 };
    let mut saved = Saved {
        qkv: Buffer::new(rows * 3 * width),
        attended: Buffer::new(rows * width),
        middle: Buffer::new(rows * width),
        hidden: Buffer::new(rows * hidden),
    };
    let mut output = Buffer::new(x.len());
    let parts = parts(plan, x, &mut output, &mut saved, [width, hidden], keep);
    let forward = Forward { weights, packed: Packed::new(&weights), plan, options: *options, keep };
    parts.into_par_iter().with_max_len(1).for_each(|part| with_scratch(|scratch| forward.task(part, scratch)));
    (output, keep.then_some(saved))
}

fn parts<'a>(
    plan: &'a Plan,
    x: &'a [f32],
    mut output: &'a mut [f32],
    saved: &'a mut Saved,
    [width, hidden]: [usize; 2],
    keep: bool,
) -> Vec<Part<'a>> {
    let Saved { qkv, attended, middle, hidden: before } = saved;
    let mut rest: [&mut [f32]; 4] = [qkv, attended, middle, before];
    let part = |task: &'a Task| {
        let samples = task.samples.start * plan.tokens * width..task.samples.end * plan.tokens * width;
        let rows = if keep { task.rows.len() } else { 0 };
        Part {
            task,
            x: &x[samples.clone()],
            output: take(&mut output, samples.len()),
            qkv: take(&mut rest[0], rows * 3 * width),
            attended: take(&mut rest[1], rows * width),
            middle: take(&mut rest[2], rows * width),
            hidden: take(&mut rest[3], rows * hidden),
        }
    };
    plan.tasks.iter().map(part).collect()
}

/// Where a task works, in memory that is kept or not.
struct Stages<'a> {
    x: &'a [f32],
    qkv: &'a mut [f32],
    attended: &'a mut [f32],
    middle: &'a mut [f32],
    hidden: &'a mut [f32],
    output: &'a mut [f32],
}

impl Forward<'_> {
    fn task(&self, part: Part, scratch: &mut Scratch) {
        let (width, hidden, rows) = (self.weights.width(), self.weights.hidden(), part.task.rows.len());
        let Scratch { attention, rows: [x, qkv, attended, middle, before, output, normed, active], .. } = scratch;
        let mut stages = Stages {
            x: self.plan.gather(part.task, part.x, width, x),
            qkv: self.kept(part.qkv, qkv, rows * 3 * width),
            attended: self.kept(part.attended, attended, rows * width),
            middle: self.kept(part.middle, middle, rows * width),
            hidden: self.kept(part.hidden, before, rows * hidden),
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

    /// Norm, queries, keys and values.
    fn project(&self, stages: &mut Stages, piece: Range<usize>, normed: &mut Buffer) {
        let width = self.weights.width();
        normed.resize(piece.len() * width);
        self.norm(&stages.x[at(&piece, width)], self.weights.norm1).forward(normed);
        let output = &mut stages.qkv[at(&piece, 3 * width)];
        product(normed, &self.packed.qkv, output, Start::Bias(self.weights.qkv[1]), piece.len());
    }

    /// Everything after attention.
    fn finish(&self, stages: &mut Stages, piece: Range<usize>, normed: &mut Buffer, active: &mut Buffer) {
        let (width, hidden, rows) = (self.weights.width(), self.weights.hidden(), piece.len());
        let middle = &mut stages.middle[at(&piece, width)];
        middle.copy_from_slice(&stages.x[at(&piece, width)]);
        let attended = &stages.attended[at(&piece, width)];
        product(attended, &self.packed.out, middle, Start::OutputAndBias(self.weights.out[1]), rows);
        normed.resize(rows * width);
        self.norm(middle, self.weights.norm2).forward(normed);
        let before = &mut stages.hidden[at(&piece, hidden)];
        product(normed, &self.packed.up, before, Start::Bias(self.weights.up[1]), rows);
        active.resize(rows * hidden);
        activate(self.options.activation, before, None, active);
        let output = &mut stages.output[at(&piece, width)];
        output.copy_from_slice(middle);
        product(active, &self.packed.down, output, Start::OutputAndBias(self.weights.down[1]), rows);
    }
}

/// A product of all rows of contiguous matrices.
pub(super) fn product(left: &[f32], right: &Panels, output: &mut [f32], start: Start, rows: usize) {
    let rows = rows.max(1);
    let (inner, columns) = (left.len() / rows, output.len() / rows);
    let output = Window::new(output, columns);
    Product { left: Strided::rows(left, inner), right, rows, output, start }.run();
}
