//! A large batch in pieces, with the loss and gradients of the whole (GradCache, Gao et al. 2021).
//!
//! Embeddings of all pieces are computed without a graph; the losses that compare samples are taken
//! on all of them, down to their gradient with respect to each embedding; then each piece runs
//! again, with a graph, and that gradient goes on from its embeddings to the parameters.

use std::collections::{BTreeMap, BTreeSet};

use burn::{
    module::Module,
    optim::{GradientsAccumulator, GradientsParams},
    tensor::{Gradients, Tensor},
};
use sensorium_contract::{
    Arrays, Batch, Loss, LossPart, Objective, Outputs, Part, Pass, PassOutput, PassPlan, StepContext, StepGradients,
};
use sensorium_objectives::AnyObjective;

use crate::{
    BatchPlan, Model,
    gradients::{detached, losses},
};

impl Model {
    pub(crate) fn in_pieces(&self, pieces: &[Batch], context: StepContext) -> StepGradients {
        let passes = self.passes_at(context.step);
        let plan = |batch: &Batch| BatchPlan::new(batch, &passes, self.preparation(), context);
        let plans: Vec<BatchPlan> = pieces.iter().map(plan).collect();
        let mut sum = GradientsAccumulator::new();
        let compared = self.compare(pieces, context, &mut sum);
        let items = self.items(&plans, pieces, context.step);
        let mut parts = BTreeMap::new();
        for (piece, (batch, plan)) in pieces.iter().zip(&plans).enumerate() {
            let outputs = self.forward(plan);
            let own = as_shares(losses(self.local_objectives(context.step), &outputs, batch), &items);
            let surrogate = outputs.0.iter().filter_map(|output| compared.surrogate(piece, output));
            let total = surrogate.chain(own.total()).reduce(|sum, part| sum + part);
            if let Some(total) = total {
                sum.accumulate(self, GradientsParams::from_grads(total.backward(), self));
            }
            add(&mut parts, own);
        }
        let parts = detached(compared.loss).parts.into_iter().chain(parts.into_values());
        StepGradients { gradients: sum.grads(), loss: Loss { parts: parts.collect() } }
    }

    /// The losses that compare samples of the whole batch. Their gradients with respect to the
    /// objectives' own parameters go to `sum`, those with respect to embeddings are returned.
    fn compare(&self, pieces: &[Batch], context: StepContext, sum: &mut GradientsAccumulator<Self>) -> Compared {
        let comparing = || self.active(context.step).filter(|objective| objective.compares_samples());
        let passes: BTreeSet<Pass> = comparing().flat_map(Objective::passes).collect();
        let joined = self.joined(pieces, passes.into_iter().collect(), context);
        let outputs = Outputs(joined.iter().map(|joined| joined.output.clone()).collect());
        let loss = losses(comparing(), &outputs, &concatenated(pieces));
        let Some(total) = loss.total() else { return Compared::default() };
        let mut gradients = total.backward();
        let gradients_of = joined.iter().flat_map(|joined| joined.gradients(&mut gradients)).collect();
        sum.accumulate(self, GradientsParams::from_grads(gradients, self));
        Compared { loss, gradients: gradients_of }
    }

    /// Embeddings of all pieces, one entry a pass that any piece has.
    fn joined(&self, pieces: &[Batch], passes: Vec<Pass>, context: StepContext) -> Vec<Joined> {
        let plain = self.valid();
        let mut collected: Vec<Collected> = passes.iter().map(|_| Collected::default()).collect();
        let mut start = 0;
        for (piece, batch) in pieces.iter().enumerate() {
            let outputs = plain.forward(&BatchPlan::new(batch, &passes, self.preparation(), context));
            for (pass, collected) in passes.iter().zip(&mut collected) {
                let Some(output) = outputs.get(pass) else { continue };
                // Kept without the features, which are what makes a large batch large.
                collected.embeddings.extend(output.embedding.clone());
                collected.pieces.push((piece, output.plan.rows.len()));
                collected.rows.extend(output.plan.rows.iter().map(|row| row + start));
            }
            start += batch.len();
        }
        let device = self.device();
        passes.into_iter().zip(collected).filter_map(|(pass, collected)| collected.join(pass, &device)).collect()
    }

    fn local_objectives(&self, step: u64) -> impl Iterator<Item = &AnyObjective> {
        self.active(step).filter(|objective| !objective.compares_samples())
    }

    /// Items of each part over all pieces.
    fn items(&self, plans: &[BatchPlan], pieces: &[Batch], step: u64) -> BTreeMap<String, usize> {
        let all: Vec<PassPlan> = plans.iter().flat_map(BatchPlan::pass_plans).cloned().collect();
        self.local_objectives(step).flat_map(|objective| objective.items(&all, pieces)).collect()
    }
}

/// One pass's embeddings, piece after piece.
#[derive(Default)]
struct Collected {
    /// In the whole batch.
    rows: Vec<usize>,
    /// Number of rows of each piece that has any.
    pieces: Vec<(usize, usize)>,
    embeddings: Vec<Tensor<2>>,
}

impl Collected {
    fn join(self, pass: Pass, device: &burn::tensor::Device) -> Option<Joined> {
        if self.embeddings.is_empty() {
            return None;
        }
        // A leaf of a new graph, `[rows, embedding]`.
        let embedding = Tensor::from_data(Tensor::cat(self.embeddings, 0).into_data(), device).require_grad();
        let plan = PassPlan { pass, rows: self.rows, targets: Vec::new() };
        Some(Joined { output: PassOutput { plan, features: None, embedding: Some(embedding) }, pieces: self.pieces })
    }
}

/// One pass of the whole batch.
struct Joined {
    output: PassOutput,
    /// Number of rows of each piece that has any.
    pieces: Vec<(usize, usize)>,
}

impl Joined {
    /// Gradients with respect to the embeddings of each piece, `[rows, embedding]`.
    fn gradients(&self, gradients: &mut Gradients) -> Vec<((usize, Pass), Tensor<2>)> {
        let embedding = self.output.embedding.as_ref();
        let Some(whole) = embedding.and_then(|embedding| embedding.grad_remove(gradients)) else { return Vec::new() };
        let [_, width] = whole.dims();
        let mut start = 0;
        let of_piece = |&(piece, rows): &(usize, usize)| {
            let own = whole.clone().slice([start..start + rows, 0..width]);
            start += rows;
            ((piece, self.output.plan.pass.clone()), own)
        };
        self.pieces.iter().map(of_piece).collect()
    }
}

/// What the losses that compare samples gave.
#[derive(Default)]
struct Compared {
    loss: Loss,
    /// With respect to the embeddings of a piece's pass.
    gradients: BTreeMap<(usize, Pass), Tensor<2>>,
}

impl Compared {
    /// A scalar whose gradient with respect to the piece's embeddings is that of the whole loss,
    /// `[1]`.
    fn surrogate(&self, piece: usize, output: &PassOutput) -> Option<Tensor<1>> {
        let gradient = self.gradients.get(&(piece, output.plan.pass.clone()))?;
        Some((output.embedding.clone()? * gradient.clone()).sum())
    }
}

/// A piece's means as shares of the mean over all `items`.
fn as_shares(mut loss: Loss, items: &BTreeMap<String, usize>) -> Loss {
    for part in &mut loss.parts {
        let all = items.get(&part.name).copied().unwrap_or(part.items).max(1);
        part.value = part.value.clone() * (part.items as f32 / all as f32);
    }
    loss
}

/// Adds up parts whose values are shares of the whole batch's mean.
fn add(sums: &mut BTreeMap<String, LossPart>, loss: Loss) {
    for part in detached(loss).parts {
        match sums.get_mut(&part.name) {
            None => {
                sums.insert(part.name.clone(), part);
            }
            Some(sum) => {
                sum.value = sum.value.clone() + part.value;
                sum.items += part.items;
            }
        }
    }
}

/// Keys, presence and content of all pieces, without arrays.
fn concatenated(pieces: &[Batch]) -> Batch {
    let mut whole = Batch::default();
    for piece in pieces {
        let start = whole.keys.len();
        for (name, part) in &piece.parts {
            let empty = || Part { rows: Vec::new(), arrays: Arrays::default(), content: Vec::new() };
            let sum = whole.parts.entry(name.clone()).or_insert_with(empty);
            sum.rows.extend(part.rows.iter().map(|row| row + start));
            sum.content.extend(&part.content);
        }
        whole.keys.extend(piece.keys.iter().cloned());
    }
    whole
}
