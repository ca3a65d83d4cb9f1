use ndarray::{Array1, Array2, array};
use serde::Deserialize;

use super::{
    lbfgs::{Evaluated, minimise},
    *,
};

#[test]
fn a_curved_valley_is_followed_to_its_end() {
    // Rosenbrock's function: the usual hard case of a line search.
    let valley = |at: &Array1<f64>| {
        let (x, y) = (at[0], at[1]);
        let value = (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2);
        let gradient = array![-2.0 * (1.0 - x) - 400.0 * x * (y - x * x), 200.0 * (y - x * x)];
        Evaluated { value, gradient }
    };
    let found = minimise(array![-1.2, 1.0], 1e-9, 200, valley);
    assert!((&found - &array![1.0, 1.0]).iter().all(|error| error.abs() < 1e-6), "{found}");
}

#[derive(Deserialize)]
struct Case {
    vectors: Vec<Vec<f64>>,
    classes: Vec<usize>,
    penalty: f64,
    probabilities: Vec<Vec<f64>>,
}

fn matrix(rows: &[Vec<f64>]) -> Array2<f64> {
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(row, column)| rows[row][column])
}

#[test]
fn the_probe_agrees_with_scikit_learn() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden.json")).unwrap();
    for case in cases {
        let data = Labelled { vectors: matrix(&case.vectors), classes: case.classes };
        let probe = Probe::fit(&data, case.probabilities[0].len(), case.penalty);
        let error = probe.probabilities(data.vectors.view()) - matrix(&case.probabilities);
        let worst = error.iter().fold(0.0_f64, |worst, error| worst.max(error.abs()));
        assert!(worst < 2e-3, "penalty {}: {worst}", case.penalty);
    }
}

#[test]
fn the_sweep_finds_a_penalty_between_too_strong_and_too_weak() {
    // Two classes, of which one of sixteen numbers tells; the others are noise.
    let noise = |n: usize| ((n as f64 * 12.9898).sin() * 43758.5453).fract();
    let data = |from: usize, rows: usize| Labelled {
        vectors: Array2::from_shape_fn((rows, 16), |(row, column)| {
            let class = if row % 2 == 0 { 0.5 } else { -0.5 };
            noise((from + row) * 16 + column) + if column == 3 { class } else { 0.0 }
        }),
        classes: (0..rows).map(|row| row % 2).collect(),
    };
    let swept = Probe::sweep(&data(0, 40), &data(1000, 200), 2);
    let best = best_penalty(&swept);
    assert!(best < SWEEP[0] && best > SWEEP[12], "{swept:?}");
    let at = |penalty: f64| swept.iter().find(|swept| swept.penalty == penalty).unwrap();
    assert!(at(best).accuracy > 0.65, "{swept:?}");
    assert!(at(SWEEP[12]).log_loss > 1.5 * at(best).log_loss, "{swept:?}");
}

#[test]
fn prompts_of_a_class_are_averaged_and_of_length_one() {
    let prompts = array![[1.0_f32, 0.0], [0.0, 1.0], [-1.0, 0.0]];
    let classes = class_vectors(prompts.view(), &[0, 0, 1], 2);
    let half = 0.5_f32.sqrt();
    assert!((&classes - &array![[half, half], [-1.0, 0.0]]).iter().all(|error| error.abs() < 1e-6));
    let probabilities = zero_shot(array![[0.0_f32, 1.0]].view(), classes.view(), 10.0);
    let expected = (10.0 * f64::from(half)).exp() / ((10.0 * f64::from(half)).exp() + 1.0);
    assert!((probabilities[[0, 0]] - expected).abs() < 1e-6);
}

#[test]
fn neighbours_vote_by_cosine_and_not_for_themselves() {
    let vectors = array![[1.0_f32, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]];
    let neighbours =
        Neighbours { vectors: vectors.view(), classes: &[0, 1, 1, 0], identities: &[0, 1, 2, 0], count: 2 };
    let vote = Vote { k: 2, temperature: 0.5 };
    let apart = neighbours.vote(array![[1.0_f32, 0.0]].view(), None, vote);
    let weights = [1.0, ((0.8_f64 - 1.0) / 0.5).exp()];
    assert!((apart[[0, 0]] - weights[0] / (weights[0] + weights[1])).abs() < 1e-6, "{apart}");
    // Rows 0 and 3 are of one thing, so neither votes for the other.
    let own = neighbours.vote(vectors.view(), Some(&[0, 1, 2, 0]), vote);
    assert!(own[[0, 1]] > 0.999 && own[[3, 1]] > 0.999, "{own}");
    let alone = Neighbours { vectors: vectors.view(), classes: &[0, 1, 1, 0], identities: &[7; 4], count: 2 };
    assert_eq!(alone.vote(vectors.view(), Some(&[7; 4]), vote)[[0, 0]], 0.5, "nobody may vote");
}
