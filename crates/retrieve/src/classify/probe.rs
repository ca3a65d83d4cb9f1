//! A linear probe: multinomial logistic regression on vectors that stay as they are.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};
use sensorium_metrics::Temperature;
use serde::Serialize;

use super::lbfgs::{Evaluated, minimise};

/// Strengths of the L2 penalty that are tried, from strong to weak: each begins where the last ended.
pub const SWEEP: [f64; 13] = [1.0, 3e-1, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6];
/// The gradient at which the loss has settled in its fifth digit.
const TOLERANCE: f64 = 1e-5;
const ITERATIONS: usize = 500;

/// Vectors with their classes.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// `[rows, embedding]`
    pub vectors: Array2<f64>,
    /// Class of each row.
    pub classes: Vec<usize>,
}

impl Labelled {
    /// Vectors in double precision.
    ///
    /// # Shapes
    /// `vectors` `[rows, embedding]`
    pub fn new(vectors: ArrayView2<f32>, classes: Vec<usize>) -> Self {
        Self { vectors: vectors.mapv(f64::from), classes }
    }

    /// Some of the rows.
    pub fn select(&self, rows: &[usize]) -> Self {
        let classes = rows.iter().map(|&row| self.classes[row]).collect();
        Self { vectors: self.vectors.select(Axis(0), rows), classes }
    }
}

/// One linear layer.
#[derive(Clone, Debug)]
pub struct Probe {
    /// `[embedding + 1, classes]`; the last row is the bias.
    weights: Array2<f64>,
}

/// What a strength of the penalty reached on held-out rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Swept {
    /// The strength.
    pub penalty: f64,
    /// Share of the held-out rows that it gets right.
    pub accuracy: f64,
    /// Mean negative logarithm of the true classes' probabilities.
    pub log_loss: f64,
}

impl Probe {
    /// The minimum of the mean log loss plus `penalty / 2` times the squared weights; the bias is
    /// free. (scikit-learn's `C` is `1 / (penalty · rows)`.)
    pub fn fit(data: &Labelled, classes: usize, penalty: f64) -> Self {
        Self { weights: Array2::zeros((data.vectors.ncols() + 1, classes)) }.refit(data, penalty)
    }

    /// The same minimum, sought from where this probe is.
    fn refit(self, data: &Labelled, penalty: f64) -> Self {
        let shape = self.weights.dim();
        let at = |weights: &Array1<f64>| objective(data, weights.view(), shape, penalty);
        let start = self.weights.into_flat();
        let found = minimise(start, TOLERANCE, ITERATIONS, at);
        let weights = found.into_shape_with_order(shape).unwrap_or_else(|error| panic!("{error}"));
        Self { weights }
    }

    /// Tries each strength of [`SWEEP`] on held-out rows. The best is the one of the least log loss
    /// there, which, unlike accuracy, has no ties.
    pub fn sweep(train: &Labelled, held_out: &Labelled, classes: usize) -> Vec<Swept> {
        let mut probe = Self { weights: Array2::zeros((train.vectors.ncols() + 1, classes)) };
        let mut swept = Vec::with_capacity(SWEEP.len());
        for penalty in SWEEP {
            probe = probe.refit(train, penalty);
            let probabilities = probe.probabilities(held_out.vectors.view());
            let rows = held_out.classes.len().max(1) as f64;
            let right = probabilities.outer_iter().zip(&held_out.classes).filter(|(row, class)| best(row) == **class);
            swept.push(Swept {
                penalty,
                accuracy: right.count() as f64 / rows,
                log_loss: log_loss(&probabilities, &held_out.classes) / rows,
            });
        }
        swept
    }

    /// `[rows, embedding]` → `[rows, classes]`
    pub fn probabilities(&self, vectors: ArrayView2<f64>) -> Array2<f64> {
        Temperature(1.0).probabilities(logits(vectors, self.weights.view()).view())
    }
}

/// The strength of the least held-out log loss.
pub fn best_penalty(swept: &[Swept]) -> f64 {
    let best = swept.iter().min_by(|a, b| a.log_loss.total_cmp(&b.log_loss));
    best.map_or(SWEEP[0], |swept| swept.penalty)
}

/// `vectors` `[rows, embedding]`, `weights` `[embedding + 1, classes]` → `[rows, classes]`
fn logits(vectors: ArrayView2<f64>, weights: ArrayView2<f64>) -> Array2<f64> {
    let width = vectors.ncols();
    vectors.dot(&weights.slice(s![..width, ..])) + weights.row(width)
}

fn objective(data: &Labelled, weights: ArrayView1<f64>, shape: (usize, usize), penalty: f64) -> Evaluated {
    let weights = weights.into_shape_with_order(shape).unwrap_or_else(|error| panic!("{error}"));
    let (width, rows) = (data.vectors.ncols(), data.classes.len().max(1) as f64);
    let mut errors = Temperature(1.0).probabilities(logits(data.vectors.view(), weights).view()); // [rows, classes]
    let loss = log_loss(&errors, &data.classes) / rows;
    data.classes.iter().enumerate().for_each(|(row, &class)| errors[[row, class]] -= 1.0);
    errors /= rows;
    let penalised = weights.slice(s![..width, ..]);
    let mut gradient = Array2::zeros(shape);
    gradient.slice_mut(s![..width, ..]).assign(&(data.vectors.t().dot(&errors) + &penalised * penalty));
    gradient.row_mut(width).assign(&errors.sum_axis(Axis(0)));
    let value = loss + penalty / 2.0 * penalised.iter().map(|weight| weight * weight).sum::<f64>();
    Evaluated { value, gradient: gradient.into_flat() }
}

/// The sum over the rows.
fn log_loss(probabilities: &Array2<f64>, classes: &[usize]) -> f64 {
    let of_row = |(row, &class): (usize, &usize)| -probabilities[[row, class]].max(f64::MIN_POSITIVE).ln();
    classes.iter().enumerate().map(of_row).sum()
}

fn best(row: &ArrayView1<f64>) -> usize {
    (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
}
