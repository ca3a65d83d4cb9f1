use std::collections::BTreeMap;

use burn::module::Module;
use sensorium_state::{Checkpoint, CheckpointContents, RunDirectory, StateError, export, import};
use serde::{Deserialize, Serialize};

use crate::{AdamW, Average, Best, Metric, TrainConfig, TrainError, training::Training};

/// What a checkpoint holds beside tensors.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedState {
    step: u64,
    /// Whether the evaluation that is due at this step is still to be done.
    pending: bool,
    best: Option<Best>,
    evaluation: Vec<Metric>,
    optimizer_steps: BTreeMap<String, u64>,
    metrics_length: u64,
}

/// A training's state where it begins or continues.
#[derive(Debug)]
pub(crate) struct Start<T> {
    pub training: Training<T>,
    /// Length of `metrics.jsonl` then.
    pub metrics_length: Option<u64>,
    /// What the user should know.
    pub remarks: Vec<String>,
}

/// The state of the newest checkpoint that is whole; without one, that of a new run.
pub(crate) fn start<T: Module>(model: T, config: &TrainConfig, run: &RunDirectory) -> Result<Start<T>, TrainError> {
    let latest = run.latest()?;
    let mut remarks = Vec::new();
    for rejected in &latest.rejected {
        let aside = run.set_aside(&rejected.checkpoint)?;
        let name = aside.file_name().unwrap_or_default().to_string_lossy().into_owned();
        remarks.push(format!("{}; the checkpoint is set aside as `{name}`", rejected.reason));
    }
    let mut start = match &latest.checkpoint {
        Some(checkpoint) => restore(model, config, checkpoint)?,
        None => Start { training: new(model, config)?, metrics_length: None, remarks: Vec::new() },
    };
    match (start.training.step, remarks.is_empty()) {
        (0, true) => {}
        (0, false) => remarks.push("no checkpoint is whole: starting from the beginning".to_owned()),
        (step, _) => remarks.push(format!("continuing after step {step}")),
    }
    start.remarks = remarks;
    Ok(start)
}

/// The module of the best evaluation so far, without autodiff; with the averaged weights if an
/// average is kept.
///
/// # Errors
/// If its checkpoint is missing or damaged.
pub fn best_module<T: Module>(module: T, best: &Best, run: &RunDirectory) -> Result<T, StateError> {
    let checkpoint = Checkpoint { step: best.step, path: run.checkpoint_path(best.step) };
    let tensors = match checkpoint.average()? {
        Some(average) => average,
        None => checkpoint.model()?,
    };
    import(module.valid(), &tensors.tensors)
}

fn new<T: Module>(model: T, config: &TrainConfig) -> Result<Training<T>, TrainError> {
    let optimizer = AdamW::new(&config.optimizer, &model)?;
    let model = optimizer.lock(model);
    let average = config.ema.map(|decay| Average::new(decay, &model, 0));
    let evaluation = Vec::new();
    Ok(Training { model, optimizer, average, step: 0, pending: false, saved: None, best: None, evaluation })
}

fn restore<T: Module>(model: T, config: &TrainConfig, checkpoint: &Checkpoint) -> Result<Start<T>, TrainError> {
    let state: SavedState = checkpoint.state()?;
    let model = import(model, &checkpoint.model()?.tensors)?;
    let mut optimizer = AdamW::new(&config.optimizer, &model)?;
    optimizer
        .restore(&checkpoint.optimizer()?.tensors, &state.optimizer_steps)
        .map_err(|message| TrainError::OptimizerState { step: state.step, message })?;
    let model = optimizer.lock(model);
    let average = match (config.ema, checkpoint.average()?) {
        (Some(decay), Some(tensors)) => {
            Some(Average::new(decay, &import(model.valid(), &tensors.tensors)?, state.step))
        }
        _ => None,
    };
    let SavedState { step, pending, best, evaluation, metrics_length, .. } = state;
    let training = Training { model, optimizer, average, step, pending, saved: Some(step), best, evaluation };
    Ok(Start { training, metrics_length: Some(metrics_length), remarks: Vec::new() })
}

/// Writes a checkpoint of the training as it is and removes those that are not needed any more.
pub(crate) fn save<T: Module>(
    training: &mut Training<T>,
    run: &RunDirectory,
    metrics_length: u64,
) -> Result<(), StateError> {
    let state = SavedState {
        step: training.step,
        pending: training.pending,
        best: training.best.clone(),
        evaluation: training.evaluation.clone(),
        optimizer_steps: training.optimizer.steps(),
        metrics_length,
    };
    let average = training.average.as_ref().map(|average| export(&average.module(&training.model)));
    let contents = CheckpointContents {
        model: &export(&training.model),
        optimizer: &training.optimizer.moments(),
        average: average.as_deref(),
        state: &state,
    };
    run.save(training.step, contents)?;
    training.saved = Some(training.step);
    let best: Vec<u64> = training.best.iter().map(|best| best.step).collect();
    run.prune(&best)
}
