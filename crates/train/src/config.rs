use burn::module::Module;
use sensorium_kernels::Precision;
use serde::{Deserialize, Serialize};

use crate::{ScheduleConfig, TrainError};

/// How a model is trained: the `[train]` table of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Optimiser steps. Where `epochs` is given too, the run has the smaller number of steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Passes over the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// Samples of one optimiser step.
    pub batch: usize,
    /// Pieces that a batch goes through the model in, to save memory. It changes no result beyond
    /// rounding.
    pub pieces: usize,
    /// What products are computed in: `f32`, or `bf16` where the device has it. The CPU is slower at `bf16`.
    #[serde(skip_serializing_if = "is_default")]
    pub precision: Precision,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
    /// The course of the learning rate.
    pub schedule: ScheduleConfig,
    /// What stays as it is while the rest is trained: modalities, with all that is theirs alone (a locked
    /// tower, Zhai et al. 2022), or patterns of parameters as in `optimizer.groups`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lock: Vec<String>,
    /// Decay of a moving average of the weights, which is then what is evaluated and used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Steps between evaluations. If not given: an epoch, or a fiftieth of the run where that is
    /// longer. There is always one at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluate_every: Option<u64>,
    /// Steps between checkpoints; twenty a run if not given. There is always one at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_every: Option<u64>,
    /// Steps between records in `metrics.jsonl`.
    pub log_every: u64,
    /// The run ends after so many evaluations without a better one; never before its last step if
    /// not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// The metric that decides which checkpoint is the best; the first of the first evaluation if
    /// not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best: Option<String>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: None,
            epochs: None,
            batch: 128,
            pieces: 1,
            precision: Precision::default(),
            optimizer: OptimizerConfig::default(),
            schedule: ScheduleConfig::default(),
            lock: Vec::new(),
            ema: None,
            evaluate_every: None,
            checkpoint_every: None,
            log_every: 1,
            patience: None,
            best: None,
        }
    }
}

/// AdamW, in PyTorch's meaning of each number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// The peak of the schedule.
    pub learning_rate: f64,
    /// Decay of the running means of the gradient and of its square.
    pub betas: [f64; 2],
    /// Added to the root of the mean square.
    pub epsilon: f64,
    /// Decoupled decay, on parameters of two or more dimensions: no norm, no bias, no temperature.
    pub weight_decay: f64,
    /// Largest norm of all gradients together; no limit if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Parameters that are treated otherwise; of several entries that match, the last counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupConfig>,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            betas: [0.9, 0.98],
            epsilon: 1e-8,
            weight_decay: 0.2,
            clip_norm: Some(1.0),
            groups: Vec::new(),
        }
    }
}

/// Parameters that are treated otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// Which ones, by their path: `trunk.blocks.0.*`. A `*` stands for any characters.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Factor of the learning rate; 0 leaves them as they are.
    #[serde(default = "one")]
    pub lr: f64,
    /// Replaces the optimiser's weight decay, whatever the parameter's dimensions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

fn one() -> f64 {
    1.0
}

impl TrainConfig {
    /// Whether the settings can work, apart from the data and the model.
    ///
    /// # Errors
    /// [`TrainError::Config`] with the first key that cannot.
    pub fn check(&self) -> Result<(), TrainError> {
        if self.steps.is_none() && self.epochs.is_none() {
            return Err(TrainError::config("steps", "either `steps` or `epochs` must be given"));
        }
        at_least_one("batch", self.batch as u64)?;
        at_least_one("pieces", self.pieces as u64)?;
        at_least_one("log_every", self.log_every)?;
        let given = [
            ("evaluate_every", self.evaluate_every),
            ("checkpoint_every", self.checkpoint_every),
            ("patience", self.patience),
        ];
        for (key, every) in given {
            at_least_one(key, every.unwrap_or(1))?;
        }
        if self.pieces > self.batch {
            let message = format!("{} pieces of a batch of {} samples", self.pieces, self.batch);
            return Err(TrainError::config("pieces", message));
        }
        within("ema", self.ema.unwrap_or(0.0), 0.0, 1.0)?;
        self.optimizer.check()?;
        self.schedule.check()
    }

    /// Whether the module's devices compute in the precision that is asked for.
    ///
    /// # Errors
    /// [`TrainError::Config`] if one does not.
    pub fn check_devices<M: Module>(&self, module: &M) -> Result<(), TrainError> {
        let dtype = self.precision.dtype();
        match module.devices().into_iter().find(|device| !device.supports_dtype(dtype)) {
            Some(device) => Err(TrainError::config("precision", format!("{device:?} does not compute in {dtype:?}"))),
            None => Ok(()),
        }
    }

    /// The same with the locks as groups of the optimiser. `of` gives the parameters that a modality shares with
    /// no other one, or nothing if there is no such modality; `parameters` are all.
    ///
    /// # Errors
    /// [`TrainError::Config`] if a lock is neither a modality nor matches a parameter.
    pub fn with_locks(
        &self,
        parameters: &[String],
        of: impl Fn(&str) -> Option<Vec<String>>,
    ) -> Result<Self, TrainError> {
        let mut config = self.clone();
        for lock in &self.lock {
            let wrong = |problem: &str| TrainError::config("lock", format!("`{lock}`: {problem}"));
            let patterns = match of(lock) {
                Some(own) => own,
                None => {
                    let pattern = glob::Pattern::new(lock).map_err(|error| wrong(&error.to_string()))?;
                    if !parameters.iter().any(|name| pattern.matches(name)) {
                        return Err(wrong("there is no such modality, and no parameter matches it"));
                    }
                    vec![lock.clone()]
                }
            };
            let locked = |pattern| GroupConfig { pattern, lr: 0.0, weight_decay: None };
            config.optimizer.groups.extend(patterns.into_iter().map(locked));
        }
        Ok(config)
    }

    /// Steps between evaluations of a run of `steps` steps, if an epoch of the data has so many.
    pub fn evaluation_interval(&self, steps: u64, steps_per_epoch: u64) -> u64 {
        self.evaluate_every.unwrap_or(steps_per_epoch.max(steps / 50).max(1))
    }

    /// Optimiser steps of the run, if an epoch of the data has so many.
    ///
    /// # Errors
    /// [`TrainError::Config`] if that is none.
    pub fn total_steps(&self, steps_per_epoch: u64) -> Result<u64, TrainError> {
        let of_epochs = self.epochs.map(|epochs| epochs.saturating_mul(steps_per_epoch));
        let key = if self.epochs == Some(0) || self.steps.is_none() { "epochs" } else { "steps" };
        let steps = self.steps.unwrap_or(u64::MAX).min(of_epochs.unwrap_or(u64::MAX));
        at_least_one(key, steps)?;
        Ok(steps)
    }
}

impl OptimizerConfig {
    fn check(&self) -> Result<(), TrainError> {
        within("optimizer.betas", self.betas[0], 0.0, 1.0)?;
        within("optimizer.betas", self.betas[1], 0.0, 1.0)?;
        let mut sizes = vec![
            ("optimizer.learning_rate".to_owned(), self.learning_rate),
            ("optimizer.epsilon".to_owned(), self.epsilon),
            ("optimizer.weight_decay".to_owned(), self.weight_decay),
        ];
        for (place, group) in self.groups.iter().enumerate() {
            sizes.push((format!("optimizer.groups.{place}.lr"), group.lr));
            sizes.push((format!("optimizer.groups.{place}.weight_decay"), group.weight_decay.unwrap_or(0.0)));
        }
        for (key, value) in sizes {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(TrainError::config(key, format!("must be at least 0, found {value}")));
            }
        }
        match self.clip_norm {
            Some(norm) if norm.is_nan() || norm <= 0.0 => {
                Err(TrainError::config("optimizer.clip_norm", format!("must be above 0, found {norm}")))
            }
            _ => Ok(()),
        }
    }
}

fn is_default(precision: &Precision) -> bool {
    *precision == Precision::default()
}

fn at_least_one(key: &str, value: u64) -> Result<(), TrainError> {
    match value {
        0 => Err(TrainError::config(key, "must be at least 1, found 0")),
        _ => Ok(()),
    }
}

fn within(key: &str, value: f64, low: f64, high: f64) -> Result<(), TrainError> {
    match (low..high).contains(&value) {
        true => Ok(()),
        false => Err(TrainError::config(key, format!("must be at least {low} and below {high}, found {value}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> TrainConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn wrong_settings_are_named() {
        let wrong = [
            ("{}", "train.steps"),
            (r#"{"steps": 1, "batch": 0}"#, "train.batch"),
            (r#"{"steps": 1, "batch": 2, "pieces": 3}"#, "train.pieces"),
            (r#"{"steps": 1, "ema": 1.0}"#, "train.ema"),
            (r#"{"steps": 1, "checkpoint_every": 0}"#, "train.checkpoint_every"),
            (r#"{"steps": 1, "optimizer": {"betas": [0.9, 1.0]}}"#, "train.optimizer.betas"),
            (r#"{"steps": 1, "optimizer": {"learning_rate": -1.0}}"#, "train.optimizer.learning_rate"),
            (r#"{"steps": 1, "optimizer": {"clip_norm": 0.0}}"#, "train.optimizer.clip_norm"),
            (r#"{"steps": 1, "optimizer": {"groups": [{"match": "*", "lr": -1.0}]}}"#, "train.optimizer.groups.0.lr"),
        ];
        for (text, key) in wrong {
            let message = read(text).check().unwrap_err().to_string();
            assert!(message.starts_with(&format!("{key}:")), "{text}: {message}");
        }
        read(r#"{"steps": 1}"#).check().unwrap();
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<TrainConfig>(r#"{"step": 1}"#).is_err());
        assert!(serde_json::from_str::<TrainConfig>(r#"{"optimizer": {"lr": 1}}"#).is_err());
    }

    #[test]
    fn epochs_become_steps() {
        assert_eq!(read(r#"{"epochs": 30}"#).total_steps(23).unwrap(), 690);
        assert_eq!(read(r#"{"steps": 7}"#).total_steps(23).unwrap(), 7);
        assert_eq!(read(r#"{"steps": 7, "epochs": 30}"#).total_steps(23).unwrap(), 7);
        assert_eq!(read(r#"{"steps": 7, "epochs": 1}"#).total_steps(5).unwrap(), 5);
        assert!(read(r#"{"epochs": 30}"#).total_steps(0).is_err());
    }
}
