use burn::tensor::Tensor;
use ndarray::Array2;
use sensorium_contract::{Batch, Seed, StepContext, host_f32};
use sensorium_objectives::{Answer, AnyObjective, Supervised};

use crate::{BatchPlan, Model};

/// What a model's head says of the samples of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The samples that have any modality that the head reads, ascending.
    pub rows: Vec<usize>,
    /// What the head reads, `[rows, width]`.
    pub pooled: Array2<f32>,
    /// What it says, `[rows, outputs]`.
    pub logits: Array2<f32>,
}

impl Model {
    /// The objective that tells a label, if the model has one.
    pub fn supervised(&self) -> Option<&Supervised> {
        self.objectives.iter().find_map(|objective| match objective {
            AnyObjective::Supervised(supervised) => Some(supervised),
            _ => None,
        })
    }

    /// What the head says of a batch; nothing if the model tells no label, or no sample has any of
    /// the modalities.
    pub fn say(&self, batch: &Batch) -> Option<Said> {
        let supervised = self.supervised()?;
        // Nothing is drawn in undisturbed passes.
        let context = StepContext { seed: Seed::new(0), step: 0 };
        let plan = BatchPlan::new(batch, &[supervised.pass()], self.preparation(), context);
        let outputs = self.forward(&plan);
        let output = outputs.get(&supervised.pass())?;
        let pooled = supervised.pooled(output, batch)?;
        let logits = supervised.head.forward(pooled.clone());
        Some(Said { rows: output.plan.rows.clone(), pooled: to_host(pooled)?, logits: to_host(logits)? })
    }
}

impl Said {
    /// The answers, row by row.
    pub fn answers(&self, supervised: &Supervised) -> Vec<Answer> {
        let config = supervised.config();
        self.logits.rows().into_iter().map(|row| config.task.answer(&row.to_vec(), config.temperature)).collect()
    }
}

fn to_host(tensor: Tensor<2>) -> Option<Array2<f32>> {
    let [rows, width] = tensor.dims();
    Array2::from_shape_vec([rows, width], host_f32(tensor)).ok()
}
