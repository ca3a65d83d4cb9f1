//! Sources drawn in proportion to weights, in an order that any draw can be looked up in.

use std::sync::{Arc, Mutex, PoisonError};

use rand::seq::SliceRandom;
use sensorium_contract::Seed;

use super::shuffle::Shuffle;

/// Draws that are shuffled with each other.
const BLOCK: u64 = 4096;
/// Blocks that are kept ready.
const KEPT: usize = 2;

/// Sources and their shares.
#[derive(Debug)]
pub(crate) struct Mixture {
    sources: Vec<Shuffle>,
    /// Each source's share of the draws that the sources before it left over; the last one's is 1.
    shares: Vec<f64>,
    seed: Seed,
    ready: Mutex<Vec<(u64, Arc<Vec<Draw>>)>>,
}

#[derive(Clone, Copy, Debug)]
struct Draw {
    source: u32,
    /// How many draws of the source were before this one.
    turn: u64,
}

impl Mixture {
    pub fn new(sources: Vec<Shuffle>, weights: &[f64], seed: Seed) -> Self {
        let last = weights.len() - 1;
        let share = |number: usize| {
            let rest: f64 = weights[number..].iter().sum();
            if number == last { 1.0 } else { weights[number] / rest }
        };
        let shares = (0..=last).map(share).collect();
        Self { sources, shares, seed: seed.named("mixture"), ready: Mutex::default() }
    }

    /// The sample of a draw, counted from 0 at the run's start.
    pub fn at(&self, draw: u64) -> usize {
        let draws = self.block(draw / BLOCK);
        let Draw { source, turn } = draws[(draw % BLOCK) as usize];
        let source = &self.sources[source as usize];
        let len = source.len() as u64;
        source.at(turn / len, (turn % len) as usize)
    }

    fn block(&self, number: u64) -> Arc<Vec<Draw>> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, draws)) = ready.iter().find(|(kept, _)| *kept == number) {
            return draws.clone();
        }
        let draws = Arc::new(self.draws(number));
        if ready.len() == KEPT {
            ready.remove(0);
        }
        ready.push((number, draws.clone()));
        draws
    }

    fn draws(&self, block: u64) -> Vec<Draw> {
        let mut turns = self.counts(block * BLOCK);
        let until = self.counts((block + 1) * BLOCK);
        let counts = turns.iter().zip(&until).enumerate();
        let mut sources: Vec<u32> =
            counts.flat_map(|(source, (from, to))| std::iter::repeat_n(source as u32, (to - from) as usize)).collect();
        sources.shuffle(&mut self.seed.number(block).rng());
        let draw = |source: u32| {
            let turn = turns[source as usize];
            turns[source as usize] += 1;
            Draw { source, turn }
        };
        sources.into_iter().map(draw).collect()
    }

    /// How many of the first `draws` draws are each source's. They sum to `draws`, and none ever
    /// falls as `draws` grows: both what a source takes and what it leaves over rise with it.
    fn counts(&self, draws: u64) -> Vec<u64> {
        let mut left = draws;
        let count = |share: &f64| {
            let count = ((left as f64 * share) as u64).min(left);
            left -= count;
            count
        };
        self.shares.iter().map(count).collect()
    }
}
