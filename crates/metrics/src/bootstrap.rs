use std::collections::BTreeMap;

use rand::RngExt;
use rayon::prelude::*;
use sensorium_contract::Seed;

use crate::{Metric, Predictions};

/// Intervals by drawing rows again, with replacement (Efron 1979; percentile method).
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// How often rows are drawn again; 0 for no intervals.
    pub resamples: usize,
    /// What they are drawn from. Threads do not matter.
    pub seed: Seed,
    /// The group of each row, if rows of a group are alike: whole groups are drawn then, as rows would make
    /// intervals too narrow (Field and Welsh 2007).
    pub groups: Option<Vec<usize>>,
}

/// The share of resamples whose values lie within an interval.
const COVERED: f64 = 0.95;
/// An interval is given if a metric is defined in at least this share of the resamples.
const DEFINED: f64 = 0.5;

impl Bootstrap {
    /// As often as intervals need to settle in their second digit.
    pub const RESAMPLES: usize = 1000;

    /// Intervals from 1,000 resamples.
    pub fn new(seed: Seed) -> Self {
        Self { resamples: Self::RESAMPLES, seed, groups: None }
    }

    /// The 95 % interval of each metric over the given rows, in the order of
    /// [`Predictions::measure`]; nothing for a metric that most resamples leave undefined, and of
    /// fewer than two rows or groups.
    pub fn intervals(&self, predictions: &dyn Predictions, rows: &[usize]) -> Vec<(Metric, Option<[f64; 2]>)> {
        let units = self.units(rows);
        let draw = |resample: usize| {
            let mut rng = self.seed.number(resample as u64).rng();
            let mut counts = vec![0; predictions.rows()];
            for _ in 0..units.len() {
                units[rng.random_range(0..units.len())].iter().for_each(|&row| counts[row] += 1);
            }
            predictions.measure(&counts)
        };
        let resamples = if units.len() < 2 { 0 } else { self.resamples };
        let drawn: Vec<Vec<(Metric, Option<f64>)>> = (0..resamples).into_par_iter().map(draw).collect();
        let metrics = predictions.measure(&vec![0; predictions.rows()]);
        let interval = |(place, (metric, _)): (usize, &(Metric, Option<f64>))| {
            let mut values: Vec<f64> = drawn.iter().filter_map(|measures| measures[place].1).collect();
            values.sort_by(f64::total_cmp);
            let enough = !values.is_empty() && values.len() as f64 >= DEFINED * resamples as f64;
            let ends = [(1.0 - COVERED) / 2.0, (1.0 + COVERED) / 2.0];
            (*metric, enough.then(|| ends.map(|share| quantile(&values, share))))
        };
        metrics.iter().enumerate().map(interval).collect()
    }

    /// The rows that are drawn together.
    fn units(&self, rows: &[usize]) -> Vec<Vec<usize>> {
        let Some(groups) = &self.groups else { return rows.iter().map(|&row| vec![row]).collect() };
        let mut units: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        rows.iter().for_each(|&row| units.entry(groups[row]).or_default().push(row));
        units.into_values().collect()
    }
}

/// Between the two sorted values that are nearest, in proportion.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}
