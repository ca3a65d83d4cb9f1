//! The loop on a linear regression, which is small enough to run hundreds of times.

mod optimizer;
mod process;
mod resume;
mod stops;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use burn::{
    module::{Module, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use ndarray::ArrayD;
use sensorium_contract::{
    Array, Arrays, Batch, Fault, Loss, LossPart, LossSummary, Name, Part, SampleFault, Seed, StepContext,
    StepGradients, Trainable, tensor_f32,
};
use sensorium_samples::LoadedBatch;
use sensorium_state::RunDirectory;
use serde_json::{Value, json};

use crate::{BatchStream, Display, Evaluator, Metric, Outcome, Session, Stop, TrainConfig, TrainError, fit};

const INPUTS: usize = 3;
const OUTPUTS: usize = 2;

/// `y = x · weight + bias`, and a second weight that only samples with the part `right` use.
#[derive(Module, Debug)]
pub struct Regression {
    pub weight: Param<Tensor<2>>,
    pub bias: Param<Tensor<1>>,
    pub right: Param<Tensor<2>>,
}

impl Regression {
    pub fn new(device: &Device) -> Self {
        let param =
            |value: f32| Param::from_data(TensorData::new(vec![value; INPUTS * OUTPUTS], [INPUTS, OUTPUTS]), device);
        let bias = Param::from_data(TensorData::new(vec![0.0f32; OUTPUTS], [OUTPUTS]), device);
        Self { weight: param(0.1), bias, right: param(-0.1) }
    }

    fn part(&self, batch: &Batch, name: &str, weight: &Param<Tensor<2>>) -> Option<(Tensor<1>, usize)> {
        let part = batch.parts.get(&Name::new(name))?;
        let device = self.weight.val().device();
        let x: Tensor<2> = tensor_f32(part.arrays.f32("x"), &device);
        let y: Tensor<2> = tensor_f32(part.arrays.f32("y"), &device);
        let error = x.matmul(weight.val()) + self.bias.val().unsqueeze() - y; // [rows, outputs]
        Some((error.square().mean(), part.rows.len()))
    }
}

impl Trainable for Regression {
    fn gradients(&self, pieces: &[Batch], _context: StepContext) -> StepGradients {
        let mut parts = Vec::new();
        for (name, weight) in [("left", &self.weight), ("right", &self.right)] {
            let losses: Vec<_> = pieces.iter().filter_map(|piece| self.part(piece, name, weight)).collect();
            let items: usize = losses.iter().map(|(_, items)| items).sum();
            let weighted = losses.into_iter().map(|(loss, rows)| loss.mul_scalar(rows as f32 / items as f32));
            if let Some(value) = weighted.reduce(|a, b| a + b) {
                parts.push(LossPart { name: name.to_owned(), value, weight: 0.5, items });
            }
        }
        let loss = Loss { parts };
        let gradients = match loss.total() {
            Some(total) => GradientsParams::from_grads(total.backward(), self),
            None => GradientsParams::new(),
        };
        StepGradients { gradients, loss }
    }

    fn evaluate(&self, batches: &mut dyn Iterator<Item = Batch>, _context: StepContext) -> Vec<LossSummary> {
        let (mut sum, mut items) = (0.0, 0);
        for batch in batches {
            if let Some((loss, rows)) = self.part(&batch, "left", &self.weight) {
                sum += loss.into_scalar::<f32>() * rows as f32;
                items += rows;
            }
        }
        vec![LossSummary { name: "left".into(), value: sum / items as f32, items, constant: Some(1.0) }]
    }
}

pub const BATCH: usize = 8;

/// The batch of a step: samples 0 to 7 have `left`, every third also `right`, none in odd steps.
pub fn batch(step: u64) -> Batch {
    let number = |row: usize, column: usize, salt: f32| {
        ((step as f32 * 8.0 + row as f32) * 1.7 + column as f32 * 0.9 + salt).sin()
    };
    let part = |rows: Vec<usize>, salt: f32| {
        let table = |columns: usize, salt: f32| {
            let values = rows.iter().flat_map(|&row| (0..columns).map(move |column| number(row, column, salt)));
            Array::F32(ArrayD::from_shape_vec(vec![rows.len(), columns], values.collect()).unwrap())
        };
        let arrays = Arrays::default().with("x", table(INPUTS, salt)).with("y", table(OUTPUTS, salt + 0.4));
        let content = rows.iter().map(|&row| row as u64).collect();
        Part { rows: rows.clone(), arrays, content }
    };
    let mut parts = BTreeMap::from([(Name::new("left"), part((0..BATCH).collect(), 0.0))]);
    if step.is_multiple_of(2) {
        parts.insert(Name::new("right"), part((0..BATCH).step_by(3).collect(), 2.0));
    }
    Batch { keys: (0..BATCH).map(|row| format!("sample-{}", step as usize * BATCH + row)).collect(), parts }
}

pub fn loaded(step: u64) -> LoadedBatch {
    let fault = || SampleFault {
        key: format!("broken-{step}"),
        place: "data.tar".into(),
        fault: Fault::new("x", "cannot be decoded", "made so"),
    };
    let faults = (step % 4 == 2).then(fault).into_iter().collect();
    LoadedBatch { step, batch: batch(step), samples: Vec::new(), faults, wait: Duration::from_micros(step) }
}

/// The squared distance of the weights' sum from a number: goes down, then up again.
pub struct Distance(pub f64);

impl Evaluator<Regression> for Distance {
    fn name(&self) -> &str {
        "distance"
    }

    fn evaluate(
        &mut self,
        model: &Regression,
        step: u64,
    ) -> Result<Vec<Metric>, Box<dyn std::error::Error + Send + Sync>> {
        assert!(!model.weight.val().is_autodiff());
        let sum = f64::from(model.weight.val().sum().into_scalar::<f32>());
        let metric = |name: &str, value, higher_is_better| Metric { name: name.into(), value, higher_is_better };
        Ok(vec![metric("squared", (sum - self.0).powi(2), false), metric("step", step as f64, true)])
    }
}

pub fn config(text: Value) -> TrainConfig {
    serde_json::from_value(text).unwrap()
}

pub fn small() -> TrainConfig {
    config(json!({
        "steps": 12, "batch": BATCH, "ema": 0.9, "evaluate_every": 3, "checkpoint_every": 2,
        "optimizer": { "learning_rate": 0.05, "weight_decay": 0.1 },
        "schedule": { "warmup": 2 },
    }))
}

pub fn device() -> Device {
    Device::flex().autodiff()
}

/// Runs in `directory`; the data asks for a stop while it makes the batch of step `stop_at`.
pub fn run_until(
    directory: &Path,
    config: &TrainConfig,
    stop_at: Option<u64>,
) -> Result<Outcome<Regression>, TrainError> {
    let stop = Stop::new();
    let asks = stop.clone();
    let stream = move |steps: std::ops::Range<u64>| -> BatchStream {
        let asks = asks.clone();
        Box::new(steps.map(move |step| {
            if Some(step) == stop_at {
                asks.request(2);
            }
            Ok(loaded(step))
        }))
    };
    run_on(directory, config, Box::new(stream), stop)
}

pub fn run_on(
    directory: &Path,
    config: &TrainConfig,
    batches: crate::Batches<'_>,
    stop: Stop,
) -> Result<Outcome<Regression>, TrainError> {
    let recipe = json!({ "train": config });
    let run = RunDirectory::open_or_create(directory).unwrap();
    let session = Session {
        config,
        recipe: &recipe,
        free_keys: &[],
        seed: Seed::new(0),
        steps_per_epoch: 4,
        batches,
        evaluators: vec![Box::new(Distance(1.25))],
        run: &run,
        stop,
        display: Display::quiet(),
    };
    fit(Regression::new(&device()), session)
}

/// Runs to the end without any stop.
pub fn run(directory: &Path, config: &TrainConfig) -> Outcome<Regression> {
    run_until(directory, config, None).unwrap()
}

pub fn text(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap()
}

pub fn lines(directory: &Path, name: &str) -> Vec<Value> {
    text(directory, name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn checkpoints(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory.join("checkpoints")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every file that has to be the same, however often a run was stopped.
pub fn remains(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for name in ["metrics.jsonl", "faults.jsonl"] {
        files.insert(name.to_owned(), fs::read(directory.join(name)).unwrap());
    }
    let last = checkpoints(directory).pop().unwrap();
    for name in ["model.safetensors", "optimizer.safetensors", "ema.safetensors", "state.json", "manifest.json"] {
        files.insert(name.to_owned(), fs::read(directory.join("checkpoints").join(&last).join(name)).unwrap());
    }
    files
}

pub fn assert_same(one: &Path, other: &Path) {
    let (one, other) = (remains(one), remains(other));
    for (name, content) in &one {
        let (a, b) = (String::from_utf8_lossy(content), String::from_utf8_lossy(&other[name]));
        assert!(content == &other[name], "{name} differs:\n{a}\n{b}");
    }
}
