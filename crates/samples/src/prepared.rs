use std::{
    any::Any,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use sensorium_contract::{Decoded, Fault, Preparation, SampleFault, Seed};

use crate::{
    cache::{Cache, Ready},
    config::LoaderConfig,
    dataset::Dataset,
    error::SourceError,
    loader::{Loader, Plan},
    order::Order,
};

/// Data together with how it becomes batches, and the decoded samples that are kept.
/// Cloning is cheap, and clones share what is kept.
#[derive(Clone, Debug)]
pub struct Prepared {
    dataset: Dataset,
    preparation: Arc<Preparation>,
    config: LoaderConfig,
    cache: Arc<Cache>,
}

impl Prepared {
    /// Nothing is read yet.
    ///
    /// # Errors
    /// If decoded samples are to be kept on disk and the temporary folder takes no file.
    pub fn new(dataset: Dataset, preparation: Arc<Preparation>, config: LoaderConfig) -> Result<Self, SourceError> {
        let cache = Cache::new(&config).map_err(SourceError::io(&std::env::temp_dir()))?;
        Ok(Self { dataset, preparation, config, cache: Arc::new(cache) })
    }

    /// The samples.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// How they become batches.
    pub fn preparation(&self) -> &Arc<Preparation> {
        &self.preparation
    }

    /// The order of training in batches of `batch` samples, with the configured window.
    pub fn order(&self, batch: usize, seed: Seed) -> Order {
        Order::new(&self.dataset, batch, seed, self.config.window)
    }

    /// Shuffled and augmented batches of the given steps. `seed` is that of the run.
    pub fn train(&self, order: Order, seed: Seed, steps: Range<u64>) -> Loader {
        let plan = Plan::Shuffled { order, augment: seed.named("augment") };
        Loader::new(self.clone(), plan, steps, &self.config)
    }

    /// All samples once, in their own order and as they are, in batches of `batch` samples (the
    /// last may be smaller).
    pub fn sequential(&self, batch: usize) -> Loader {
        self.sequential_from(batch, 0)
    }

    /// As [`Prepared::sequential`], without the first `done` batches.
    pub fn sequential_from(&self, batch: usize, done: u64) -> Loader {
        let plan = Plan::Sequential { batch: batch.max(1), len: self.dataset.len() };
        let steps = self.dataset.len().div_ceil(batch.max(1)) as u64;
        Loader::new(self.clone(), plan, done.min(steps)..steps, &self.config)
    }

    /// A sample's key and modalities, changed at random if there is a seed for it.
    pub(crate) fn load(&self, index: usize, augment: Option<Seed>) -> Result<(String, Decoded), SampleFault> {
        let ready = match self.cache.get(index) {
            Some(ready) => ready,
            None => {
                let ready = Arc::new(self.decode(index)?);
                self.cache.offer(index, &ready);
                ready
            }
        };
        // Copied only if the cache keeps it.
        let (key, decoded) = match Arc::try_unwrap(ready) {
            Ok(ready) => (ready.key, ready.decoded),
            Err(ready) => (ready.key.clone(), ready.decoded.clone()),
        };
        let Some(seed) = augment else {
            return Ok((key, decoded));
        };
        let augmented = caught(|| self.preparation.augment(decoded, seed.named(&key)));
        match augmented {
            Ok(decoded) => Ok((key, decoded)),
            Err(message) => Err(self.fault(key, index, Fault::new("", "augmentation failed", message))),
        }
    }

    fn decode(&self, index: usize) -> Result<Ready, SampleFault> {
        let read = caught(|| self.dataset.read(index));
        let sample = read.unwrap_or_else(|message| {
            Err(self.fault(format!("number {index}"), index, Fault::new("", "reading failed", message)))
        })?;
        let decoded = caught(|| self.preparation.decode(&sample));
        let decoded = decoded.unwrap_or_else(|message| Err(Fault::new("", "decoding failed", message)));
        match decoded {
            Ok(decoded) => Ok(Ready { key: sample.key, decoded }),
            Err(found) => Err(self.fault(sample.key, index, found)),
        }
    }

    fn fault(&self, key: String, index: usize, fault: Fault) -> SampleFault {
        SampleFault { key, place: self.dataset.place(index), fault }
    }
}

/// What `work` returns, or the message of its panic. Nothing of ours is left half changed by a
/// panic: decoders and augmentation get their own copies, and results are stored after them.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}
