//! A batch in pieces gives what the whole gives.

use sensorium_contract::Sample;

use super::*;

/// Samples of which some lack something, and some share a text or a picture.
fn uneven() -> Vec<Sample> {
    let mut all = samples(9);
    all[0] = without(all[0].clone(), &["audio"]);
    all[1] = without(all[1].clone(), &["image"]);
    all[3] = without(without(all[3].clone(), &["text", "audio"]), &TABLE);
    all[6] = without(all[6].clone(), &["text", "image"]);
    let text = all[2].fields["text"].clone();
    all[7].fields.insert("text".into(), text);
    let picture = all[4].fields["image"].clone();
    all[5].fields.insert("image".into(), picture);
    all
}

/// The third piece is one sample with nothing but a picture.
const PIECES: [std::ops::Range<usize>; 4] = [0..2, 2..3, 3..4, 4..9];

#[track_caller]
fn assert_same(topology: &str, objectives: &[&str]) {
    let model = model(topology, objectives);
    let samples = uneven();
    let whole = step(&model, &[batch(&model, &samples)]);
    let pieces: Vec<Batch> = PIECES.map(|range| batch(&model, &samples[range])).into();
    let pieced = step(&model, &pieces);
    let (expected, found) = (parts(&whole), parts(&pieced));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert!(!found.is_empty());
    for (name, (value, items)) in &found {
        let (expected, expected_items) = expected[name];
        assert_eq!(*items, expected_items, "{name}");
        assert!((value - expected).abs() <= 1e-5 * expected.abs(), "{name}: {value}, expected {expected}");
    }
    let (expected, found) = (gradients(&model, whole), gradients(&model, pieced));
    let norm = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt();
    let all: Vec<f32> = expected.values().flatten().flatten().copied().collect();
    for (name, gradient) in &found {
        let (Some(gradient), Some(expected)) = (gradient, &expected[name]) else {
            assert_eq!(gradient.is_some(), expected[name].is_some(), "{name}");
            continue;
        };
        let difference: Vec<f32> = gradient.iter().zip(expected).map(|(a, b)| a - b).collect();
        // A gradient that nearly cancels is exact to the rounding of what it is the sum of.
        let allowed = 1e-5 * norm(expected) + 1e-7 * norm(&all);
        assert!(norm(&difference) <= allowed, "{name}: {} of {}", norm(&difference), norm(expected));
    }
}

#[test]
fn contrastive() {
    assert_same("shared", &[CONTRASTIVE]);
    assert_same("towers", &["[[objectives]]\nkind = \"contrastive\"\nduplicates = \"ignored\"\n"]);
}

#[test]
fn pairwise_sigmoid() {
    assert_same("shared", &[SIGMOID]);
}

#[test]
fn masked_alone() {
    assert_same("shared", &[MASKED]);
}

#[test]
fn masked_joint() {
    assert_same("shared", &[MASKED_JOINT]);
    assert_same("fused", &[MASKED_JOINT]);
}

#[test]
fn all_together() {
    assert_same("fused", &[CONTRASTIVE, MASKED, MASKED_JOINT, SIGMOID]);
}

/// The samples that do not belong together are drawn within a piece, so that the loss is another one than
/// that of the whole: the mean over the pieces' items.
#[test]
fn matching_is_the_mean_of_the_pieces() {
    let model = model("fused", &[MATCHING, CONTRASTIVE]);
    let samples = samples(8);
    let pieces: Vec<Batch> = [0..2, 2..5, 5..8].map(|range| batch(&model, &samples[range])).into();
    let (found, items) = parts(&step(&model, &pieces))["matching image + text"];
    let mean = pieces.iter().map(|piece| {
        let (value, items) = parts(&step(&model, std::slice::from_ref(piece)))["matching image + text"];
        value * items as f32 / 16.0
    });
    let mean: f32 = mean.sum();
    assert_eq!(items, 16);
    assert!((found - mean).abs() < 1e-5 * mean, "{found}, {mean}");
}

#[test]
fn nothing_gives_nothing() {
    let model = model("shared", &[CONTRASTIVE, MASKED]);
    let nothing = step(&model, &[]);
    assert!(nothing.loss.parts.is_empty());
    assert!(gradients(&model, nothing).values().all(Option::is_none));
    let empty: Vec<Sample> =
        samples(2).into_iter().map(|sample| Sample { fields: BTreeMap::new(), ..sample }).collect();
    assert!(step(&model, &[batch(&model, &empty)]).loss.parts.is_empty());
    let piece = batch(&model, &empty);
    assert!(step(&model, &[piece.clone(), piece]).loss.parts.is_empty());
}

#[test]
fn held_out_losses_have_constants_where_they_can() {
    let model = model("fused", &[CONTRASTIVE, MASKED, MASKED_JOINT, MATCHING]);
    let batches = [batch(&model, &samples(5)), batch(&model, &samples(12)[5..])];
    let found = model.evaluate(&mut batches.into_iter(), context());
    assert!(found.len() > 10);
    for summary in found {
        assert!(summary.value.is_finite() && summary.items > 0, "{summary:?}");
        assert_eq!(summary.constant.is_some(), !summary.name.starts_with("contrastive"), "{summary:?}");
        if summary.name.starts_with("matching") {
            assert!((summary.constant.unwrap() - 2_f32.ln()).abs() < 1e-6);
        }
    }
}

#[test]
fn an_objective_of_every_fourth_step_is_absent_from_the_others() {
    let model = model("shared", &[CONTRASTIVE, "[[objectives]]\nkind = \"masked-modelling\"\nevery = 4\n"]);
    let whole = batch(&model, &samples(4));
    let pieces = [batch(&model, &samples(4)[..2]), batch(&model, &samples(4)[2..])];
    for (step, present) in [(7, false), (8, true)] {
        for pieces in [std::slice::from_ref(&whole), &pieces] {
            let found = model.gradients(pieces, StepContext { step, ..context() });
            assert_eq!(found.loss.parts.iter().any(|part| part.name.starts_with("masked")), present, "{step}");
            let heads = gradients(&model, found)
                .iter()
                .filter(|(name, _)| name.starts_with("objectives.1."))
                .all(|(_, g)| g.is_some());
            assert_eq!(heads, present, "{step}");
        }
        let held_out = model.evaluate(&mut std::iter::once(whole.clone()), StepContext { step, ..context() });
        assert!(held_out.iter().any(|summary| summary.name.starts_with("masked")));
    }
}
