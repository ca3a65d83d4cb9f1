use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use burn::tensor::Tensor;
use sensorium_contract::{Batch, Loss, StepContext, StepGradients, Trainable};
use sensorium_samples::LoadedBatch;

use crate::{
    AdamW, Average, Best, Evaluator, FlatGradients, Metric, TrainConfig, TrainError,
    journal::{PartRecord, StepRecord, StepTime},
    split_batch,
};

/// All that changes while a model is trained.
#[derive(Debug)]
pub(crate) struct Training<T> {
    pub model: T,
    pub optimizer: AdamW,
    pub average: Option<Average>,
    /// Steps done.
    pub step: u64,
    /// Whether the evaluation that is due at this step is still to be done.
    pub pending: bool,
    /// The step of the last checkpoint.
    pub saved: Option<u64>,
    pub best: Option<Best>,
    /// What the last evaluation found.
    pub evaluation: Vec<Metric>,
}

/// A training after one more step, and what there is to tell of it.
pub(crate) struct Stepped<T> {
    pub training: Training<T>,
    pub record: StepRecord,
    pub time: StepTime,
}

/// What stays the same from step to step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepSettings<'a> {
    pub config: &'a TrainConfig,
    pub seed: sensorium_contract::Seed,
    /// Steps of the whole run.
    pub steps: u64,
    pub steps_per_epoch: u64,
}

impl StepSettings<'_> {
    /// Passes over the data after so many steps.
    pub(crate) fn epoch(&self, step: u64) -> f64 {
        step as f64 / self.steps_per_epoch.max(1) as f64
    }
}

impl<T: Trainable> Training<T> {
    /// One optimiser step.
    pub(crate) fn advance(
        mut self,
        loaded: &LoadedBatch,
        settings: StepSettings<'_>,
    ) -> Result<Stepped<T>, TrainError> {
        let StepSettings { config, seed, steps, .. } = settings;
        let step = self.step + 1;
        let begin = Instant::now();
        let context = StepContext { seed, step: self.step };
        let StepGradients { gradients, loss } =
            config.precision.apply(|| gradients(&self.model, &loaded.batch, config.pieces, context));
        let parts = read_parts(loss);
        let gradients = FlatGradients::take(&self.model, gradients);
        check_finite(step, &parts, &gradients, &loaded.batch)?;
        let grad_norm = gradients.norm();
        let passes = begin.elapsed();

        let begin = Instant::now();
        let lr = config.optimizer.learning_rate * config.schedule.factor(self.step, steps);
        if let Some(average) = &mut self.average {
            average.begin();
        }
        self.model = self.optimizer.step(self.model, gradients, lr, self.average.as_mut());
        self.step = step;
        let time =
            StepTime { samples: loaded.batch.len(), wait: loaded.wait, gradients: passes, optimizer: begin.elapsed() };
        let loss = parts.iter().map(|(_, part)| f64::from(part.weight) * f64::from(part.value)).sum();
        let record =
            StepRecord { step, epoch: settings.epoch(step), lr, grad_norm, loss, parts: BTreeMap::from_iter(parts) };
        Ok(Stepped { training: self, record, time })
    }

    /// The model that is evaluated and used: without autodiff, and averaged if an average is kept.
    pub(crate) fn finished_model(&self) -> T {
        match &self.average {
            Some(average) => average.module(&self.model),
            None => self.model.valid(),
        }
    }

    /// Runs the evaluators; how long that took, and whether this is the best model so far.
    pub(crate) fn evaluate(
        &mut self,
        evaluators: &mut [Box<dyn Evaluator<T> + '_>],
        decisive: Option<&str>,
    ) -> Result<Evaluated, TrainError> {
        let begin = Instant::now();
        let (model, step) = (self.finished_model(), self.step);
        self.evaluation.clear();
        for evaluator in evaluators {
            let prefix = evaluator.name().to_owned();
            let metrics = evaluator.evaluate(&model, step).map_err(|source| TrainError::Evaluation {
                step,
                evaluator: prefix.clone(),
                source,
            })?;
            let full = |metric: Metric| Metric { name: format!("{prefix}/{}", metric.name), ..metric };
            self.evaluation.extend(metrics.into_iter().map(full));
        }
        self.pending = false;
        let improved = match decide(&self.evaluation, decisive)? {
            Some(metric) if self.best.as_ref().is_none_or(|best| best.is_beaten_by(metric)) => {
                self.best = Some(Best::of(metric, step));
                true
            }
            _ => false,
        };
        Ok(Evaluated { improved, time: begin.elapsed() })
    }
}

pub(crate) struct Evaluated {
    pub improved: bool,
    pub time: Duration,
}

fn gradients<T: Trainable>(model: &T, batch: &Batch, pieces: usize, context: StepContext) -> StepGradients {
    match (batch.is_empty(), pieces) {
        // Every sample of the batch was damaged.
        (true, _) => StepGradients { gradients: Default::default(), loss: Loss::default() },
        (false, 1) => model.gradients(std::slice::from_ref(batch), context),
        (false, pieces) => model.gradients(&split_batch(batch, pieces), context),
    }
}

/// Read in one transfer, whatever the number of parts.
fn read_parts(loss: Loss) -> Vec<(String, PartRecord)> {
    let values: Vec<Tensor<1>> = loss.parts.iter().map(|part| part.value.clone().inner()).collect();
    if values.is_empty() {
        return Vec::new();
    }
    let values = Tensor::cat(values, 0).into_data();
    let parts = loss.parts.into_iter().zip(values.iter::<f32>());
    parts.map(|(part, value)| (part.name, PartRecord { value, weight: part.weight, items: part.items })).collect()
}

fn check_finite(
    step: u64,
    parts: &[(String, PartRecord)],
    gradients: &FlatGradients,
    batch: &Batch,
) -> Result<(), TrainError> {
    let error = |what: String, value: f64| Err(TrainError::NonFinite { step, what, value, keys: batch.keys.clone() });
    if let Some((name, part)) = parts.iter().find(|(_, part)| !part.value.is_finite()) {
        return error(format!("the loss of `{name}`"), f64::from(part.value));
    }
    match gradients.first_non_finite() {
        Some(name) => error(format!("the gradient of `{name}`"), gradients.norm()),
        None => Ok(()),
    }
}

fn decide<'a>(metrics: &'a [Metric], decisive: Option<&str>) -> Result<Option<&'a Metric>, TrainError> {
    let Some(name) = decisive else { return Ok(metrics.first()) };
    match metrics.iter().find(|metric| metric.name == name) {
        Some(metric) => Ok(Some(metric)),
        None => {
            let found = metrics.iter().map(|metric| metric.name.clone()).collect();
            Err(TrainError::NoSuchMetric { name: name.to_owned(), found })
        }
    }
}
