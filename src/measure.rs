//! What a step of a recipe costs.

use std::time::{Duration, Instant};

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};
use sensorium_contract::{Batch, Embedder, StepContext, Trainable};
use sensorium_kernels::{linear, matmul, squared_norm};
use sensorium_train::{AdamW, FlatGradients};
use serde::Serialize;

use crate::{EMBEDDING_BATCH, Error, Model, Pipeline};

/// Words that a step moves for each weight: the weight three times read and once written, its
/// gradient once each, its two moments once each.
const WORDS_PER_WEIGHT: usize = 10;

/// Batches of held-out samples that the time of an evaluation is read off.
const EVALUATED_BATCHES: usize = 4;

/// A step's parts in milliseconds, medians over the measured steps. Where objectives come in only
/// some of the steps: the mean of the medians of each kind of step.
#[derive(Clone, Debug, Serialize)]
pub struct StepCost {
    /// Name of the device.
    pub device: String,
    /// Samples in a batch.
    pub batch: usize,
    /// Steps measured, after one that warms up; a multiple of the steps after which the same
    /// objectives come again.
    pub steps: usize,
    /// The whole step.
    pub step_ms: f64,
    /// Waiting for data.
    pub data_ms: f64,
    /// Passes and losses.
    pub forward_ms: f64,
    /// Gradients.
    pub backward_ms: f64,
    /// Clipping and the update.
    pub optimizer_ms: f64,
    /// Throughput.
    pub samples_per_second: f64,
    /// FLOPs of a step's products over the tokens that are there, a backward pass counted as two
    /// forward passes; the mean over the measured steps.
    pub flops_per_step: f64,
    /// FLOP/s of a large matrix product on the same device.
    pub peak_flops: f64,
    /// The model's FLOP/s as a share of that.
    pub utilisation: f64,
    /// The least that a step moves, in bytes: weights are read forwards, backwards and by the
    /// update, gradients and AdamW's two moments written and read.
    pub bytes_per_step: f64,
    /// Most memory of the process so far, in bytes, where the system tells.
    pub peak_memory: Option<u64>,
}

/// Measures at least so many training steps of a pipeline; the trained model is thrown away.
///
/// # Errors
/// If the data or the optimiser's configuration do not allow a step.
pub fn measure_steps(pipeline: &Pipeline, device: &Device, steps: usize) -> Result<StepCost, Error> {
    let recipe = &pipeline.recipe;
    let seed = recipe.root_seed();
    let precision = recipe.train.precision;
    recipe.train.check_devices(&pipeline.model)?;
    let peak_flops = precision.apply(|| matmul_peak(device));
    let period = pipeline.model.period() as usize;
    let steps = steps.max(1).next_multiple_of(period);
    let order = pipeline.train.order(recipe.train.batch, seed.named("order"));
    let mut loader = pipeline.train.train(order, seed, 0..steps as u64 + 1);
    let mut model = pipeline.model.clone();
    let config = recipe.train.with_locks(&model.parameters(), |name| model.parameters_of(name))?;
    let mut optimizer = AdamW::new(&config.optimizer, &model)?;
    model = optimizer.lock(model);
    let mut times = vec![[const { Vec::new() }; 4]; period];
    let (mut samples, mut flops) = (0, 0.0);
    for step in 0..=steps as u64 {
        let start = Instant::now();
        let Some(loaded) = loader.next() else { break };
        let batch = loaded?.batch;
        let context = StepContext { seed, step };
        let marks;
        (model, marks) = precision.apply(|| one_step(model, &mut optimizer, &batch, context));
        samples = batch.len();
        if step > 0 {
            flops += model.flops(&batch, context) / steps as f64;
            let parts = [marks[0] - start, marks[1] - marks[0], marks[2] - marks[1], marks[3] - marks[2]];
            parts.iter().zip(&mut times[step as usize % period]).for_each(|(part, times)| times.push(*part));
        }
    }
    let mean = |part: usize| times.iter().map(|kind| median_ms(kind[part].clone())).sum::<f64>() / period as f64;
    let [data_ms, forward_ms, backward_ms, optimizer_ms] = [0, 1, 2, 3].map(mean);
    let step_ms = data_ms + forward_ms + backward_ms + optimizer_ms;
    let bytes_per_step = (WORDS_PER_WEIGHT * size_of::<f32>() * model.num_params()) as f64;
    Ok(StepCost {
        device: format!("{device:?}"),
        batch: samples,
        steps,
        step_ms,
        data_ms,
        forward_ms,
        backward_ms,
        optimizer_ms,
        samples_per_second: samples as f64 / step_ms * 1e3,
        flops_per_step: flops,
        peak_flops,
        utilisation: flops / (step_ms / 1e3) / peak_flops,
        bytes_per_step,
        peak_memory: peak_memory(),
    })
}

/// One step, and when data were there, losses, gradients and the update were done.
fn one_step(model: Model, optimizer: &mut AdamW, batch: &Batch, context: StepContext) -> (Model, [Instant; 4]) {
    let ready = Instant::now();
    let total = model.losses(batch, context).total();
    // Reading the loss waits for devices that compute asynchronously.
    let _ = total.as_ref().map(|total| total.clone().into_data());
    let forward = Instant::now();
    let gradients = match total {
        Some(total) => GradientsParams::from_grads(total.backward(), &model),
        None => GradientsParams::new(),
    };
    let gradients = FlatGradients::take(&model, gradients);
    let _ = gradients.norm();
    let backward = Instant::now();
    let model = optimizer.step(model, gradients, 0.0, None);
    let _ = model.projections[0].weight.device().sync();
    (model, [ready, forward, backward, Instant::now()])
}

/// Seconds that an evaluation during training takes, from the first batches of held-out samples
/// after one that warms up.
///
/// # Errors
/// If the samples cannot be read.
pub fn measure_evaluation(pipeline: &Pipeline) -> Result<f64, Error> {
    evaluate(pipeline, 1)?;
    let start = Instant::now();
    let samples = evaluate(pipeline, EVALUATED_BATCHES)?;
    let share = pipeline.validation.dataset().len() as f64 / samples.max(1) as f64;
    Ok(start.elapsed().as_secs_f64() * share)
}

/// What an evaluation does, on so many batches; how many samples they hold.
fn evaluate(pipeline: &Pipeline, batches: usize) -> Result<usize, Error> {
    let model = pipeline.model.valid();
    let mut samples = 0;
    for loaded in pipeline.validation.sequential(EMBEDDING_BATCH).take(batches) {
        let batch = loaded?.batch;
        samples += batch.len();
        let _ = model.embed(&batch);
    }
    let context = StepContext { seed: pipeline.recipe.root_seed(), step: 0 };
    // The same samples once more: errors would have come above.
    let again = pipeline.validation.sequential(EMBEDDING_BATCH).take(batches);
    let _ = model.evaluate(&mut again.map_while(|loaded| Some(loaded.ok()?.batch)), context);
    Ok(samples)
}

/// FLOP/s of a square matrix product in the precision of this thread: the best of several, of Burn's and of the one that
/// models compute.
pub fn matmul_peak(device: &Device) -> f64 {
    const SIDE: usize = 1024;
    let values = (0..SIDE * SIDE).map(|at| (at % 7) as f32 * 0.1).collect::<Vec<_>>();
    let matrix = Tensor::<2>::from_data(TensorData::new(values, [SIDE, SIDE]), device);
    let plain = || matmul(matrix.clone(), matrix.clone()).slice([0..1, 0..1]).into_data();
    let layer = || linear(matrix.clone().unsqueeze(), matrix.clone(), None).slice([0..1, 0..1, 0..1]).into_data();
    let seconds = |product: &dyn Fn() -> TensorData| {
        let start = Instant::now();
        product();
        start.elapsed().as_secs_f64()
    };
    let best = (0..8).map(|_| seconds(&plain).min(seconds(&layer))).fold(f64::INFINITY, f64::min);
    2.0 * (SIDE as f64).powi(3) / best
}

/// Bytes per second that a sum over 256 MiB reads, the best of several.
pub fn read_bandwidth(device: &Device) -> f64 {
    const VALUES: usize = 64 << 20;
    let values = Tensor::<1>::zeros([VALUES], device);
    let sum = || {
        let start = Instant::now();
        let _ = squared_norm(&values).into_data();
        start.elapsed().as_secs_f64()
    };
    let best = (0..8).map(|_| sum()).fold(f64::INFINITY, f64::min);
    (VALUES * size_of::<f32>()) as f64 / best
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// Most memory that the process has had, in bytes, on Linux.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}
