//! Loss and gradients of a step, and losses on held-out data.

use std::collections::BTreeMap;

use burn::optim::GradientsParams;
use sensorium_contract::{
    Batch, Constants, Loss, LossPart, LossSummary, Objective, Outputs, PassPlan, StepContext, StepGradients, Trainable,
};
use sensorium_objectives::AnyObjective;

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
        let mut constants = Constants::default();
        for batch in batches {
            let plan = BatchPlan::new(&batch, self.passes(), self.preparation(), context);
            let outputs = self.forward(&plan);
            for part in losses(self.objectives.iter(), &outputs, &batch).parts {
                let sum = sums.entry(part.name).or_default();
                sum.0 += f64::from(part.value.into_scalar::<f32>()) * part.items as f64;
                sum.1 += part.items;
            }
            let plans: Vec<PassPlan> = plan.pass_plans().cloned().collect();
            self.objectives.iter().for_each(|objective| objective.add_truths(&plans, &mut constants));
        }
        let constants = constants.losses();
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
        let plan = BatchPlan::new(batch, &self.passes_at(context.step), self.preparation(), context);
        let outputs = self.forward(&plan);
        losses(self.active(context.step), &outputs, batch)
    }

    fn whole(&self, batch: &Batch, context: StepContext) -> StepGradients {
        let loss = self.losses(batch, context);
        let gradients = match loss.total() {
            Some(total) => GradientsParams::from_grads(total.backward(), self),
            None => GradientsParams::new(),
        };
        StepGradients { gradients, loss: detached(loss) }
    }
}

pub(crate) fn losses<'a>(objectives: impl Iterator<Item = &'a AnyObjective>, outputs: &Outputs, batch: &Batch) -> Loss {
    Loss { parts: objectives.flat_map(|objective| objective.loss(outputs, batch).parts).collect() }
}

/// The same values without a graph.
pub(crate) fn detached(loss: Loss) -> Loss {
    let detach = |part: LossPart| LossPart { value: part.value.inner(), ..part };
    Loss { parts: loss.parts.into_iter().map(detach).collect() }
}
