//! Which samples each step's batch holds.

mod mixture;
mod shuffle;

use std::num::NonZeroUsize;

use sensorium_contract::Seed;

use crate::dataset::Dataset;
use mixture::Mixture;
use shuffle::Shuffle;

/// The samples of every step's global batch: a function of the data, the batch size, the seed and
/// the window, and of nothing else. Any step can be asked for at any time, so resuming needs no
/// state but the step's number.
///
/// Without weights, each epoch is a new permutation of all samples, and the last incomplete batch
/// of an epoch is dropped; data smaller than a batch is one batch a step, as large as the data.
/// Data larger than the window is shuffled piece by piece: pieces (compressed shards, row groups,
/// or stretches of anything else) in random order, and their samples permuted within windows of
/// several pieces.
///
/// With weights, each draw's source is chosen in proportion to them, and each source goes through
/// permutations of its own. In every block of 4,096 draws the number of a source's draws is exactly
/// its share, up to rounding.
///
/// Several processes share each batch: [`Order::of_rank`] is the part of one of them.
#[derive(Debug)]
pub struct Order {
    kind: Kind,
    batch: usize,
    steps_per_epoch: u64,
    rank: usize,
    ranks: NonZeroUsize,
}

#[derive(Debug)]
enum Kind {
    Uniform(Shuffle),
    Weighted(Mixture),
}

impl Order {
    /// The order of `dataset` in batches of `batch` samples, at least one.
    pub fn new(dataset: &Dataset, batch: usize, seed: Seed, window: usize) -> Self {
        let seed = seed.named("order");
        let (len, window) = (dataset.len(), window.max(1));
        let parts: Vec<_> = dataset.layout().collect();
        let weights: Option<Vec<f64>> = parts.iter().map(|part| part.weight).collect();
        let (kind, batch) = match weights {
            None => (Kind::Uniform(Shuffle::new(&parts, window, seed)), batch.clamp(1, len)),
            Some(weights) => {
                let shuffle = |(number, part)| {
                    Shuffle::new(std::slice::from_ref(part), window, seed.named("source").number(number as u64))
                };
                let shuffles = parts.iter().enumerate().map(shuffle).collect();
                (Kind::Weighted(Mixture::new(shuffles, &weights, seed)), batch.max(1))
            }
        };
        let steps_per_epoch = (len / batch).max(1) as u64;
        Self { kind, batch, steps_per_epoch, rank: 0, ranks: NonZeroUsize::MIN }
    }

    /// Of every batch the part of one process of several: those of all ranks, one after the other, are
    /// the batch that one process alone would have. `rank` counts from 0.
    pub fn of_rank(self, rank: usize, ranks: NonZeroUsize) -> Self {
        Self { rank, ranks, ..self }
    }

    /// Samples in each batch of all ranks together: as asked for, or less where the data is smaller.
    pub fn batch_size(&self) -> usize {
        self.batch
    }

    /// Steps until each sample was drawn once, but for the last incomplete batch; with weights,
    /// steps until as many samples were drawn as there are.
    pub fn steps_per_epoch(&self) -> u64 {
        self.steps_per_epoch
    }

    /// Indices into the data set, of the batch of `step` (counted from 0), or of this rank's part of it.
    pub fn batch(&self, step: u64) -> Vec<usize> {
        let start = |rank: usize| (self.batch * rank / self.ranks).min(self.batch) as u64;
        let part = start(self.rank)..start(self.rank + 1);
        match &self.kind {
            Kind::Uniform(shuffle) => {
                let (epoch, first) = (step / self.steps_per_epoch, step % self.steps_per_epoch * self.batch as u64);
                part.map(|place| shuffle.at(epoch, (first + place) as usize)).collect()
            }
            Kind::Weighted(mixture) => {
                let first = step * self.batch as u64;
                part.map(|draw| mixture.at(first + draw)).collect()
            }
        }
    }
}
