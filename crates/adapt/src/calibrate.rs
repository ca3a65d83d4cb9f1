//! What held-out cases say of a model: when to stop, and how sure it may be.

use std::error::Error;

use burn::module::Module;
use ndarray::{Array1, Array2, ArrayView1, Axis, concatenate};
use sensorium_contract::{Name, Seed};
use sensorium_metrics::Temperature;
use sensorium_model::Model;
use sensorium_objectives::{ObjectiveConfig, SupervisedConfig, Task};
use sensorium_samples::Prepared;
use sensorium_state::{NamedTensor, export, import};
use sensorium_train::{Evaluator, Metric};

use crate::AdaptError;

/// Cases that are read at once.
const BATCH: usize = 64;
/// A temperature further from 1 says more of the few held-out cases than of the model.
const TEMPERATURES: [f64; 2] = [0.4, 4.0];
/// The least probability of which a logarithm is taken.
const LEAST: f64 = 1e-7;

/// What a model says of labelled cases, with their truth as its target made it.
pub(crate) struct Labelled {
    /// `[cases, outputs]`
    pub logits: Array2<f32>,
    /// `[cases, width]`
    pub pooled: Array2<f32>,
    /// `[cases, classes]` of labels, else `[cases, 1]`
    pub truth: Array2<f32>,
}

/// Runs a model over all labelled cases; nothing if there are none.
pub(crate) fn labelled(model: &Model, data: &Prepared) -> Result<Option<Labelled>, AdaptError> {
    let Some(supervised) = model.supervised() else { return Ok(None) };
    let part = Name::new(&format!("label {}", supervised.config().label));
    let (mut logits, mut pooled, mut truth) = (Vec::new(), Vec::new(), Vec::new());
    for loaded in data.sequential(BATCH) {
        let batch = loaded?.batch;
        let (Some(said), Some(labels)) = (model.say(&batch), batch.parts.get(&part)) else { continue };
        let both = said.rows.iter().enumerate();
        let both = both.filter_map(|(place, row)| Some((place, labels.rows.binary_search(row).ok()?)));
        let (places, known): (Vec<usize>, Vec<usize>) = both.unzip();
        logits.push(said.logits.select(Axis(0), &places));
        pooled.push(said.pooled.select(Axis(0), &places));
        let truths = labels.arrays.f32("truth").select(Axis(0), &known);
        truth.extend(truths.into_dimensionality::<ndarray::Ix2>());
    }
    let joined = |parts: &[Array2<f32>]| {
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        concatenate(Axis(0), &views).ok().filter(|all| all.nrows() > 0)
    };
    let all = (joined(&logits), joined(&pooled), joined(&truth));
    let (Some(logits), Some(pooled), Some(truth)) = all else { return Ok(None) };
    Ok(Some(Labelled { logits, pooled, truth }))
}

/// Loss and rate of errors on held-out cases, as the user will meet them: without smoothing, weights
/// and dropout.
pub(crate) struct HeldOut {
    pub data: Prepared,
}

impl Evaluator<Model> for HeldOut {
    fn name(&self) -> &str {
        "validation"
    }

    fn evaluate(&mut self, model: &Model, _step: u64) -> Result<Vec<Metric>, Box<dyn Error + Send + Sync>> {
        let found = labelled(&model.valid(), &self.data)?;
        let (Some(found), Some(supervised)) = (found, model.supervised()) else {
            return Err("no held-out case has both a label and something to read".into());
        };
        let task = &supervised.config().task;
        let rows = found.logits.rows().into_iter().zip(found.truth.rows());
        let (mut loss, mut right) = (0.0, 0.0);
        for (logits, truth) in rows {
            let (own, is_right) = surprise(task, logits, truth);
            loss += own;
            right += f64::from(u8::from(is_right));
        }
        let cases = found.truth.nrows() as f64;
        let metric = |name: &str, value, higher_is_better| Metric { name: name.to_owned(), value, higher_is_better };
        Ok(match task {
            Task::Number { deviation, .. } => {
                vec![metric("loss", loss / cases, false), metric("rmse", (loss / cases).sqrt() * deviation, false)]
            }
            _ => vec![metric("loss", loss / cases, false), metric("accuracy", right / cases, true)],
        })
    }
}

/// The loss of one case, and whether the most probable answer is the true one.
fn surprise(task: &Task, logits: ArrayView1<f32>, truth: ArrayView1<f32>) -> (f64, bool) {
    use sensorium_objectives::Answer::{Number, Probabilities};
    match task.answer(&logits.to_vec(), 1.0) {
        Number(_) => (f64::from(logits[0] - truth[0]).powi(2), false),
        Probabilities(found) if matches!(task, Task::Labels { .. }) => {
            let each = found.iter().zip(truth).map(|(p, on)| {
                let sure = f64::from(if *on > 0.5 { *p } else { 1.0 - p });
                (-sure.max(LEAST).ln(), (*p > 0.5) == (*on > 0.5))
            });
            let each: Vec<(f64, bool)> = each.collect();
            let all_right = each.iter().all(|(_, right)| *right);
            (each.iter().map(|(loss, _)| loss).sum::<f64>() / each.len().max(1) as f64, all_right)
        }
        Probabilities(found) => {
            let class = truth[0] as usize;
            let most = found.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(class, _)| class);
            (-f64::from(found[class]).max(LEAST).ln(), most == class)
        }
    }
}

/// The model with its temperature fitted on held-out cases.
pub(crate) fn calibrated(model: Model, data: &Prepared) -> Result<Model, AdaptError> {
    let found = labelled(&model, data)?;
    let (Some(found), Some(config)) = (found, model.supervised().map(|supervised| supervised.config().clone())) else {
        return Ok(model);
    };
    let Some((logits, truth)) = as_classes(&config.task, &found) else { return Ok(model) };
    let fitted = Temperature::fit(logits.view(), &truth)?.0.clamp(TEMPERATURES[0], TEMPERATURES[1]);
    with_objective(model, SupervisedConfig { temperature: fitted as f32, ..config })
}

/// Rows of logits with their true class, as a temperature is fitted on; nothing for numbers.
fn as_classes(task: &Task, found: &Labelled) -> Option<(Array2<f64>, Vec<usize>)> {
    let logits = found.logits.mapv(f64::from);
    // A yes or no is a row of two logits, 0 and its own.
    let yes_or_no = |asked: &dyn Fn(usize, usize) -> Option<bool>| {
        let mut rows = Vec::new();
        let mut truth = Vec::new();
        for ((row, output), logit) in logits.indexed_iter() {
            if let Some(yes) = asked(row, output) {
                rows.extend([0.0, *logit]);
                truth.push(usize::from(yes));
            }
        }
        Some((Array1::from(rows).into_shape_with_order((truth.len(), 2)).ok()?, truth))
    };
    match task {
        Task::Number { .. } => None,
        Task::Classes { .. } => {
            let truth = found.truth.column(0).iter().map(|class| *class as usize).collect();
            Some((logits, truth))
        }
        Task::Labels { .. } => yes_or_no(&|row, label| Some(found.truth[[row, label]] > 0.5)),
        Task::Ordinal { .. } => yes_or_no(&|row, grade| {
            let class = found.truth[[row, 0]] as usize;
            (class >= grade).then_some(class > grade)
        }),
    }
}

/// The same weights with another configuration of the label.
pub(crate) fn with_objective(model: Model, config: SupervisedConfig) -> Result<Model, AdaptError> {
    let mut architecture = model.architecture().clone();
    architecture.objectives = vec![ObjectiveConfig::Supervised(config)];
    let device = model.projections[0].weight.device();
    let new = Model::new(&architecture, model.modalities().clone(), Seed::new(0), &device)?;
    let tensors: Vec<NamedTensor> = export(&model);
    let tensors = tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
    Ok(import(new, &tensors)?)
}
