use std::ops::Range;

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{
    Block, INPUTS, Saved, Weights,
    forward::product,
    vectors::{Sums, Vectors},
};
use crate::flex::{
    activate,
    attend::Sample,
    buffer::{Buffer, numbers},
    outer::{Outer, run_all},
    panels::{Panels, Strided},
    plan::{Plan, Task, at, pieces, take},
    product::Start,
    rows::{Norm, NormGradients, add_column_sums},
    scratch::{Scratch, with_scratch},
};
use crate::{AttentionOptions, BlockOptions, NormPlace};

/// Numbers that a chunk of tasks leaves for the gradients of the weights: they stay in the third cache.
const CHUNK: usize = 9 << 19;

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
    /// What entered attention.
    entered1: Buffer,
    dqkv: Buffer,
    dsum1: Buffer,
    /// What entered the feed-forward.
    entered2: Buffer,
    dhidden: Buffer,
    active: Buffer,
    /// Empty where it is the gradient of the output as it lies.
    dsum2: Buffer,
}

/// A task's part of all matrices.
struct Part<'a> {
    task: &'a Task,
    /// Hidden tokens included, as the next two.
    x: &'a [f32],
    gradient: &'a [f32],
    dx: &'a mut [f32],
    saved: &'a Saved,
    entered1: &'a mut [f32],
    dqkv: &'a mut [f32],
    dsum1: &'a mut [f32],
    entered2: &'a mut [f32],
    dhidden: &'a mut [f32],
    active: &'a mut [f32],
    dsum2: &'a mut [f32],
    /// The task's share of the gradients of norms and biases.
    vectors: &'a mut [f32],
}

/// The gradients of all inputs; those of the weights are empty where not wanted.
pub(super) fn run(
    block: &Block,
    inputs: &[FlexTensor; INPUTS],
    saved: &Saved,
    gradient: &[f32],
    wanted: [bool; INPUTS],
) -> [Option<Buffer>; INPUTS] {
    let (weights, x) = (Weights::of(inputs, block.options.norms), numbers(&inputs[0]));
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
            let dsum2 = backward.dsum2(tasks, gradient, &operands);
            backward.matrices(&rows, saved, &operands, dsum2, &mut matrices);
        }
    }
    let [qkv, out, up, down] = matrices;
    let sums = Sums::of(&vectors, [width, hidden], block.options.norms);
    let [[gamma1, beta1], [gamma2, beta2]] = sums.norms;
    [dx, gamma1, beta1, qkv, sums.qkv, out, sums.out, gamma2, beta2, up, sums.up, down, sums.down].map(Some)
}

fn gradients<'a>(dx: &'a mut [f32], [dgamma, dbeta]: &'a mut [&mut [f32]; 2]) -> NormGradients<'a> {
    NormGradients { dx, dgamma, dbeta }
}

/// Consecutive tasks whose operands, `numbers` for each token, stay in the third cache; at least one for each thread.
fn chunks(tasks: &[Task], numbers: usize) -> impl Iterator<Item = &[Task]> {
    let (most, threads) = ((CHUNK / numbers).max(1), rayon::current_num_threads());
    let mut rest = tasks;
    std::iter::from_fn(move || {
        let first = rest.first()?.rows.start;
        let count = rest.iter().take_while(|task| task.rows.end - first <= most).count().max(threads).min(rest.len());
        let (chunk, after) = rest.split_at(count);
        rest = after;
        Some(chunk)
    })
}

impl Backward<'_> {
    fn operands(&self, rows: usize) -> Operands {
        let (width, hidden) = (self.weights.width(), self.weights.hidden());
        Operands {
            entered1: Buffer::new(rows * width),
            dqkv: Buffer::new(rows * 3 * width),
            dsum1: Buffer::new(rows * width),
            entered2: Buffer::new(rows * width),
            dhidden: Buffer::new(rows * hidden),
            active: Buffer::new(rows * hidden),
            dsum2: Buffer::new(if self.dsum2_is_gradient() { 0 } else { rows * width }),
        }
    }

    /// Whether the gradient of the last sum is that of the output as it lies.
    fn dsum2_is_gradient(&self) -> bool {
        self.plan.is_packed() && self.options.norms == NormPlace::Before
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
        let Operands { entered1, dqkv, dsum1, entered2, dhidden, active, dsum2 } = operands;
        let mut rest: [&mut [f32]; 7] = [entered1, dqkv, dsum1, entered2, dhidden, active, dsum2];
        let part = |task: &'a Task| {
            let Task { samples, rows, .. } = task;
            let (samples, rows) = (at(samples, tokens * width), rows.len());
            Part {
                task,
                x: &x[samples.clone()],
                gradient: &gradient[samples.clone()],
                dx: take(&mut dx, samples.len()),
                saved,
                entered1: take(&mut rest[0], rows * width),
                dqkv: take(&mut rest[1], rows * 3 * width),
                dsum1: take(&mut rest[2], rows * width),
                entered2: take(&mut rest[3], rows * width),
                dhidden: take(&mut rest[4], rows * hidden),
                active: take(&mut rest[5], rows * hidden),
                dsum2: take(&mut rest[6], if self.dsum2_is_gradient() { 0 } else { rows * width }),
                vectors: take(&mut vectors, Vectors::length(width, hidden)),
            }
        };
        let parts: Vec<Part> = tasks.iter().map(part).collect();
        parts.into_par_iter().with_max_len(1).for_each(|part| with_scratch(|scratch| self.task(part, scratch)));
    }

    /// The gradient of the last sum over the chunk's real tokens.
    fn dsum2<'a>(&self, tasks: &[Task], gradient: &'a [f32], operands: &'a Operands) -> &'a [f32] {
        if !self.dsum2_is_gradient() {
            return &operands.dsum2;
        }
        let samples = tasks[0].samples.start..tasks[tasks.len() - 1].samples.end;
        &gradient[at(&samples, self.plan.tokens * self.weights.width())]
    }

    fn task(&self, mut part: Part, scratch: &mut Scratch) {
        let (width, hidden, rows) = (self.weights.width(), self.weights.hidden(), part.task.rows.len());
        let Scratch { attention, rows: [x, real_dx, dattended, dentered, real_gradient, ..], .. } = scratch;
        let x = self.plan.gather(part.task, part.x, width, x);
        let gradient = self.plan.gather(part.task, part.gradient, width, real_gradient);
        let mut vectors = Vectors::of(std::mem::take(&mut part.vectors), width, hidden);
        let dsum2 = self.last_sum(&mut part, gradient, &mut vectors);
        dattended.resize(rows * width);
        for piece in pieces(rows) {
            self.feed_forward(&mut part, dsum2, &piece, dentered, &mut vectors);
            product(
                &part.dsum1[at(&piece, width)],
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
        let dx = std::mem::take(&mut part.dx);
        real_dx.resize(if self.plan.is_packed() { 0 } else { rows * width });
        for piece in pieces(rows) {
            let dx = if self.plan.is_packed() { &mut *dx } else { &mut **real_dx };
            let ends = (&x[at(&piece, width)], &mut dx[at(&piece, width)]);
            self.project(&mut part, ends, &piece, dentered, &mut vectors);
        }
        add_column_sums(part.dqkv, vectors.qkv);
        add_column_sums(part.dsum1, vectors.out);
        add_column_sums(part.dhidden, vectors.up);
        add_column_sums(dsum2, vectors.down);
        if !self.plan.is_packed() {
            dx.copy_from_slice(part.gradient);
            self.plan.scatter(part.task, real_dx, width, dx);
        }
    }

    /// From the gradient of the output to that of the sum after the feed-forward.
    fn last_sum<'p: 'g, 'g>(&self, part: &mut Part<'p>, gradient: &'g [f32], vectors: &mut Vectors) -> &'g [f32] {
        let dsum2 = std::mem::take(&mut part.dsum2);
        if self.dsum2_is_gradient() {
            return gradient;
        }
        match self.options.norms {
            NormPlace::Before => dsum2.copy_from_slice(gradient),
            NormPlace::After => {
                let sum2 = &part.saved.sum2[at(&part.task.rows, self.weights.width())];
                dsum2.fill(0.0);
                let gradients = gradients(dsum2, &mut vectors.outer_norm);
                self.norm(sum2, self.weights.outer_norm).backward(gradient, gradients, None);
            }
        }
        dsum2
    }

    /// From the gradient of the sum after the feed-forward to that of the sum after attention.
    fn feed_forward(
        &self,
        part: &mut Part,
        dsum2: &[f32],
        piece: &Range<usize>,
        dentered: &mut Buffer,
        vectors: &mut Vectors,
    ) {
        let (width, hidden, rows) = (self.weights.width(), self.weights.hidden(), piece.len());
        let kept = part.task.rows.start + piece.start..part.task.rows.start + piece.end;
        let dsum2 = &dsum2[at(piece, width)];
        let (dhidden, active) = (&mut part.dhidden[at(piece, hidden)], &mut part.active[at(piece, hidden)]);
        product(dsum2, &self.packed.down, dhidden, Start::Zero, rows);
        activate::reverse(self.options.activation, &part.saved.hidden[at(&kept, hidden)], None, dhidden, Some(active));
        let dsum1 = &mut part.dsum1[at(piece, width)];
        dentered.resize(rows * width);
        match self.options.norms {
            NormPlace::Before => {
                product(dhidden, &self.packed.up, dentered, Start::Zero, rows);
                dsum1.copy_from_slice(dsum2);
            }
            NormPlace::After => {
                dentered.copy_from_slice(dsum2);
                product(dhidden, &self.packed.up, dentered, Start::Output, rows);
                dsum1.fill(0.0);
            }
        }
        let (sum1, entered) = (&part.saved.sum1[at(&kept, width)], &mut part.entered2[at(piece, width)]);
        let gradients = gradients(dsum1, &mut vectors.inner_norm);
        self.norm(sum1, self.weights.inner_norm).backward(dentered, gradients, Some(entered));
    }

    /// From the gradients of the sum after attention and of the projection to that of `x`.
    fn project(
        &self,
        part: &mut Part,
        (x, dx): (&[f32], &mut [f32]),
        piece: &Range<usize>,
        dentered: &mut Buffer,
        vectors: &mut Vectors,
    ) {
        let (width, rows) = (self.weights.width(), piece.len());
        let (dqkv, entered) = (&part.dqkv[at(piece, 3 * width)], &mut part.entered1[at(piece, width)]);
        dx.copy_from_slice(&part.dsum1[at(piece, width)]);
        match self.options.norms {
            NormPlace::Before => {
                dentered.resize(rows * width);
                product(dqkv, &self.packed.qkv, dentered, Start::Zero, rows);
                let gradients = gradients(dx, &mut vectors.outer_norm);
                self.norm(x, self.weights.outer_norm).backward(dentered, gradients, Some(entered));
            }
            NormPlace::After => {
                entered.copy_from_slice(x);
                product(dqkv, &self.packed.qkv, dx, Start::Output, rows);
            }
        }
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
        dsum2: &[f32],
        matrices: &mut [Buffer; 4],
    ) {
        let (width, hidden) = (self.weights.width(), self.weights.hidden());
        let attended = &saved.attended[at(rows, width)];
        let operands: [(&[f32], &[f32], usize, usize); 4] = [
            (&operands.entered1, &operands.dqkv, width, 3 * width),
            (attended, &operands.dsum1, width, width),
            (&operands.entered2, &operands.dhidden, width, hidden),
            (&operands.active, dsum2, hidden, width),
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
