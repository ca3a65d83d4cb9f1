use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};

/// How many rows of each class (first axis) were taken for each class (second axis).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Vec<Vec<u64>>", from = "Vec<Vec<u64>>")]
pub struct Confusion(Array2<u64>);

impl Confusion {
    /// Counts pairs of truth and prediction, row `i` as `counts[i]` rows.
    pub(crate) fn new(classes: usize, truth: &[usize], predicted: &[usize], counts: &[u32]) -> Self {
        let mut matrix = Array2::zeros((classes, classes));
        for ((&truth, &predicted), &count) in truth.iter().zip(predicted).zip(counts) {
            matrix[[truth, predicted]] += u64::from(count);
        }
        Self(matrix)
    }

    /// `[true class, predicted class]`
    pub fn counts(&self) -> &Array2<u64> {
        &self.0
    }

    /// Rows of a class.
    pub fn rows_of(&self, class: usize) -> u64 {
        self.0.row(class).sum()
    }

    /// Share of a class's rows that were found; nothing if it has none.
    pub fn recall(&self, class: usize) -> Option<f64> {
        ratio(self.0[[class, class]], self.rows_of(class))
    }

    /// Share of the rows taken for a class that are of it; nothing if none was.
    pub fn precision(&self, class: usize) -> Option<f64> {
        ratio(self.0[[class, class]], self.0.column(class).sum())
    }

    /// Harmonic mean of precision and recall; nothing if the class neither occurs nor is predicted.
    pub fn f1(&self, class: usize) -> Option<f64> {
        ratio(2 * self.0[[class, class]], self.rows_of(class) + self.0.column(class).sum())
    }

    /// See [`crate::Metric::Accuracy`].
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.0.diag().sum(), self.0.sum())
    }

    /// See [`crate::Metric::BalancedAccuracy`].
    pub fn balanced_accuracy(&self) -> Option<f64> {
        mean((0..self.0.nrows()).filter_map(|class| self.recall(class)))
    }

    /// The mean of the classes' F1.
    pub fn macro_f1(&self) -> Option<f64> {
        mean((0..self.0.nrows()).filter_map(|class| self.f1(class)))
    }

    /// See [`crate::Metric::QuadraticKappa`]; nothing if all rows are of one class and taken for it.
    pub fn quadratic_kappa(&self) -> Option<f64> {
        let (truth, predicted) = (self.0.sum_axis(Axis(1)), self.0.sum_axis(Axis(0)));
        let rows = self.0.sum() as f64;
        let (mut found, mut expected) = (0.0, 0.0);
        for ((from, to), &count) in self.0.indexed_iter() {
            let weight = (from as f64 - to as f64).powi(2);
            found += weight * count as f64;
            expected += weight * truth[from] as f64 * predicted[to] as f64 / rows;
        }
        (expected > 0.0).then(|| 1.0 - found / expected)
    }

    /// See [`crate::Metric::GradeError`].
    pub fn grade_error(&self) -> Option<f64> {
        let apart = self.0.indexed_iter().map(|((from, to), &count)| from.abs_diff(to) as u64 * count).sum();
        ratio(apart, self.0.sum())
    }
}

impl From<Confusion> for Vec<Vec<u64>> {
    fn from(Confusion(matrix): Confusion) -> Self {
        matrix.outer_iter().map(|row| row.to_vec()).collect()
    }
}

impl From<Vec<Vec<u64>>> for Confusion {
    /// Rows that are too short are filled with 0, and those that are too long cut.
    fn from(rows: Vec<Vec<u64>>) -> Self {
        let at = |(from, to): (usize, usize)| rows[from].get(to).copied().unwrap_or(0);
        Self(Array2::from_shape_fn((rows.len(), rows.len()), at))
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The mean of what there is.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// The mean of a value of each row, as often as it counts.
pub(crate) fn weighed_mean(values: &[f64], counts: &[u32]) -> Option<f64> {
    let all: u64 = counts.iter().map(|&count| u64::from(count)).sum();
    let sum: f64 = values.iter().zip(counts).map(|(value, &count)| value * f64::from(count)).sum();
    (all > 0).then(|| sum / all as f64)
}
