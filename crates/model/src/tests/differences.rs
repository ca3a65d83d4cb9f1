//! Gradients against differences of the loss.

use sensorium_state::{NamedTensor, export, import};

use super::*;

fn total(model: &Model, batch: &Batch) -> f64 {
    let parts = model.losses(batch, context()).parts;
    parts.iter().map(|part| f64::from(part.value.clone().into_scalar::<f32>()) * f64::from(part.weight)).sum()
}

/// Moves every parameter along its own gradient and compares the change of the loss with the gradient's norm.
#[track_caller]
fn assert_gradients(topology: &str, objectives: &[&str]) {
    let model = model(topology, objectives);
    let batch = batch(&model, &samples(5));
    let weights: BTreeMap<String, NamedTensor> =
        export(&model).into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
    let at = |name: &str, direction: &[f32], step: f32| {
        let mut moved = weights.clone();
        let values = &mut moved.get_mut(name).unwrap().values;
        values.iter_mut().zip(direction).for_each(|(value, by)| *value += by * step);
        total(&import(model.valid(), &moved).unwrap(), &batch)
    };
    let mut checked = 0;
    for (name, gradient) in gradients(&model, step(&model, std::slice::from_ref(&batch))) {
        let Some(gradient) = gradient else {
            let unused = name.ends_with("hidden") && !objectives.concat().contains("masked");
            assert!(unused, "{topology}: {name} has no gradient");
            continue;
        };
        let norm = gradient.iter().map(|value| value * value).sum::<f32>().sqrt();
        if norm < 1e-3 {
            continue;
        }
        let direction: Vec<f32> = gradient.iter().map(|value| value / norm).collect();
        // Large steps suffer from curvature, small ones from rounding: one of them must fit.
        let slope = |step: f32| (at(&name, &direction, step) - at(&name, &direction, -step)) / (2.0 * f64::from(step));
        let slopes = [3e-3, 1e-3, 1e-2, 3e-2].map(slope);
        let fits = |slope: &f64| (slope - f64::from(norm)).abs() < 0.02 * f64::from(norm) + 3e-4;
        assert!(slopes.iter().any(fits), "{topology}: {name}: norm {norm}, slopes {slopes:?}");
        checked += 1;
    }
    assert!(checked > 40, "{topology}: {checked}");
}

#[test]
fn shared() {
    assert_gradients("shared", &[CONTRASTIVE, MASKED, MASKED_JOINT, MATCHING]);
}

#[test]
fn towers() {
    assert_gradients("towers", &[SIGMOID, MASKED]);
}

#[test]
fn fused() {
    assert_gradients("fused", &[CONTRASTIVE, SIGMOID, MASKED_JOINT, MATCHING]);
}

#[test]
fn causal() {
    assert_gradients("causal", &[CONTRASTIVE]);
}
