//! Which of the scored ids comes next.

use std::collections::HashSet;

use ndarray::Array2;
use rand::RngExt;
use sensorium_contract::{Rng, Seed, host_f32};

use super::{Generates, Reading};
use crate::{FamilyError, Inputs};

/// How a text goes on.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// The most ids to add.
    pub tokens: usize,
    /// Scores are divided by it; at 0 the best id is taken.
    pub temperature: f32,
    /// Only the most probable ids that together have this probability are drawn from (nucleus sampling,
    /// Holtzman et al. 2020).
    pub top_p: f32,
    /// No run of so many ids comes twice; 0 allows all.
    pub no_repeat_ngram: usize,
    /// Ids that never come.
    pub suppressed: Vec<i64>,
    /// Ids that do not come first.
    pub suppressed_first: Vec<i64>,
    /// Ids that end the text.
    pub end: Vec<i64>,
    /// Where draws come from.
    pub seed: Seed,
    /// Whether keys and values of earlier ids are kept; without, all are read again at each step, with the same
    /// result.
    pub cache: bool,
}

/// The best ids, as many as asked for: none, until a number is set.
impl Default for Sampling {
    fn default() -> Self {
        Self {
            tokens: 0,
            temperature: 0.0,
            top_p: 1.0,
            no_repeat_ngram: 0,
            suppressed: Vec::new(),
            suppressed_first: Vec::new(),
            end: Vec::new(),
            seed: Seed::new(0),
            cache: true,
        }
    }
}

/// The ids that follow `start`, each told to `each` as it comes; `inputs` are an encoder's.
///
/// # Errors
/// Names the input that is missing or cannot be used, or says that the network has no more positions.
pub fn generate(
    network: &dyn Generates,
    inputs: &Inputs<'_>,
    start: &[i64],
    sampling: &Sampling,
    each: &mut dyn FnMut(i64),
) -> Result<Vec<i64>, FamilyError> {
    let mut rng = sampling.seed.named("generate").rng();
    let fresh = network.start(inputs)?;
    let mut reading = fresh.clone();
    let mut all = start.to_vec();
    for _ in 0..sampling.tokens {
        if !sampling.cache {
            reading = fresh.clone();
        }
        let mut scores = next_scores(network, &mut reading, &all)?;
        suppress(&mut scores, &sampling.suppressed);
        if all.len() == start.len() {
            suppress(&mut scores, &sampling.suppressed_first);
        }
        let id = sampling.choose(scores, &all, &mut rng);
        all.push(id);
        each(id);
        if sampling.end.contains(&id) {
            break;
        }
    }
    Ok(all.split_off(start.len()))
}

/// The scores of what follows `all`, of which the network reads what it has not read.
fn next_scores(network: &dyn Generates, reading: &mut Reading, all: &[i64]) -> Result<Vec<f32>, FamilyError> {
    let new = &all[reading.tokens()..];
    let ids = Array2::from_shape_fn([1, new.len()], |(_, token)| new[token]);
    Ok(host_f32(network.step(reading, &ids)?))
}

impl Sampling {
    fn choose(&self, mut scores: Vec<f32>, before: &[i64], rng: &mut Rng) -> i64 {
        suppress(&mut scores, &repeating(before, self.no_repeat_ngram));
        let mut order: Vec<usize> = (0..scores.len()).collect();
        // Of equal scores the first, whatever the number of ids.
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        let place = if self.temperature > 0.0 { self.draw(&order, &scores, rng) } else { 0 };
        order[place] as i64
    }

    /// A place in the order, drawn by probability.
    fn draw(&self, order: &[usize], scores: &[f32], rng: &mut Rng) -> usize {
        let highest = scores[order[0]];
        let weight = |&id: &usize| f64::from((scores[id] - highest) / self.temperature).exp();
        let weights: Vec<f64> = order.iter().map(weight).collect();
        let nucleus = f64::from(self.top_p) * weights.iter().sum::<f64>();
        let mut sum = 0.0;
        let kept = weights.iter().position(|weight| {
            sum += weight;
            sum >= nucleus
        });
        let kept = kept.map_or(weights.len(), |last| last + 1);
        let mut left = rng.random::<f64>() * weights[..kept].iter().sum::<f64>();
        let drawn = weights[..kept].iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        drawn.unwrap_or(kept - 1)
    }
}

/// Ids that cannot come; those that there are not change nothing.
fn suppress<'a>(scores: &mut [f32], ids: impl IntoIterator<Item = &'a i64>) {
    for &id in ids {
        if let Some(score) = usize::try_from(id).ok().and_then(|id| scores.get_mut(id)) {
            *score = f32::NEG_INFINITY;
        }
    }
}

/// The ids that would repeat a run of `length` ids.
fn repeating(before: &[i64], length: usize) -> HashSet<i64> {
    if length == 0 || before.len() + 1 < length {
        return HashSet::new();
    }
    let last = &before[before.len() + 1 - length..];
    before.windows(length).filter(|run| run[..length - 1] == *last).map(|run| run[length - 1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f32, top_p: f32) -> Sampling {
        Sampling { tokens: 1, temperature, top_p, ..Sampling::default() }
    }

    #[test]
    fn runs_are_not_repeated() {
        assert_eq!(repeating(&[1, 2, 3, 1, 2], 3), HashSet::from([3]));
        assert_eq!(repeating(&[1, 2], 1), HashSet::from([1, 2]));
        assert!(repeating(&[1, 2, 3], 0).is_empty() && repeating(&[1], 3).is_empty());
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let scores = || [0.25_f32, 0.5, 0.125, 0.125].map(f32::ln).to_vec();
        let mut rng = Seed::new(1).rng();
        let mut count = |sampling: Sampling| {
            let mut counts = [0; 4];
            (0..4000).for_each(|_| counts[sampling.choose(scores(), &[], &mut rng) as usize] += 1);
            counts
        };
        let near = |count: i32, expected: i32| (count - expected).abs() < 200;
        let all = count(sampling(1.0, 1.0));
        assert!(near(all[0], 1000) && near(all[1], 2000) && near(all[2], 500) && near(all[3], 500), "{all:?}");
        let nucleus = count(sampling(1.0, 0.7));
        assert!(near(nucleus[0], 1333) && near(nucleus[1], 2667) && nucleus[2] + nucleus[3] == 0, "{nucleus:?}");
        assert_eq!(count(sampling(0.0, 1.0)), [0, 4000, 0, 0]);
    }
}
