//! A head that starts where ridge regression on the model's features ends.

use ndarray::{Array1, Array2, Axis};
use sensorium_model::Model;
use sensorium_objectives::Task;
use sensorium_samples::Prepared;
use sensorium_state::{NamedTensor, export, import};

use crate::{AdaptError, calibrate::labelled};

/// Ridge, as a share of the features' mean variance: strong, as there are often fewer cases than features.
const RIDGE: f64 = 1.0;
/// How far apart classes stand in logits: what a squared error of 0 and 1 is multiplied by.
const SPREAD: f64 = 2.0;

/// The model with its head at the closed-form solution on the training cases.
pub(crate) fn warm(model: Model, train: &Prepared) -> Result<Model, AdaptError> {
    let Some(found) = labelled(&burn::module::Module::valid(&model), train)? else { return Ok(model) };
    let Some(task) = model.supervised().map(|supervised| supervised.config().task.clone()) else { return Ok(model) };
    let Some(wanted) = wanted(&task, &found.truth) else { return Ok(model) };
    let Some((weight, bias)) = ridge(&found.pooled.mapv(f64::from), &wanted) else { return Ok(model) };
    let place = |tensor: NamedTensor| match tensor.name.rsplit_once(".head.") {
        Some((front, "weight")) if front.starts_with("objectives") => {
            NamedTensor { values: weight.iter().map(|value| *value as f32).collect(), ..tensor }
        }
        Some((front, "bias")) if front.starts_with("objectives") => {
            NamedTensor { values: bias.iter().map(|value| *value as f32).collect(), ..tensor }
        }
        _ => tensor,
    };
    let tensors = export(&model).into_iter().map(place).map(|tensor| (tensor.name.clone(), tensor)).collect();
    Ok(import(model, &tensors)?)
}

/// What the head should say, `[cases, outputs]`; nothing for grades, whose outputs are conditional.
fn wanted(task: &Task, truth: &Array2<f32>) -> Option<Array2<f64>> {
    let (cases, outputs) = (truth.nrows(), task.outputs());
    let sign = |yes: bool| if yes { SPREAD / 2.0 } else { -SPREAD / 2.0 };
    Some(match task {
        Task::Classes { .. } => {
            Array2::from_shape_fn((cases, outputs), |(case, class)| sign(truth[[case, 0]] as usize == class))
        }
        Task::Labels { .. } => {
            Array2::from_shape_fn((cases, outputs), |(case, class)| sign(truth[[case, class]] > 0.5))
        }
        Task::Number { .. } => truth.mapv(f64::from),
        Task::Ordinal { .. } => return None,
    })
}

/// Ridge regression with a free intercept, by Cholesky's decomposition.
///
/// # Shapes
/// `x` `[cases, width]`, `y` `[cases, outputs]` → `[width, outputs]` and `[outputs]`
fn ridge(x: &Array2<f64>, y: &Array2<f64>) -> Option<(Array2<f64>, Array1<f64>)> {
    let (x_mean, y_mean) = (x.mean_axis(Axis(0))?, y.mean_axis(Axis(0))?);
    let (x, y) = (x - &x_mean, y - &y_mean);
    let mut gram = x.t().dot(&x); // [width, width]
    let ridge = RIDGE * gram.diag().mean()?.max(1e-9);
    gram.diag_mut().mapv_inplace(|value| value + ridge);
    let weight = solve(gram, x.t().dot(&y))?;
    let bias = y_mean - x_mean.dot(&weight);
    Some((weight, bias))
}

/// Solves `a · w = b` for a symmetric positive definite `a`; nothing if it is not.
fn solve(mut a: Array2<f64>, mut b: Array2<f64>) -> Option<Array2<f64>> {
    let n = a.nrows();
    for column in 0..n {
        for row in column..n {
            let known: f64 = (0..column).map(|at| a[[row, at]] * a[[column, at]]).sum();
            let rest = a[[row, column]] - known;
            a[[row, column]] = match row == column {
                true if rest > 0.0 => rest.sqrt(),
                true => return None,
                false => rest / a[[column, column]],
            };
        }
    }
    for mut y in b.columns_mut() {
        for row in 0..n {
            let known: f64 = (0..row).map(|at| a[[row, at]] * y[at]).sum();
            y[row] = (y[row] - known) / a[[row, row]];
        }
        for row in (0..n).rev() {
            let known: f64 = (row + 1..n).map(|at| a[[at, row]] * y[at]).sum();
            y[row] = (y[row] - known) / a[[row, row]];
        }
    }
    Some(b)
}

#[cfg(test)]
mod tests {
    use ndarray::arr2;

    use super::*;

    #[test]
    fn ridge_finds_a_line() {
        let x = Array2::from_shape_fn((50, 2), |(row, column)| ((row * 7 + column * 13) % 11) as f64);
        let y = Array2::from_shape_fn((50, 1), |(row, _)| 2.0 * x[[row, 0]] - x[[row, 1]] + 3.0);
        let (weight, bias) = ridge(&x, &y).unwrap();
        // The ridge pulls towards 0, and the intercept keeps the mean.
        assert!((weight[[0, 0]] - 1.0).abs() < 0.3 && (weight[[1, 0]] + 0.5).abs() < 0.3, "{weight}");
        let mean = (x.dot(&weight) + &bias).mean().unwrap();
        assert!((mean - y.mean().unwrap()).abs() < 1e-9, "{mean}");
    }

    #[test]
    fn a_system_is_solved() {
        let (a, b) = (arr2(&[[4.0, 2.0], [2.0, 3.0]]), arr2(&[[10.0], [8.0]]));
        let found = solve(a, b).unwrap();
        assert!((found[[0, 0]] - 1.75).abs() < 1e-12 && (found[[1, 0]] - 1.5).abs() < 1e-12);
        assert!(solve(arr2(&[[0.0, 0.0], [0.0, 1.0]]), arr2(&[[1.0], [1.0]])).is_none());
    }
}
