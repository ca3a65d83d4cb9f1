//! Batches made ahead of the steps that want them.

mod queue;

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use sensorium_contract::{Batch, Decoded, SampleFault, Seed};

use crate::{
    config::LoaderConfig,
    damage::Damage,
    error::LoadError,
    order::Order,
    prepared::{Prepared, caught},
};
use queue::{Queue, Task};

/// Samples that a worker takes at once: few enough that workers share one batch.
const CHUNK: usize = 16;

/// A batch with the story of its making.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedBatch {
    /// The step that it is for.
    pub step: u64,
    /// The sound samples, in the order of the step's draw; empty if all were damaged.
    pub batch: Batch,
    /// The number of each sound sample in the data.
    pub samples: Vec<usize>,
    /// The damaged ones.
    pub faults: Vec<SampleFault>,
    /// How long the step waited for it.
    pub wait: Duration,
}

/// Which samples a step's batch has, and whether they are changed.
#[derive(Debug)]
pub(crate) enum Plan {
    Shuffled { order: Order, augment: Seed },
    Sequential { batch: usize, len: usize },
}

impl Plan {
    fn batch(&self, step: u64) -> Vec<usize> {
        match self {
            Self::Shuffled { order, .. } => order.batch(step),
            Self::Sequential { batch, len } => {
                let start = step as usize * batch;
                (start..(start + batch).min(*len)).collect()
            }
        }
    }

    fn ends_epoch(&self, step: u64) -> bool {
        match self {
            Self::Shuffled { order, .. } => (step + 1).is_multiple_of(order.steps_per_epoch()),
            Self::Sequential { batch, len } => (step as usize + 1) * batch >= *len,
        }
    }

    fn augment(&self, step: u64) -> Option<Seed> {
        match self {
            Self::Shuffled { augment, .. } => Some(augment.number(step)),
            Self::Sequential { .. } => None,
        }
    }
}

/// One sample of a batch.
type Loaded = Result<(String, Decoded), SampleFault>;

/// A batch that workers have finished, the numbers of its samples, and the damaged ones.
type Finished = Result<(Batch, Vec<usize>, Vec<SampleFault>), LoadError>;

/// The batches of some steps, in their order. They are the same for any number of workers.
///
/// After an error it ends. Dropping it stops the workers.
#[derive(Debug)]
pub struct Loader {
    maker: Arc<Maker>,
    queue: Arc<Queue>,
    workers: Vec<JoinHandle<()>>,
    steps: Range<u64>,
    damage: Damage,
}

/// Makes batches, in any thread.
#[derive(Debug)]
struct Maker {
    prepared: Prepared,
    plan: Plan,
}

impl Loader {
    pub(crate) fn new(prepared: Prepared, plan: Plan, steps: Range<u64>, config: &LoaderConfig) -> Self {
        let damage = Damage::new(config.max_damaged, prepared.dataset().len());
        let maker = Arc::new(Maker { prepared, plan });
        let queue = Arc::new(Queue::new(steps.clone(), config.ahead.max(1)));
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let workers = (0..config.workers.unwrap_or_else(cores)).map_while(|number| {
            let (maker, queue) = (maker.clone(), queue.clone());
            // Where the system gives no thread, those that there are do the work.
            thread::Builder::new().name(format!("loader {number}")).spawn(move || maker.work(&queue)).ok()
        });
        let workers = workers.collect();
        Self { maker, queue, workers, steps, damage }
    }

    /// Distinct damaged samples so far, by reason.
    pub fn counts(&self) -> &BTreeMap<&'static str, usize> {
        self.damage.counts()
    }

    fn finished(&self, step: u64) -> Finished {
        match self.workers.is_empty() {
            true => self.maker.whole(step),
            false => self.queue.take(step),
        }
    }
}

impl Iterator for Loader {
    type Item = Result<LoadedBatch, LoadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.steps.next()?;
        let start = Instant::now();
        let finished = self.finished(step);
        let wait = start.elapsed();
        let checked = finished.and_then(|(batch, samples, faults)| {
            let epoch_ends = self.maker.plan.ends_epoch(step);
            self.damage.add(batch.len() + faults.len(), &faults, epoch_ends)?;
            Ok(LoadedBatch { step, batch, samples, faults, wait })
        });
        if checked.is_err() {
            self.steps = 0..0;
            self.queue.stop();
        }
        Some(checked)
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.queue.stop();
        for worker in self.workers.drain(..) {
            // A worker's panic was caught and handed over as an error.
            let _ = worker.join();
        }
    }
}

impl Maker {
    fn work(&self, queue: &Queue) {
        while let Some(task) = queue.task(CHUNK, |step| self.plan.batch(step)) {
            let Task { step, samples, chunk } = task;
            let loaded = self.load(step, &samples[chunk.clone()]);
            if let Some(all) = queue.put(step, chunk.start, loaded) {
                queue.finish(step, self.collate(step, &samples, all));
            }
        }
    }

    fn whole(&self, step: u64) -> Finished {
        let samples = self.plan.batch(step);
        self.collate(step, &samples, self.load(step, &samples))
    }

    fn load(&self, step: u64, samples: &[usize]) -> Vec<Loaded> {
        let augment = self.plan.augment(step);
        samples.iter().map(|&index| self.prepared.load(index, augment)).collect()
    }

    fn collate(&self, step: u64, samples: &[usize], loaded: Vec<Loaded>) -> Finished {
        let (mut sound, mut numbers, mut faults) = (Vec::with_capacity(loaded.len()), Vec::new(), Vec::new());
        for (&number, sample) in samples.iter().zip(loaded) {
            match sample {
                Ok(sample) => {
                    sound.push(sample);
                    numbers.push(number);
                }
                Err(fault) => faults.push(fault),
            }
        }
        let batch = caught(|| self.prepared.preparation().collate(sound));
        batch.map(|batch| (batch, numbers, faults)).map_err(|message| LoadError::Collate { step, message })
    }
}
