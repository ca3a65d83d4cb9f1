//! Decoded samples that are kept.

mod disk;

use std::{
    collections::HashMap,
    io,
    sync::{Arc, PoisonError, RwLock},
};

use sensorium_contract::Decoded;

use self::disk::DiskCache;
use crate::LoaderConfig;

/// A sample that is ready for batches, before augmentation.
#[derive(Debug, PartialEq)]
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

/// Keeps what comes first until it is full, in memory and then on disk. Nothing is displaced: every
/// epoch visits every sample once, so that displacing would throw away what is needed sooner.
#[derive(Debug)]
pub(crate) struct Cache {
    budget: u64,
    kept: RwLock<Kept>,
    disk: Option<DiskCache>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: u64,
    samples: HashMap<usize, Arc<Ready>>,
}

impl Cache {
    pub fn new(config: &LoaderConfig) -> io::Result<Self> {
        let disk = match config.disk_cache_mb {
            0 => None,
            mb => Some(DiskCache::new(mb << 20)?),
        };
        Ok(Self { budget: config.cache_mb << 20, kept: RwLock::default(), disk })
    }

    pub fn get(&self, index: usize) -> Option<Arc<Ready>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner).samples.get(&index).cloned();
        kept.or_else(|| self.disk.as_ref()?.get(index).map(Arc::new))
    }

    /// Keeps a sample if it fits.
    pub fn offer(&self, index: usize, ready: &Arc<Ready>) {
        let in_memory = self.offer_to_memory(index, ready);
        if let (false, Some(disk)) = (in_memory, &self.disk) {
            disk.offer(index, ready);
        }
    }

    /// Whether it fits.
    fn offer_to_memory(&self, index: usize, ready: &Arc<Ready>) -> bool {
        let bytes = ready.bytes();
        let full = |kept: &Kept| kept.bytes + bytes > self.budget;
        if full(&self.kept.read().unwrap_or_else(PoisonError::into_inner)) {
            return false;
        }
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if full(&kept) {
            return false;
        }
        if kept.samples.insert(index, ready.clone()).is_none() {
            kept.bytes += bytes;
        }
        true
    }
}
