//! When damaged samples are too many.

use std::collections::{BTreeMap, HashSet};

use sensorium_contract::SampleFault;

use crate::error::LoadError;

/// Fewer samples than this tell nothing yet.
const FEW: usize = 100;

/// Counts of damaged samples.
#[derive(Debug)]
pub(crate) struct Damage {
    max_damaged: f64,
    /// Samples of the data: more distinct ones cannot be read.
    samples: usize,
    read: usize,
    /// Keys and places.
    damaged: HashSet<(String, String)>,
    counts: BTreeMap<&'static str, usize>,
    first: String,
}

impl Damage {
    pub fn new(max_damaged: f64, samples: usize) -> Self {
        let (damaged, counts, first) = Default::default();
        Self { max_damaged, samples, read: 0, damaged, counts, first }
    }

    /// Distinct damaged samples by reason.
    pub fn counts(&self) -> &BTreeMap<&'static str, usize> {
        &self.counts
    }

    /// Adds a batch of so many samples. At the end of an epoch the share of damaged samples counts
    /// as it is. Before that, it must exceed the allowed share by four standard deviations, so that
    /// some damaged samples in the first batches do not end a run that is within the limit.
    pub fn add(&mut self, read: usize, faults: &[SampleFault], epoch_ends: bool) -> Result<(), LoadError> {
        self.read = (self.read + read).min(self.samples);
        for fault in faults {
            if self.damaged.is_empty() {
                self.first = fault.to_string();
            }
            if self.damaged.insert((fault.key.clone(), fault.place.clone())) {
                *self.counts.entry(fault.fault.reason).or_default() += 1;
            }
        }
        let allowed = self.max_damaged * self.read as f64;
        let slack = if epoch_ends { 0.0 } else { 1.0 + 4.0 * allowed.sqrt() };
        let enough = epoch_ends || self.read >= FEW;
        if !enough || self.damaged.len() as f64 <= allowed + slack {
            return Ok(());
        }
        Err(LoadError::TooManyDamaged {
            damaged: self.damaged.len(),
            read: self.read,
            max_damaged: self.max_damaged,
            counts: self.counts.clone(),
            first: self.first.clone(),
        })
    }
}
