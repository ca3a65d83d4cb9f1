use sensorium_samples::LoadError;
use sensorium_state::StateError;

/// Why training stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting that cannot work.
    #[error("train.{key}: {message}")]
    Config {
        /// The key below `train`.
        key: String,
        /// What is expected and what was found.
        message: String,
    },
    /// The data.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The stream of batches ended early.
    #[error("the data ended before step {step} of {steps}")]
    DataEnded {
        /// The step that found no batch.
        step: u64,
        /// Steps that the run has.
        steps: u64,
    },
    /// Files of the run directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The loss or its gradient is not a number any more. Nothing of this step was kept.
    #[error("step {step}: {what} is {value}; the batch's samples: {}", keys.join(", "))]
    NonFinite {
        /// The step, counted from 1.
        step: u64,
        /// The objective, or the gradient of a parameter.
        what: String,
        /// NaN or an infinity.
        value: f64,
        /// Keys of the batch's samples.
        keys: Vec<String>,
    },
    /// An evaluator failed.
    #[error("step {step}: evaluation `{evaluator}`: {source}")]
    Evaluation {
        /// The step, counted from 1.
        step: u64,
        /// Its name.
        evaluator: String,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The metric that decides about the best checkpoint was not measured.
    #[error("train.best: no evaluation gives `{name}`; there are {}", found.join(", "))]
    NoSuchMetric {
        /// The configured name.
        name: String,
        /// The names that there are.
        found: Vec<String>,
    },
    /// A checkpoint's optimiser state is not that of this model.
    #[error("checkpoint of step {step}: the optimiser's state does not fit the model: {message}")]
    OptimizerState {
        /// The checkpoint's step.
        step: u64,
        /// What does not fit.
        message: String,
    },
    /// The handlers of signals could not be installed.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

impl TrainError {
    pub(crate) fn config(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Config { key: key.into(), message: message.into() }
    }
}
