//! Steps of a published checkpoint on given inputs, timed: `benches/compare_checkpoints.py` runs it beside PyTorch.
//!
//!     cargo run --release -p sensorium -p sensorium-families --example speed -- DIR IN.safetensors TASK STEPS
//!
//! TASK is `class`, `labelled-tokens` or `contrastive` (a training step with AdamW and clipping), or `forward`.

use std::{collections::BTreeMap, error::Error, path::PathBuf, time::Instant};

use burn::tensor::Device;
use sensorium_contract::{Array, Seed, StepContext, Trainable};
use sensorium_families::{Checkpoint, Task, Training};
use sensorium_state::read_arrays;
use sensorium_train::{AdamW, FlatGradients, OptimizerConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, inputs, task, steps] = &arguments[..] else {
        return Err("expected DIR IN.safetensors TASK STEPS".into());
    };
    let (directory, steps) = (PathBuf::from(directory), steps.parse()?);
    let arrays = read_arrays(&PathBuf::from(inputs))?;
    let (times, loss) = match task.as_str() {
        "forward" => (forward(&Checkpoint::open(&directory, &Device::flex())?, &arrays, steps)?, None),
        task => train(Checkpoint::open(&directory, &Device::flex().autodiff())?, &arrays, self::task(task)?, steps)?,
    };
    let rows = arrays.values().next().map_or(0, |array| array.shape()[0]);
    println!("{}", serde_json::json!({ "step_ms": times, "rows": rows, "loss": loss, "peak_memory": peak_memory() }));
    Ok(())
}

type Arrays = BTreeMap<String, Array>;

fn task(name: &str) -> Result<Task, String> {
    match name {
        "class" => Ok(Task::Class),
        "labelled-tokens" => Ok(Task::LabelledTokens),
        "contrastive" => Ok(Task::Contrastive),
        other => Err(format!("unknown task {other}")),
    }
}

/// Milliseconds of each step after the first two, to answers that stay tensors.
fn forward(checkpoint: &Checkpoint, arrays: &Arrays, steps: usize) -> Result<Vec<f64>, Box<dyn Error>> {
    let mut times = Vec::new();
    for step in 0..steps + 2 {
        let start = Instant::now();
        checkpoint.answers(arrays)?;
        if step >= 2 {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(times)
}

/// Milliseconds of each step after the first two, and the losses of all.
type Trained = (Vec<f64>, Option<Vec<f32>>);

fn train(checkpoint: Checkpoint, arrays: &Arrays, task: Task, steps: usize) -> Result<Trained, Box<dyn Error>> {
    let mut training = Training::new(checkpoint.network, task);
    let config = OptimizerConfig { betas: [0.9, 0.98], epsilon: 1e-6, weight_decay: 0.1, ..OptimizerConfig::default() };
    let mut optimizer = AdamW::new(&config, &training)?;
    let batch = [Training::batch(arrays)];
    training.loss(&batch[0])?;
    let (mut times, mut losses) = (Vec::new(), Vec::new());
    for step in 0..steps as u64 + 2 {
        let start = Instant::now();
        let found = training.gradients(&batch, StepContext { seed: Seed::new(0), step });
        let gradients = FlatGradients::take(&training, found.gradients);
        training = optimizer.step(training, gradients, 1e-4, None);
        losses.extend(found.loss.parts.into_iter().map(|part| part.value.into_scalar::<f32>()));
        if step >= 2 {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok((times, Some(losses)))
}

/// In bytes, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
}
