//! Decoded samples that are kept.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use sensorium_contract::Decoded;

/// A sample that is ready for batches, before augmentation.
#[derive(Debug)]
pub(crate) struct Ready {
    pub key: String,
    pub decoded: Decoded,
}

impl Ready {
    /// Memory, counting some for the maps.
    fn bytes(&self) -> u64 {
        let items: usize = self.decoded.values().map(|item| 256 + item.arrays.bytes()).sum();
        (items + self.key.len() + 128) as u64
    }
}

/// Keeps what comes first until it is full. Nothing is displaced: every epoch visits every sample
/// once, so that displacing would throw away what is needed sooner.
#[derive(Debug)]
pub(crate) struct Cache {
    budget: u64,
    kept: RwLock<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: u64,
    samples: HashMap<usize, Arc<Ready>>,
}

impl Cache {
    pub fn new(budget: u64) -> Self {
        Self { budget, kept: RwLock::default() }
    }

    pub fn get(&self, index: usize) -> Option<Arc<Ready>> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).samples.get(&index).cloned()
    }

    /// Keeps a sample if it fits.
    pub fn offer(&self, index: usize, ready: &Arc<Ready>) {
        let bytes = ready.bytes();
        let full = |kept: &Kept| kept.bytes + bytes > self.budget;
        if full(&self.kept.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if !full(&kept) && kept.samples.insert(index, ready.clone()).is_none() {
            kept.bytes += bytes;
        }
    }
}
