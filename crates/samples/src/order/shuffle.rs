//! A new permutation for each epoch, with memory for a few windows only.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use rand::seq::SliceRandom;
use sensorium_contract::Seed;

use crate::dataset::PartLayout;

/// Stretches that a window is made of, where samples can be read in any order.
const STRETCHES: usize = 8;
/// The most of a source's memory for pieces that one window takes: while workers finish one window,
/// others begin the next.
const MEMORY: f64 = 0.5;
/// Windows and epochs that are kept ready.
const KEPT: usize = 3;

/// Permutations of samples.
#[derive(Debug)]
pub(crate) struct Shuffle {
    pieces: Vec<Stretch>,
    len: usize,
    window: usize,
    seed: Seed,
    ready: Mutex<Ready>,
}

/// Samples that are next to each other.
#[derive(Clone, Debug)]
struct Stretch {
    samples: Range<usize>,
    memory: f64,
}

/// Epoch and number of a window, and its samples.
type Permutation = ((u64, usize), Arc<Vec<usize>>);

#[derive(Debug, Default)]
struct Ready {
    epochs: Vec<Arc<Epoch>>,
    windows: Vec<Permutation>,
}

/// An epoch's order of pieces.
#[derive(Debug)]
struct Epoch {
    number: u64,
    pieces: Vec<usize>,
    windows: Vec<Window>,
}

#[derive(Debug)]
struct Window {
    /// Places in the epoch.
    places: Range<usize>,
    /// Range of [`Epoch::pieces`].
    pieces: Range<usize>,
}

impl Shuffle {
    pub fn new(parts: &[PartLayout], window: usize, seed: Seed) -> Self {
        let mut pieces = Vec::new();
        for part in parts {
            let mut start = part.start;
            let end = start + part.len;
            if part.pieces.is_empty() {
                let size = window.div_ceil(STRETCHES);
                let stretch = |start: usize| Stretch { samples: start..(start + size).min(end), memory: 0.0 };
                pieces.extend((start..end).step_by(size).map(stretch));
            }
            for piece in &part.pieces {
                pieces.push(Stretch { samples: start..start + piece.samples, memory: piece.memory });
                start += piece.samples;
            }
        }
        let len = parts.iter().map(|part| part.len).sum();
        Self { pieces, len, window, seed, ready: Mutex::default() }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The sample at a place of an epoch.
    pub fn at(&self, epoch: u64, place: usize) -> usize {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = keep(&mut ready.epochs, |kept| kept.number == epoch, || Arc::new(self.epoch(epoch)));
        let number = epoch.windows.partition_point(|window| window.places.end <= place);
        let key = (epoch.number, number);
        let make = || (key, Arc::new(self.permutation(&epoch, number)));
        let (_, samples) = keep(&mut ready.windows, |(kept, _)| *kept == key, make);
        samples[place - epoch.windows[number].places.start]
    }

    fn epoch(&self, number: u64) -> Epoch {
        let mut pieces: Vec<usize> = (0..self.pieces.len()).collect();
        pieces.shuffle(&mut self.seed.number(number).named("pieces").rng());
        let mut windows: Vec<Window> = Vec::new();
        let mut memory = 0.0;
        for (place, &piece) in pieces.iter().enumerate() {
            let Stretch { samples, memory: more } = &self.pieces[piece];
            memory += more;
            match windows.last_mut() {
                Some(last) if last.places.len() + samples.len() <= self.window && memory <= MEMORY => {
                    last.places.end += samples.len();
                    last.pieces.end += 1;
                }
                last => {
                    let start = last.map_or(0, |last| last.places.end);
                    windows.push(Window { places: start..start + samples.len(), pieces: place..place + 1 });
                    memory = *more;
                }
            }
        }
        Epoch { number, pieces, windows }
    }

    fn permutation(&self, epoch: &Epoch, number: usize) -> Vec<usize> {
        let pieces = &epoch.pieces[epoch.windows[number].pieces.clone()];
        let mut samples: Vec<usize> = pieces.iter().flat_map(|&piece| self.pieces[piece].samples.clone()).collect();
        samples.shuffle(&mut self.seed.number(epoch.number).named("window").number(number as u64).rng());
        samples
    }
}

/// The value that is wanted, made if it is not kept; the one used longest ago goes.
fn keep<T: Clone>(kept: &mut Vec<T>, wanted: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> T {
    let found = kept.iter().position(wanted);
    let value = match found {
        // The usual case: the last one again.
        Some(place) if place + 1 == kept.len() => return kept[place].clone(),
        Some(place) => kept.remove(place),
        None => make(),
    };
    if kept.len() == KEPT {
        kept.remove(0);
    }
    kept.push(value.clone());
    value
}
