use std::{error::Error, sync::Arc};

use sensorium_contract::{Seed, StepContext, Trainable};
use sensorium_samples::{LoadError, LoadedBatch};
use serde::{Deserialize, Serialize};

/// A number that an evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// `image→text/recall@1`; the evaluator's name and a slash come before it in records.
    pub name: String,
    /// The number.
    #[serde(with = "exact")]
    pub value: f64,
    /// Whether more is better.
    pub higher_is_better: bool,
}

/// What measures a model on held-out data during training.
pub trait Evaluator<T> {
    /// A short name: `retrieval`, `loss`.
    fn name(&self) -> &str;

    /// Measures a model without autodiff that has done `step` steps. The result must depend on
    /// nothing else, so that a resumed run records the same numbers.
    ///
    /// # Errors
    /// Whatever keeps it from measuring; it ends the run.
    fn evaluate(&mut self, model: &T, step: u64) -> Result<Vec<Metric>, Box<dyn Error + Send + Sync>>;
}

/// The best evaluation so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Steps done then; the checkpoint of this step is kept.
    pub step: u64,
    /// Full name of the metric.
    pub metric: String,
    /// Its value.
    #[serde(with = "exact")]
    pub value: f64,
    /// Whether more is better.
    pub higher_is_better: bool,
}

impl Best {
    pub(crate) fn of(metric: &Metric, step: u64) -> Self {
        let Metric { name, value, higher_is_better } = metric.clone();
        Self { step, metric: name, value, higher_is_better }
    }

    pub(crate) fn is_beaten_by(&self, metric: &Metric) -> bool {
        match self.higher_is_better {
            true => metric.value > self.value,
            false => metric.value < self.value,
        }
    }
}

/// Numbers in text, since reading a JSON number may change its last digit.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&value.to_string())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A pass over held-out data from its start.
pub type HeldOutBatches = Arc<dyn Fn() -> Box<dyn Iterator<Item = Result<LoadedBatch, LoadError>>>>;

/// Losses on held-out data by [`Trainable::evaluate`], each beside that of the best constant
/// prediction (`<part>/constant`).
pub struct HeldOutLosses {
    /// The data.
    pub batches: HeldOutBatches,
    /// Where masks are drawn from: the same at every evaluation, so that losses can be compared.
    pub seed: Seed,
}

impl<T: Trainable> Evaluator<T> for HeldOutLosses {
    fn name(&self) -> &str {
        "loss"
    }

    fn evaluate(&mut self, model: &T, _step: u64) -> Result<Vec<Metric>, Box<dyn Error + Send + Sync>> {
        let mut failed = None;
        let mut batches = (self.batches)().map_while(|loaded| match loaded {
            Ok(loaded) => Some(loaded.batch),
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        let summaries = model.evaluate(&mut batches, StepContext { seed: self.seed, step: 0 });
        drop(batches);
        if let Some(error) = failed {
            return Err(error.into());
        }
        let metric = |name, value: f32| Metric { name, value: f64::from(value), higher_is_better: false };
        let metrics = summaries.into_iter().flat_map(|summary| {
            let constant = summary.constant.map(|value| metric(format!("{}/constant", summary.name), value));
            std::iter::once(metric(summary.name, summary.value)).chain(constant)
        });
        Ok(metrics.collect())
    }
}
