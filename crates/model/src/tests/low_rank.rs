//! Low-rank changes, and what belongs to a modality alone.

use sensorium_backbone::LowRankConfig;
use sensorium_state::{NamedTensor, export, import};

use super::{
    supervised::{GRADE, cases, graded, said},
    *,
};

const CONFIG: LowRankConfig = LowRankConfig { rank: 2, alpha: 3.0 };

#[test]
fn low_rank_changes_begin_at_nothing_are_learned_and_merge() {
    for topology in ["shared", "fused"] {
        let start = graded(topology, GRADE);
        let names = start.parameters();
        let before = said(&start, &cases(9));
        let model = start.with_low_rank(CONFIG, Seed::new(4), &|_| true);
        assert_eq!(said(&model, &cases(9)).logits, before.logits, "{topology}: to the bit");

        let found = gradients(&model, step(&model, &[batch(&model, &cases(9))]));
        let second = |name: &String| name.ends_with(".low_rank.b");
        assert!(found.keys().filter(|name| second(name)).count() >= 8, "{topology}");
        for (name, gradient) in found.iter().filter(|(name, _)| second(name)) {
            assert!(gradient.as_ref().is_some_and(|all| all.iter().any(|value| *value != 0.0)), "{topology}: {name}");
        }

        let learned = |tensor: NamedTensor| match second(&tensor.name) {
            true => {
                NamedTensor { values: (0..tensor.values.len()).map(|at| (at as f32).sin() / 4.0).collect(), ..tensor }
            }
            false => tensor,
        };
        let tensors = export(&model).into_iter().map(learned).map(|tensor| (tensor.name.clone(), tensor)).collect();
        let model = import(model, &tensors).unwrap();
        let after = said(&model, &cases(9));
        let distance =
            |other: &ndarray::Array2<f32>| (&after.logits - other).fold(0.0, |most: f32, d| most.max(d.abs()));
        assert!(distance(&before.logits) > 1e-3, "{topology}");
        let merged = model.merged();
        assert_eq!(merged.parameters(), names, "{topology}");
        assert!(distance(&said(&merged, &cases(9)).logits) < 1e-5, "{topology}");
    }
}

#[test]
fn a_trunk_can_be_left_without_changes() {
    let model = graded("fused", GRADE).with_low_rank(CONFIG, Seed::new(4), &|trunk| trunk == "towers.1");
    let changed: Vec<String> = model.parameters().into_iter().filter(|name| name.contains("low_rank")).collect();
    assert!(!changed.is_empty() && changed.iter().all(|name| name.contains(".towers.1.")), "{changed:?}");
}

#[test]
fn a_modality_s_own_parameters_are_known() {
    let model = graded("fused", GRADE);
    // The names' order is audio, image, table, text.
    let own = model.parameters_of("image").unwrap();
    for part in ["encoders.1.", "projections.1.", ".towers.1.", ".bridges.1.", ".modality.1"] {
        assert!(own.iter().any(|name| name.contains(part)), "{part}");
    }
    assert!(own.iter().all(|name| !name.contains("joint") && !name.contains("objectives")), "{own:?}");
    assert!(model.parameters_of("picture").is_none());
}
