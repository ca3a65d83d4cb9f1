//! Loss and gradients of a step, in one piece or several, and losses on held-out data.

use std::collections::{BTreeMap, BTreeSet};

use burn::{
    module::Module,
    optim::{GradientsAccumulator, GradientsParams},
    tensor::Tensor,
};
use sensorium_contract::{
    Arrays, Batch, Loss, LossPart, LossSummary, Objective, Outputs, Part, Pass, PassOutput, PassPlan, StepContext,
    StepGradients, Trainable,
};

use crate::{BatchPlan, Model};

impl Trainable for Model {
    fn gradients(&self, pieces: &[Batch], context: StepContext) -> StepGradients {
        match pieces {
            [batch] => self.whole(batch, context),
            pieces => self.in_pieces(pieces, context),
        }
    }

    fn evaluate(&self, batches: &mut dyn Iterator<Item = Batch>, context: StepContext) -> Vec<LossSummary> {
        let mut sums: BTreeMap<String, (f64, usize)> = BTreeMap::new();
        let mut seen: Vec<PassPlan> = Vec::new();
        for batch in batches {
            let plan = BatchPlan::new(&batch, self.passes(), self.preparation(), context);
            let outputs = self.forward(&plan);
            for part in self.objectives.iter().flat_map(|objective| objective.loss(&outputs, &batch).parts) {
                let sum = sums.entry(part.name).or_default();
                sum.0 += f64::from(part.value.into_scalar::<f32>()) * part.items as f64;
                sum.1 += part.items;
            }
            seen.extend(plan.pass_plans().cloned());
        }
        let constants: BTreeMap<String, f32> =
            self.objectives.iter().flat_map(|objective| objective.constant_losses(&seen)).collect();
        let summary = |(name, (sum, items)): (String, (f64, usize))| LossSummary {
            constant: constants.get(&name).copied(),
            value: (sum / items as f64) as f32,
            name,
            items,
        };
        sums.into_iter().map(summary).collect()
    }
}

impl Model {
    /// The loss of a batch, with the graph that leads to it.
    pub fn losses(&self, batch: &Batch, context: StepContext) -> Loss {
        let plan = BatchPlan::new(batch, self.passes(), self.preparation(), context);
        let outputs = self.forward(&plan);
        losses(self.objectives.iter(), &outputs, batch)
    }

    fn whole(&self, batch: &Batch, context: StepContext) -> StepGradients {
        let loss = self.losses(batch, context);
        let gradients = match loss.total() {
            Some(total) => GradientsParams::from_grads(total.backward(), self),
            None => GradientsParams::new(),
        };
        StepGradients { gradients, loss: detached(loss) }
    }

    /// GradCache (Gao et al. 2021): embeddings of all pieces without a graph, the gradient of the
    /// comparing losses with respect to them, then each piece again with that gradient.
    fn in_pieces(&self, pieces: &[Batch], context: StepContext) -> StepGradients {
        let plan = |batch: &Batch| BatchPlan::new(batch, self.passes(), self.preparation(), context);
        let plans: Vec<BatchPlan> = pieces.iter().map(plan).collect();
        let mut sum = GradientsAccumulator::new();
        let cached = self.compare(pieces, context, &mut sum);
        let items = self.items(&plans);
        let mut parts: BTreeMap<String, LossPart> = BTreeMap::new();
        for (at, (batch, plan)) in pieces.iter().zip(&plans).enumerate() {
            let outputs = self.forward(plan);
            let mut own = losses(self.local_objectives(), &outputs, batch);
            for part in &mut own.parts {
                let share = part.items as f32 / items[&part.name].max(1) as f32;
                part.value = part.value.clone() * share;
            }
            let surrogate = outputs.0.iter().filter_map(|output| cached.product(at, output));
            let total = surrogate.chain(own.total()).reduce(|sum, part| sum + part);
            if let Some(total) = total {
                sum.accumulate(self, GradientsParams::from_grads(total.backward(), self));
            }
            add(&mut parts, own);
        }
        let parts = detached(cached.loss).parts.into_iter().chain(parts.into_values());
        StepGradients { gradients: sum.grads(), loss: Loss { parts: parts.collect() } }
    }

    /// The losses that compare samples of the whole batch: their gradients with respect to the
    /// objectives' own parameters go to `sum`, those with respect to embeddings are returned.
    fn compare(&self, pieces: &[Batch], context: StepContext, sum: &mut GradientsAccumulator<Self>) -> Cached {
        let comparing = || self.objectives.iter().filter(|objective| objective.compares_samples());
        let passes: Vec<Pass> = comparing().flat_map(Objective::passes).collect::<BTreeSet<_>>().into_iter().collect();
        if passes.is_empty() {
            return Cached::default();
        }
        let plain = self.valid();
        let outputs: Vec<Outputs> = pieces
            .iter()
            .map(|batch| plain.forward(&BatchPlan::new(batch, &passes, self.preparation(), context)))
            .collect();
        let device = self.projections[0].weight.device();
        let starts: Vec<usize> = pieces.iter().scan(0, |start, piece| Some(std::mem::replace(start, *start + piece.len()))).collect();
        let mut whole = Outputs::default();
        let mut slices = Vec::new();
        for pass in &passes {
            let (mut rows, mut vectors) = (Vec::new(), Vec::new());
            for (at, outputs) in outputs.iter().enumerate() {
                let Some(output) = outputs.get(pass) else { continue };
                let Some(embedding) = output.embedding.clone() else { continue };
                slices.push(Slice { piece: at, pass: pass.clone(), rows: rows.len()..rows.len() + output.plan.rows.len() });
                rows.extend(output.plan.rows.iter().map(|row| row + starts[at]));
                vectors.push(embedding);
            }
            if vectors.is_empty() {
                continue;
            }
            let embedding = Tensor::from_data(Tensor::cat(vectors, 0).into_data(), &device).require_grad();
            let plan = PassPlan { pass: pass.clone(), rows, targets: Vec::new() };
            whole.0.push(PassOutput { plan, features: None, embedding: Some(embedding) });
        }
        let loss = losses(comparing(), &whole, &concatenated(pieces));
        let Some(total) = loss.total() else { return Cached::default() };
        let mut gradients = total.backward();
        let gradient = |output: &PassOutput| Some((output.plan.pass.clone(), output.embedding.as_ref()?.grad_remove(&mut gradients)?));
        let of_embeddings = whole.0.iter().filter_map(gradient).collect();
        sum.accumulate(self, GradientsParams::from_grads(gradients, self));
        Cached { loss, slices, of_embeddings }
    }

    fn local_objectives(&self) -> impl Iterator<Item = &sensorium_objectives::AnyObjective> {
        self.objectives.iter().filter(|objective| !objective.compares_samples())
    }

    /// Items of each part over all pieces.
    fn items(&self, plans: &[BatchPlan]) -> BTreeMap<String, usize> {
        let all: Vec<PassPlan> = plans.iter().flat_map(BatchPlan::pass_plans).cloned().collect();
        self.local_objectives().flat_map(|objective| objective.items(&all)).collect()
    }
}

/// Gradients of the comparing losses with respect to embeddings.
#[derive(Default)]
struct Cached {
    loss: Loss,
    slices: Vec<Slice>,
    of_embeddings: BTreeMap<Pass, Tensor<2>>,
}

/// Where a piece's embeddings lie among those of the whole batch.
struct Slice {
    piece: usize,
    pass: Pass,
    rows: std::ops::Range<usize>,
}

impl Cached {
    /// A scalar whose gradient with respect to the piece's embeddings is the cached one, `[1]`.
    fn product(&self, piece: usize, output: &PassOutput) -> Option<Tensor<1>> {
        let slice = self.slices.iter().find(|slice| slice.piece == piece && slice.pass == output.plan.pass)?;
        let gradient = self.of_embeddings.get(&slice.pass)?;
        let [_, width] = gradient.dims();
        Some((output.embedding.clone()? * gradient.clone().slice([slice.rows.clone(), 0..width])).sum())
    }
}

fn losses<'a>(
    objectives: impl Iterator<Item = &'a sensorium_objectives::AnyObjective>,
    outputs: &Outputs,
    batch: &Batch,
) -> Loss {
    Loss { parts: objectives.flat_map(|objective| objective.loss(outputs, batch).parts).collect() }
}

fn detached(loss: Loss) -> Loss {
    let detach = |part: LossPart| LossPart { value: part.value.inner(), ..part };
    Loss { parts: loss.parts.into_iter().map(detach).collect() }
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
