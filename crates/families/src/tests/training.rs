//! Agreement with losses and gradient norms of the reference implementation's training.

use std::{fs, path::Path, time::Duration};

use burn::tensor::Device;
use sensorium_contract::Seed;
use sensorium_samples::LoadedBatch;
use sensorium_state::{RunDirectory, read_arrays};
use sensorium_train::{BatchStream, Display, Session, Stop, TrainConfig, fit};
use serde_json::{Value, json};

use super::shared;
use crate::{Checkpoint, Task, Training};

/// Largest relative difference of a loss and of the first gradient norm.
const TOLERANCE: f64 = 1e-3;

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The settings of a case as a recipe has them.
fn config(reference: &Value, rows: usize) -> TrainConfig {
    let optimizer = &reference["optimizer"];
    let config = json!({
        "steps": reference["steps"], "batch": rows,
        "optimizer": {
            "learning_rate": optimizer["lr"], "weight_decay": optimizer["weight_decay"],
            "betas": optimizer["betas"], "epsilon": optimizer["eps"], "clip_norm": optimizer["clip_grad_norm"],
        },
        "schedule": { "kind": "constant", "warmup": 0 },
    });
    serde_json::from_value(config).unwrap()
}

fn assert_trains_alike(case: &str, task: Task) {
    let Some(shared) = shared() else { return };
    let reference = json_of(&shared.join("training-parity").join(case).join("train.json"));
    let arrays = read_arrays(&shared.join("training-parity").join(case).join("batch.safetensors")).unwrap();
    let checkpoint = Checkpoint::open(&shared.join("parity").join(case), &Device::flex().autodiff()).unwrap();
    let batch = Training::batch(&arrays);
    let config = config(&reference, batch.len());
    let home = tempfile::tempdir().unwrap();
    let run = RunDirectory::open_or_create(home.path()).unwrap();
    let batches = move |steps: std::ops::Range<u64>| -> BatchStream {
        let batch = batch.clone();
        let loaded = move |step| LoadedBatch {
            step,
            batch: batch.clone(),
            samples: Vec::new(),
            faults: Vec::new(),
            wait: Duration::ZERO,
        };
        Box::new(steps.map(move |step| Ok(loaded(step))))
    };
    let session = Session {
        config: &config,
        recipe: &json!({}),
        free_keys: &[],
        seed: Seed::new(0),
        steps_per_epoch: 1,
        batches: Box::new(batches),
        evaluators: Vec::new(),
        run: &run,
        stop: Stop::new(),
        display: Display::quiet(),
    };
    fit(Training::new(checkpoint.network, task), session).unwrap();
    let records = fs::read_to_string(run.path().join("metrics.jsonl")).unwrap();
    let records: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let wrong: Vec<String> = (0..6)
        .flat_map(|step| [("loss", "loss", step), ("grad_norm", "grad_norm_before_clip", step)])
        .filter(|(own, _, step)| *own == "loss" || *step == 0)
        .filter_map(|(own, theirs, step)| {
            let found = records[step][own].as_f64().unwrap();
            let expected = reference[theirs][step].as_f64().unwrap();
            let near = (found - expected).abs() <= TOLERANCE * expected.abs();
            (!near).then(|| format!("{case}: {own} of step {}: expected {expected}, found {found}", step + 1))
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn clip_trains_alike() {
    assert_trains_alike("clip", Task::Contrastive);
}

#[test]
fn siglip_trains_alike() {
    assert_trains_alike("siglip", Task::PairwiseSigmoid);
}

#[test]
fn gpt2_trains_alike() {
    assert_trains_alike("gpt2", Task::NextToken);
}

#[test]
fn llama_trains_alike() {
    assert_trains_alike("llama", Task::NextToken);
}

#[test]
fn roberta_trains_alike() {
    assert_trains_alike("roberta", Task::LabelledTokens);
}

#[test]
fn t5_trains_alike() {
    assert_trains_alike("t5", Task::LabelledTokens);
}

#[test]
fn vit_trains_alike() {
    assert_trains_alike("vit", Task::Class);
}

#[test]
fn mae_trains_alike() {
    assert_trains_alike("vit_mae", Task::Own);
}
