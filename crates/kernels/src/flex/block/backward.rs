use std::ops::Range;

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{Block, INPUTS, Saved, Weights, forward::product};
use crate::flex::{
    activate,
    attend::Sample,
    buffer::{Buffer, numbers},
    outer::{Outer, run_all},
    plan::{Plan, Task, at, pieces, take},
    product::{Panels, Start, Strided},
    rows::{Norm, NormGradients, add_column_sums},
    scratch::{Scratch, with_scratch},
};
use crate::{AttentionOptions, BlockOptions};

/// Numbers that a chunk of tasks leaves for the gradients of the weights: they stay in the third cache.
const CHUNK: usize = 4 << 20;

/// The transposes of the four weights, packed once for all tasks.
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
            Panels::pack(Strided::columns(weight, columns), columns, weight.len() / columns.max(1))
        };
        let ((qkv, out), (up, down)) =
            rayon::join(|| (pack(weights.qkv), pack(weights.out)), || (pack(weights.up), pack(weights.down)));
        Self { qkv, out, up, down }
    }
}

struct Backward<'a> {
    weights: Weights<'a>,
    packed: Packed,
    plan: &'a Plan,
    options: BlockOptions,
}

/// The operands of the weights' gradients that are not kept from the forward pass, over the real
/// tokens of a chunk.
struct Operands {
    normed1: Buffer,
    dqkv: Buffer,
    dmiddle: Buffer,
    normed2: Buffer,
    dhidden: Buffer,
    active: Buffer,
    /// The gradient of the output.
    gradient: Buffer,
}

/// A task's part of all matrices.
struct Part<'a> {
    task: &'a Task,
    /// Hidden tokens included, as the next two.
    x: &'a [f32],
    gradient: &'a [f32],
    dx: &'a mut [f32],
    saved: &'a Saved,
    normed1: &'a mut [f32],
    dqkv: &'a mut [f32],
    dmiddle: &'a mut [f32],
    normed2: &'a mut [f32],
    dhidden: &'a mut [f32],
    active: &'a mut [f32],
    real_gradient: &'a mut [f32],
    /// The task's share of the gradients of norms and biases.
    vectors: &'a mut [f32],
}

/// The gradients of norms and biases in one row of numbers.
struct Vectors<'a> {
    norm1_gamma: &'a mut [f32],
    norm1_beta: &'a mut [f32],
    qkv: &'a mut [f32],
    out: &'a mut [f32],
    norm2_gamma: &'a mut [f32],
    norm2_beta: &'a mut [f32],
    up: &'a mut [f32],
    down: &'a mut [f32],
}

impl<'a> Vectors<'a> {
    fn length(width: usize, hidden: usize) -> usize {
        9 * width + hidden
    }

    fn of(mut rest: &'a mut [f32], width: usize, hidden: usize) -> Self {
        let mut next = |count| take(&mut rest, count);
        Self {
            norm1_gamma: next(width),
            norm1_beta: next(width),
            qkv: next(3 * width),
            out: next(width),
            norm2_gamma: next(width),
            norm2_beta: next(width),
            up: next(hidden),
            down: next(width),
        }
    }
}

/// The gradients of all inputs; those of the weights are empty where not wanted.
pub(super) fn run(
    block: &Block,
    inputs: &[FlexTensor; INPUTS],
    saved: &Saved,
    gradient: &[f32],
    wanted: [bool; INPUTS],
) -> [Option<Buffer>; INPUTS] {
    let (weights, x) = (Weights::of(inputs), numbers(&inputs[0]));
    let (width, hidden) = (weights.width(), weights.hidden());
    let plan = &*block.plan;
    let backward = Backward { weights, packed: Packed::new(&weights), plan, options: block.options };
    let mut dx = Buffer::new(x.len());
    let mut vectors = Buffer::zeros(plan.tasks.len() * Vectors::length(width, hidden));
    let mut matrices = [3, 5, 9, 11].map(|index| {
        let length = if wanted[index] { inputs[index].layout().num_elements() } else { 0 };
        if plan.rows() == 0 { Buffer::zeros(length) } else { Buffer::new(length) }
    });
    {
        let (mut dx, mut vectors): (&mut [f32], &mut [f32]) = (&mut dx, &mut vectors);
        for tasks in chunks(&plan.tasks, 6 * width + 2 * hidden) {
            let rows = tasks[0].rows.start..tasks[tasks.len() - 1].rows.end;
            let mut operands = backward.operands(rows.len());
            let samples = (tasks[tasks.len() - 1].samples.end - tasks[0].samples.start) * plan.tokens;
            let dx = take(&mut dx, samples * width);
            let vectors = take(&mut vectors, tasks.len() * Vectors::length(width, hidden));
            backward.parts(tasks, [x, gradient], saved, &mut operands, dx, vectors);
            let chunk_gradient = backward.chunk_gradient(tasks, gradient, &operands);
            backward.matrices(&rows, saved, &operands, chunk_gradient, &mut matrices);
        }
    }
    collect(dx, &mut vectors, matrices, width, hidden)
}

/// Consecutive tasks whose operands, `numbers` for each token, stay in the third cache.
fn chunks(tasks: &[Task], numbers: usize) -> impl Iterator<Item = &[Task]> {
    let most = (CHUNK / numbers).max(1);
    let mut rest = tasks;
    std::iter::from_fn(move || {
        let first = rest.first()?.rows.start;
        let count = rest.iter().take_while(|task| task.rows.end - first <= most).count().max(1);
        let (chunk, after) = rest.split_at(count);
        rest = after;
        Some(chunk)
    })
}

/// Sums the tasks' shares, always in the same order, and names everything.
fn collect(
    dx: Buffer,
    vectors: &mut [f32],
    matrices: [Buffer; 4],
    width: usize,
    hidden: usize,
) -> [Option<Buffer>; INPUTS] {
    let length = Vectors::length(width, hidden);
    let mut sums = Buffer::zeros(length);
    add_column_sums(vectors, &mut sums);
    let sums = Vectors::of(&mut sums, width, hidden);
    let vector = |values: &[f32]| {
        let mut buffer = Buffer::new(values.len());
        buffer.copy_from_slice(values);
        Some(buffer)
    };
    let [qkv, out, up, down] = matrices.map(Some);
    [
        Some(dx),
        vector(sums.norm1_gamma),
        vector(sums.norm1_beta),
        qkv,
        vector(sums.qkv),
        out,
        vector(sums.out),
        vector(sums.norm2_gamma),
        vector(sums.norm2_beta),
        up,
        vector(sums.up),
        down,
        vector(sums.down),
    ]
}

impl Backward<'_> {
    fn operands(&self, rows: usize) -> Operands {
        let (width, hidden) = (self.weights.width(), self.weights.hidden());
        Operands {
            normed1: Buffer::new(rows * width),
            dqkv: Buffer::new(rows * 3 * width),
            dmiddle: Buffer::new(rows * width),
            normed2: Buffer::new(rows * width),
            dhidden: Buffer::new(rows * hidden),
            active: Buffer::new(rows * hidden),
            gradient: Buffer::new(if self.plan.is_packed() { 0 } else { rows * width }),
        }
    }

    /// Everything but the gradients of matrices, one task a thread.
    fn parts<'a>(
        &self,
        tasks: &'a [Task],
        [x, gradient]: [&'a [f32]; 2],
        saved: &'a Saved,
        operands: &'a mut Operands,
        mut dx: &'a mut [f32],
        mut vectors: &'a mut [f32],
    ) {
        let (width, hidden, tokens) = (self.weights.width(), self.weights.hidden(), self.plan.tokens);
        let Operands { normed1, dqkv, dmiddle, normed2, dhidden, active, gradient: real } = operands;
        let mut rest: [&mut [f32]; 7] = [normed1, dqkv, dmiddle, normed2, dhidden, active, real];
        let part = |task: &'a Task| {
            let Task { samples, rows, .. } = task;
            let (samples, rows) = (at(samples, tokens * width), rows.len());
            Part {
                task,
                x: &x[samples.clone()],
                gradient: &gradient[samples.clone()],
                dx: take(&mut dx, samples.len()),
                saved,
                normed1: take(&mut rest[0], rows * width),
                dqkv: take(&mut rest[1], rows * 3 * width),
                dmiddle: take(&mut rest[2], rows * width),
                normed2: take(&mut rest[3], rows * width),
                dhidden: take(&mut rest[4], rows * hidden),
                active: take(&mut rest[5], rows * hidden),
                real_gradient: take(&mut rest[6], if self.plan.is_packed() { 0 } else { rows * width }),
                vectors: take(&mut vectors, Vectors::length(width, hidden)),
            }
        };
        let parts: Vec<Part> = tasks.iter().map(part).collect();
        parts.into_par_iter().with_max_len(1).for_each(|part| with_scratch(|scratch| self.task(part, scratch)));
    }

    /// The gradient of the output over the chunk's real tokens.
    fn chunk_gradient<'a>(&self, tasks: &[Task], gradient: &'a [f32], operands: &'a Operands) -> &'a [f32] {
        if !self.plan.is_packed() {
            return &operands.gradient;
        }
        let samples = tasks[0].samples.start..tasks[tasks.len() - 1].samples.end;
        &gradient[at(&samples, self.plan.tokens * self.weights.width())]
    }

    fn task(&self, mut part: Part, scratch: &mut Scratch) {
        let (width, hidden, rows) = (self.weights.width(), self.weights.hidden(), part.task.rows.len());
        let Scratch { attention, rows: [x, real_dx, dattended, dnormed, real_gradient, ..], .. } = scratch;
        let x = self.plan.gather(part.task, part.x, width, x);
        let gradient = self.plan.gather(part.task, part.gradient, width, real_gradient);
        if !self.plan.is_packed() {
            part.real_gradient.copy_from_slice(gradient);
        }
        let mut vectors = Vectors::of(std::mem::take(&mut part.vectors), width, hidden);
        dattended.resize(rows * width);
        for piece in pieces(rows) {
            self.feed_forward(&mut part, gradient, &piece, dnormed, &mut vectors);
            product(
                &part.dmiddle[at(&piece, width)],
                &self.packed.out,
                &mut dattended[at(&piece, width)],
                Start::Zero,
                piece.len(),
            );
        }
        for sequence in &part.task.sequences {
            let gradient = &dattended[at(sequence, width)];
            self.sample(&part, sequence).backward(gradient, &mut part.dqkv[at(sequence, 3 * width)], attention);
        }
        real_dx.resize(if self.plan.is_packed() { 0 } else { rows * width });
        for piece in pieces(rows) {
            let dx = if self.plan.is_packed() { &mut *part.dx } else { &mut **real_dx };
            let dx = &mut dx[at(&piece, width)];
            dx.copy_from_slice(&part.dmiddle[at(&piece, width)]);
            dnormed.resize(piece.len() * width);
            product(&part.dqkv[at(&piece, 3 * width)], &self.packed.qkv, dnormed, Start::Zero, piece.len());
            let gradients = NormGradients { dx, dgamma: vectors.norm1_gamma, dbeta: vectors.norm1_beta };
            let normed = &mut part.normed1[at(&piece, width)];
            self.norm(&x[at(&piece, width)], self.weights.norm1).backward(dnormed, gradients, Some(normed));
        }
        add_column_sums(part.dqkv, vectors.qkv);
        add_column_sums(part.dmiddle, vectors.out);
        add_column_sums(part.dhidden, vectors.up);
        add_column_sums(gradient, vectors.down);
        if !self.plan.is_packed() {
            part.dx.copy_from_slice(part.gradient);
            self.plan.scatter(part.task, real_dx, width, part.dx);
        }
    }

    /// From the gradient of the output to that of the residual between the halves.
    fn feed_forward(
        &self,
        part: &mut Part,
        gradient: &[f32],
        piece: &Range<usize>,
        dnormed: &mut Buffer,
        vectors: &mut Vectors,
    ) {
        let (width, hidden, rows) = (self.weights.width(), self.weights.hidden(), piece.len());
        let kept = part.task.rows.start + piece.start..part.task.rows.start + piece.end;
        let gradient = &gradient[at(piece, width)];
        let (dhidden, active) = (&mut part.dhidden[at(piece, hidden)], &mut part.active[at(piece, hidden)]);
        product(gradient, &self.packed.down, dhidden, Start::Zero, rows);
        activate::reverse(self.options.activation, &part.saved.hidden[at(&kept, hidden)], None, dhidden, Some(active));
        dnormed.resize(rows * width);
        product(dhidden, &self.packed.up, dnormed, Start::Zero, rows);
        let dmiddle = &mut part.dmiddle[at(piece, width)];
        dmiddle.copy_from_slice(gradient);
        let gradients = NormGradients { dx: dmiddle, dgamma: vectors.norm2_gamma, dbeta: vectors.norm2_beta };
        let normed = &mut part.normed2[at(piece, width)];
        self.norm(&part.saved.middle[at(&kept, width)], self.weights.norm2).backward(dnormed, gradients, Some(normed));
    }

    fn norm<'a>(&self, x: &'a [f32], [gamma, beta]: [&'a [f32]; 2]) -> Norm<'a> {
        Norm { x, gamma, beta, epsilon: self.options.epsilon as f32 }
    }

    fn sample<'a>(&self, part: &Part<'a>, sequence: &Range<usize>) -> Sample<'a> {
        let BlockOptions { heads, causal, .. } = self.options;
        let (width, first) = (self.weights.width(), part.task.rows.start);
        let rows = first + sequence.start..first + sequence.end;
        let saved: &'a Saved = part.saved;
        Sample {
            qkv: &saved.qkv[at(&rows, 3 * width)],
            tokens: sequence.len(),
            width,
            options: AttentionOptions { heads, causal },
        }
    }

    /// Adds a chunk's share to the gradients of the matrices that are wanted.
    fn matrices(
        &self,
        rows: &Range<usize>,
        saved: &Saved,
        operands: &Operands,
        gradient: &[f32],
        matrices: &mut [Buffer; 4],
    ) {
        let (width, hidden) = (self.weights.width(), self.weights.hidden());
        let attended = &saved.attended[at(rows, width)];
        let operands: [(&[f32], &[f32], usize, usize); 4] = [
            (&operands.normed1, &operands.dqkv, width, 3 * width),
            (attended, &operands.dmiddle, width, width),
            (&operands.normed2, &operands.dhidden, width, hidden),
            (&operands.active, gradient, hidden, width),
        ];
        let outers = operands.into_iter().zip(matrices).filter(|(_, matrix)| !matrix.is_empty());
        let outers = outers.map(|((left, right, inputs, outputs), output)| Outer {
            left,
            right,
            inputs,
            outputs,
            output,
            fresh: rows.start == 0,
        });
        run_all(outers.collect());
    }
}
