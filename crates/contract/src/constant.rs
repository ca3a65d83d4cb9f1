use std::collections::BTreeMap;

use crate::Truth;

/// What a prediction can reach that does not look at the input, gathered batch by batch: memory
/// grows with the number of classes and values, not with that of the samples.
#[derive(Clone, Debug, Default)]
pub struct Constants {
    /// By part of the loss, then by head.
    parts: BTreeMap<String, BTreeMap<usize, Statistics>>,
}

#[derive(Clone, Debug)]
enum Statistics {
    /// How often each class occurred.
    Classes(BTreeMap<i64, usize>),
    /// Of each value, over all items.
    Numbers { sums: Vec<f64>, squares: Vec<f64>, items: usize },
}

impl Constants {
    /// Adds what was to be predicted by one head of a part of the loss.
    ///
    /// # Panics
    /// If the head had truths of another kind before: the modality fixes the kind of each head.
    pub fn add(&mut self, part: &str, head: usize, truth: &Truth) {
        let heads = self.parts.entry(part.to_owned()).or_default();
        let statistics = heads.entry(head).or_insert_with(|| Statistics::of(truth));
        match (statistics, truth) {
            (Statistics::Classes(counts), Truth::Classes(ids)) => {
                ids.iter().for_each(|&id| *counts.entry(id).or_default() += 1);
            }
            (Statistics::Numbers { sums, squares, items }, Truth::Numbers(values)) => {
                *items += values.nrows();
                for row in values.rows() {
                    for ((sum, square), &value) in sums.iter_mut().zip(&mut *squares).zip(row) {
                        *sum += f64::from(value);
                        *square += f64::from(value) * f64::from(value);
                    }
                }
            }
            (statistics, _) => panic!("head {head} of `{part}` predicted {statistics:?} before"),
        }
    }

    /// Adds classes of which only the number of items is known.
    pub fn count(&mut self, part: &str, class: i64, items: usize) {
        let heads = self.parts.entry(part.to_owned()).or_default();
        let statistics = heads.entry(0).or_insert_with(|| Statistics::Classes(BTreeMap::new()));
        if let Statistics::Classes(counts) = statistics {
            *counts.entry(class).or_default() += items;
        }
    }

    /// The least mean loss of each part with one constant prediction a head: the entropy of the
    /// classes' frequencies, the variance of the numbers.
    pub fn losses(&self) -> BTreeMap<String, f32> {
        let least = |(part, heads): (&String, &BTreeMap<usize, Statistics>)| {
            let (sum, items) = heads.values().map(Statistics::least).fold((0.0, 0), |(s, n), (t, m)| (s + t, n + m));
            (items > 0).then(|| (part.clone(), (sum / items as f64) as f32))
        };
        self.parts.iter().filter_map(least).collect()
    }
}

impl Statistics {
    fn of(truth: &Truth) -> Self {
        match truth {
            Truth::Classes(_) => Self::Classes(BTreeMap::new()),
            Truth::Numbers(values) => {
                let zeros = vec![0.0; values.ncols()];
                Self::Numbers { sums: zeros.clone(), squares: zeros, items: 0 }
            }
        }
    }

    /// The sum of the least losses of all items, and their number.
    fn least(&self) -> (f64, usize) {
        match self {
            Self::Classes(counts) => {
                let total: usize = counts.values().sum();
                let surprise = |&count: &usize| -(count as f64) * (count as f64 / total as f64).ln();
                (counts.values().filter(|&&count| count > 0).map(surprise).sum(), total)
            }
            Self::Numbers { sums, squares, items } => {
                let spread = |(sum, square): (&f64, &f64)| square - sum * sum / (*items).max(1) as f64;
                (sums.iter().zip(squares).map(spread).sum::<f64>() / sums.len() as f64, *items)
            }
        }
    }
}
