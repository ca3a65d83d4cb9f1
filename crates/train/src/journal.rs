use std::{collections::BTreeMap, time::Duration};

use sensorium_contract::SampleFault;
use sensorium_state::{Records, RunDirectory, StateError};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{EventFile, Metric};

/// One objective's part of a step's loss, on the host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PartRecord {
    /// Mean over the items.
    pub value: f32,
    /// Factor in the sum.
    pub weight: f32,
    /// How many items.
    pub items: usize,
}

/// A step, as `metrics.jsonl` tells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct StepRecord {
    /// Steps done, this one included.
    pub step: u64,
    /// Passes over the data.
    pub epoch: f64,
    pub lr: f64,
    /// Of all gradients together, before clipping.
    pub grad_norm: f64,
    /// Weighted sum of the parts.
    pub loss: f64,
    pub parts: BTreeMap<String, PartRecord>,
}

/// Where a step's time went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StepTime {
    pub samples: usize,
    /// Waiting for data.
    pub wait: Duration,
    /// Forward and backward pass.
    pub gradients: Duration,
    /// Clipping, update and average.
    pub optimizer: Duration,
}

impl StepTime {
    pub(crate) fn total(&self) -> Duration {
        self.wait + self.gradients + self.optimizer
    }
}

/// The files that a run writes as it goes.
///
/// Whatever depends on the clock is in `timing.jsonl` and in the TensorBoard events, so that
/// `metrics.jsonl` and `faults.jsonl` are functions of the recipe alone.
#[derive(Debug)]
pub(crate) struct Journal {
    metrics: Records,
    timing: Records,
    faults: Records,
    events: EventFile,
}

impl Journal {
    pub(crate) fn open(run: &RunDirectory, step: u64, metrics_length: Option<u64>) -> Result<Self, StateError> {
        Ok(Self {
            metrics: run.records("metrics.jsonl", step, metrics_length)?,
            timing: run.records("timing.jsonl", step, None)?,
            faults: run.records("faults.jsonl", step, None)?,
            events: EventFile::create(&run.path().join("tensorboard"), step)?,
        })
    }

    pub(crate) fn metrics_length(&self) -> u64 {
        self.metrics.length()
    }

    /// Brings to the disk what a checkpoint relies on.
    pub(crate) fn sync(&self) -> Result<(), StateError> {
        self.metrics.sync()?;
        self.faults.sync()
    }

    pub(crate) fn faults(&mut self, step: u64, faults: &[SampleFault]) -> Result<(), StateError> {
        for SampleFault { key, place, fault } in faults {
            let record = json!({
                "step": step, "key": key, "place": place,
                "field": fault.field, "reason": fault.reason, "detail": fault.detail,
            });
            self.faults.append(&record)?;
        }
        Ok(())
    }

    pub(crate) fn step(&mut self, record: &StepRecord, time: StepTime) -> Result<(), StateError> {
        self.metrics.append(record)?;
        let seconds = |time: Duration| time.as_secs_f64();
        self.timing.append(&json!({
            "step": record.step,
            "samples_per_second": time.samples as f64 / seconds(time.total()).max(1e-9),
            "wait": seconds(time.wait),
            "gradients": seconds(time.gradients),
            "optimizer": seconds(time.optimizer),
        }))?;
        let mut scalars = vec![
            ("train/loss".to_owned(), record.loss as f32),
            ("train/learning rate".to_owned(), record.lr as f32),
            ("train/gradient norm".to_owned(), record.grad_norm as f32),
        ];
        scalars.extend(record.parts.iter().map(|(name, part)| (format!("train/{name}"), part.value)));
        self.events.scalars(record.step, &scalars)
    }

    pub(crate) fn evaluation(
        &mut self,
        step: u64,
        epoch: f64,
        metrics: &[Metric],
        time: Duration,
    ) -> Result<(), StateError> {
        let values: Map<String, Value> =
            metrics.iter().map(|metric| (metric.name.clone(), json!(metric.value))).collect();
        self.metrics.append(&json!({ "step": step, "epoch": epoch, "evaluation": values }))?;
        self.timing.append(&json!({ "step": step, "evaluation": time.as_secs_f64() }))?;
        let scalars: Vec<_> = metrics.iter().map(|metric| (metric.name.clone(), metric.value as f32)).collect();
        self.events.scalars(step, &scalars)
    }

    pub(crate) fn checkpoint(&mut self, step: u64, time: Duration) -> Result<(), StateError> {
        self.timing.append(&json!({ "step": step, "checkpoint": time.as_secs_f64() }))
    }
}
