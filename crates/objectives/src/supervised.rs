//! Labels, told from whatever modalities a case has.

mod target;
mod task;

use std::{collections::BTreeMap, sync::Arc};

use burn::{
    module::Module,
    tensor::{
        Device, Tensor, TensorData,
        activation::{log_sigmoid, log_softmax},
    },
};
use ndarray::Array2;
use sensorium_backbone::{Draw, Linear};
use sensorium_contract::{
    Arrays, Batch, Loss, LossPart, Name, Objective, Outputs, Pass, PassOutput, PassPlan, Target, tensor_f32,
};
use serde::{Deserialize, Serialize};

use crate::{ObjectiveError, Surroundings, distinct, pairs::require, positive};
use target::{LabelTarget, TRUTH};

pub use task::{Answer, Task};

const KIND: &str = "supervised";

/// One label, told from one joint pass over those of the modalities that a sample has, so that any
/// subset of them answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SupervisedConfig {
    /// The field of a sample that holds the label. No modality may read it.
    pub label: String,
    /// What the label is.
    pub task: Task,
    /// The modalities that are read together; all, if none are named.
    #[serde(default)]
    pub modalities: Vec<Name>,
    /// Share of each class among the training samples: the answer to a sample that has none of the
    /// modalities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<f32>,
    /// Weight of each class in the loss; equal, if none are given. Their mean over the training
    /// samples should be 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_weights: Vec<f32>,
    /// Probability that is taken from the true class and shared by all (Szegedy et al. 2016).
    #[serde(default)]
    pub label_smoothing: f32,
    /// The chance of each modality of a sample to be left out while training, but for one.
    #[serde(default)]
    pub modality_dropout: f32,
    /// What logits are divided by in answers, fitted after training (Guo et al. 2017).
    #[serde(default = "one")]
    pub temperature: f32,
    /// Factor in the sum of losses.
    #[serde(default = "one")]
    pub weight: f32,
}

fn one() -> f32 {
    1.0
}

/// See [`SupervisedConfig`].
#[derive(Module, Debug)]
pub struct Supervised {
    /// `[width, outputs]`, on the mean of the vectors of the modalities that are present.
    pub head: Linear,
    #[module(skip)]
    config: SupervisedConfig,
}

impl Supervised {
    /// The objective for a recipe's modalities.
    ///
    /// # Errors
    /// Names the key that is impossible.
    pub fn new(config: &SupervisedConfig, surroundings: &Surroundings) -> Result<Self, ObjectiveError> {
        let mut config = config.clone();
        if config.modalities.is_empty() {
            config.modalities = surroundings.modalities.keys().cloned().collect();
        }
        for name in &config.modalities {
            require(KIND, name, surroundings.modalities)?;
        }
        distinct(KIND, &config.modalities)?;
        positive(KIND, "temperature", config.temperature)?;
        if let Some(problem) = config.problem() {
            return Err(ObjectiveError::Impossible { objective: KIND, problem });
        }
        let width = (surroundings.width)(&config.modalities);
        let (seed, device) = (surroundings.seed, surroundings.device);
        Ok(Self { head: Linear::new(width, config.task.outputs(), Draw::Normal(0.02), seed, device), config })
    }

    /// What it was made from, with the modalities named.
    pub fn config(&self) -> &SupervisedConfig {
        &self.config
    }

    /// The pass that it reads.
    pub fn pass(&self) -> Pass {
        Pass::any(&self.config.modalities)
    }

    /// Mean of the vectors of the modalities that each row has, `[rows, width]`; nothing where a
    /// pass kept no features.
    pub fn pooled(&self, output: &PassOutput, batch: &Batch) -> Option<Tensor<2>> {
        let rows = &output.plan.rows;
        let mut sum: Option<Tensor<2>> = None;
        let mut counts = vec![0.0; rows.len()];
        for pooled in &output.features.as_ref()?.pooled {
            let own = &batch.parts.get(&pooled.name)?.rows;
            let here: Vec<f32> = rows.iter().map(|row| f32::from(own.binary_search(row).is_ok())).collect();
            counts.iter_mut().zip(&here).for_each(|(count, here)| *count += here);
            let vector = match here.contains(&0.0) {
                true => pooled.vector.clone() * column(&here, &pooled.vector.device()),
                false => pooled.vector.clone(),
            };
            sum = Some(match sum {
                Some(sum) => sum + vector,
                None => vector,
            });
        }
        let sum = sum?;
        let counts = column(&counts, &sum.device());
        Some(sum / counts)
    }

    /// What the head says of each row of the pass, `[rows, outputs]`.
    pub fn logits(&self, output: &PassOutput, batch: &Batch) -> Option<Tensor<2>> {
        Some(self.head.forward(self.pooled(output, batch)?))
    }

    fn name(&self) -> String {
        format!("supervised {}", self.config.label)
    }

    /// The label's part in a batch.
    fn part(&self) -> Name {
        Name::new(&format!("label {}", self.config.label))
    }

    fn losses(&self, outputs: &Outputs, batch: &Batch) -> Option<LossPart> {
        let output = outputs.get(&self.pass())?;
        let labels = batch.parts.get(&self.part())?;
        let read = output.plan.rows.iter().enumerate();
        let labelled = read.filter_map(|(place, row)| Some((place as i64, labels.rows.binary_search(row).ok()?)));
        let (places, known): (Vec<i64>, Vec<usize>) = labelled.unzip();
        if places.is_empty() {
            return None;
        }
        let logits = self.logits(output, batch)?;
        let index = Tensor::from_data(TensorData::from(places.as_slice()), &logits.device().inner());
        let logits = logits.select(0, index); // [labelled, outputs]
        let value = self.loss_of(logits, &labels.arrays.select(&known)) / places.len() as f32;
        Some(LossPart { name: self.name(), value, weight: self.config.weight, items: places.len() })
    }

    /// The sum over the rows; `logits` `[rows, outputs]` → `[1]`.
    fn loss_of(&self, logits: Tensor<2>, truth: &Arrays) -> Tensor<1> {
        let truth = truth.f32(TRUTH);
        let device = logits.device().inner();
        let tensor = |values: Array2<f32>| tensor_f32::<2>(&values.into_dyn(), &device);
        let wanted = self.config.task.wanted(truth, self.config.label_smoothing);
        let weights = self.config.task.weights(truth, &self.config.class_weights);
        match self.config.task {
            Task::Classes { .. } => (log_softmax(logits, 1) * tensor(wanted) * tensor(weights)).sum().neg(),
            Task::Ordinal { .. } | Task::Labels { .. } => {
                let (yes, no) = (tensor(wanted.clone()), tensor(wanted.mapv(|share| 1.0 - share)));
                let likelihood = yes * log_sigmoid(logits.clone()) + no * log_sigmoid(logits.neg());
                (likelihood * tensor(weights)).sum().neg()
            }
            Task::Number { .. } => (logits - tensor(wanted)).square().sum(),
        }
    }
}

impl SupervisedConfig {
    /// The answer to a sample of which nothing is known.
    pub fn prior(&self) -> Answer {
        let classes = self.task.classes().len();
        match self.task {
            Task::Number { mean, .. } => Answer::Number(mean),
            _ if self.shares.len() == classes => Answer::Probabilities(self.shares.clone()),
            _ => Answer::Probabilities(vec![1.0 / classes as f32; classes]),
        }
    }

    /// What is impossible about it, apart from its modalities.
    fn problem(&self) -> Option<String> {
        let share = |key: &str, value: f32| {
            (!(0.0..1.0).contains(&value)).then(|| format!("`{key}` must be at least 0 and below 1, found {value}"))
        };
        let classes = self.task.classes().len();
        let weights = self.class_weights.len();
        if weights > 0
            && (weights != classes || self.class_weights.iter().any(|weight| weight.is_nan() || *weight < 0.0))
        {
            return Some(format!("`class_weights`: expected {classes} numbers of at least 0, found {weights} entries"));
        }
        let wrong = share("label_smoothing", self.label_smoothing);
        wrong.or_else(|| share("modality_dropout", self.modality_dropout)).or_else(|| self.task.problem())
    }
}

/// `[rows, 1]`
fn column(values: &[f32], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len(), 1]), &device.clone().inner())
}

impl Objective for Supervised {
    fn passes(&self) -> Vec<Pass> {
        vec![self.pass()]
    }

    fn targets(&self) -> BTreeMap<Name, Arc<dyn Target>> {
        let target = LabelTarget::new(&self.config.label, &self.config.task);
        BTreeMap::from([(self.part(), Arc::new(target) as Arc<dyn Target>)])
    }

    fn modality_dropout(&self) -> f32 {
        self.config.modality_dropout
    }

    fn compares_samples(&self) -> bool {
        false
    }

    fn loss(&self, outputs: &Outputs, batch: &Batch) -> Loss {
        Loss { parts: self.losses(outputs, batch).into_iter().collect() }
    }

    fn items(&self, _plans: &[PassPlan], pieces: &[Batch]) -> BTreeMap<String, usize> {
        let labelled = |batch: &Batch| {
            let Some(labels) = batch.parts.get(&self.part()) else { return 0 };
            let read = batch.rows_with_any(&self.config.modalities);
            read.iter().filter(|row| labels.rows.binary_search(row).is_ok()).count()
        };
        BTreeMap::from([(self.name(), pieces.iter().map(labelled).sum())])
    }
}
