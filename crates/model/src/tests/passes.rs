//! What may, and what may not, depend on what.

use std::collections::BTreeMap;

use sensorium_contract::{Embedder, Name, Sample, Value};
use sensorium_state::export;

use super::*;

/// Vectors by modality and key.
fn vectors(model: &Model, samples: &[Sample]) -> BTreeMap<(Name, String), Vec<f32>> {
    let batch = batch(model, samples);
    let mut found = BTreeMap::new();
    for (name, embeddings) in model.embed(&batch) {
        for (row, vector) in embeddings.rows.iter().zip(embeddings.vectors.rows()) {
            found.insert((name.clone(), batch.keys[*row].clone()), vector.to_vec());
        }
    }
    found
}

#[track_caller]
fn assert_close(a: &[f32], b: &[f32], tolerance: f32, what: &dyn std::fmt::Debug) {
    let distance = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(a.len() == b.len() && distance <= tolerance, "{what:?}: {distance}");
}

#[test]
fn a_vector_has_length_one() {
    for (what, vector) in vectors(&model("fused", &[CONTRASTIVE]), &samples(3)) {
        let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        assert!((length - 1.0).abs() < 1e-5, "{what:?}: {length}");
    }
}

#[test]
fn a_shared_trunk_is_one_trunk() {
    let model = model("shared", &[CONTRASTIVE, MASKED]);
    let trunk: usize = export(&model)
        .iter()
        .filter(|tensor| tensor.name.contains("trunk.") && tensor.name.starts_with("trunks."))
        .map(|tensor| tensor.values.len())
        .sum();
    let (width, hidden) = (12, 48);
    let attention = width * 3 * width + 3 * width + width * width + width;
    let feed_forward = width * hidden + hidden + hidden * width + width;
    let block = attention + feed_forward + 2 * 2 * width;
    assert_eq!(trunk, 2 * block + 2 * width);
    let all: usize = export(&model).iter().filter(|t| t.name.starts_with("trunks.")).map(|t| t.values.len()).sum();
    assert_eq!(all, trunk + 4 * width, "beside the trunk there is one vector a modality");
}

#[test]
fn every_modality_moves_the_shared_trunk() {
    let model = model("shared", &[MASKED]);
    for fields in [
        ["text", "audio", "table"],
        ["image", "audio", "table"],
        ["image", "text", "table"],
        ["image", "text", "audio"],
    ] {
        let absent = |sample| match fields.contains(&"table") {
            true => without(without(sample, &fields), &TABLE),
            false => without(sample, &fields),
        };
        let only: Vec<Sample> = samples(4).into_iter().map(absent).collect();
        let batch = batch(&model, &only);
        assert_eq!(batch.parts.len(), 1, "{:?}", batch.parts.keys());
        moves_the_trunk(&model, &batch);
    }
}

#[test]
fn every_pair_moves_the_shared_trunk() {
    let model = model("shared", &[CONTRASTIVE]);
    for absent in [["image", "text"], ["audio", "text"], ["image", "audio"]] {
        let pair: Vec<Sample> = samples(4).into_iter().map(|sample| without(sample, &absent)).collect();
        moves_the_trunk(&model, &batch(&model, &pair));
    }
}

#[track_caller]
fn moves_the_trunk(model: &Model, batch: &Batch) {
    for (name, gradient) in gradients(model, step(model, std::slice::from_ref(batch))) {
        if !name.contains("trunk.blocks") {
            continue;
        }
        let largest = gradient.unwrap_or_default().iter().fold(0.0, |most: f32, value| most.max(value.abs()));
        assert!(largest > 0.0, "{name} stands still for {:?}", batch.parts.keys());
    }
}

#[test]
fn a_caption_changes_no_picture() {
    for topology in ["shared", "towers", "fused"] {
        let joint: &[&str] = if topology == "towers" { &[CONTRASTIVE] } else { &[CONTRASTIVE, MASKED_JOINT, MATCHING] };
        let model = model(topology, joint);
        let before = samples(5);
        let mut after = before.clone();
        after[2].fields.insert("text".into(), Value::Text("something else".into()));
        let (before, after) = (vectors(&model, &before), vectors(&model, &after));
        for (what, vector) in &before {
            let changed = *what == ("text".into(), "sample-2".to_owned());
            // Of other texts, too, which may be padded to another length now.
            assert_eq!(after[what] != *vector, changed, "{topology} {what:?}");
        }
    }
}

#[test]
fn padding_and_order_change_no_vector() {
    for topology in ["shared", "towers", "causal", "fused"] {
        let model = model(topology, &[CONTRASTIVE]);
        let together = vectors(&model, &samples(6));
        let alone: BTreeMap<_, _> =
            samples(6).iter().flat_map(|one| vectors(&model, std::slice::from_ref(one))).collect();
        assert_eq!((together.len(), alone.len()), (24, 24));
        let mut reversed = samples(6);
        reversed.reverse();
        let reversed = vectors(&model, &reversed);
        for (what, vector) in &together {
            assert_close(vector, &alone[what], 1e-6, &(topology, "padding", what));
            assert_close(vector, &reversed[what], 1e-6, &(topology, "order", what));
        }
    }
}

#[test]
fn the_order_of_samples_changes_no_loss() {
    let model = model("shared", &[CONTRASTIVE, MASKED, MASKED_JOINT]);
    let mut turned = samples(6);
    let straight = parts(&step(&model, &[batch(&model, &turned)]));
    turned.rotate_left(2);
    for (name, (value, items)) in parts(&step(&model, &[batch(&model, &turned)])) {
        let (expected, expected_items) = straight[&name];
        assert_eq!(items, expected_items, "{name}");
        assert!((value - expected).abs() <= 1e-5 * expected.abs(), "{name}: {value}, {expected}");
    }
}

#[test]
fn an_absent_modality_changes_no_other() {
    let model = model("shared", &[CONTRASTIVE, MASKED_JOINT]);
    let whole = vectors(&model, &samples(5));
    for (name, fields) in [("image", &["image"][..]), ("text", &["text"]), ("audio", &["audio"]), ("table", &TABLE)] {
        let mut partial = samples(5);
        partial[1] = without(partial[1].clone(), fields);
        let mut expected = whole.clone();
        expected.remove(&(name.into(), "sample-1".to_owned())).unwrap();
        let found = vectors(&model, &partial);
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (what, vector) in &found {
            // Of the others bit for bit; of its own in smaller products.
            let tolerance = if &*what.0 == name { 1e-6 } else { 0.0 };
            assert_close(vector, &expected[what], tolerance, &(name, what));
        }
    }
}

#[test]
fn what_only_an_absent_modality_uses_gets_no_gradient() {
    let joint = "[[objectives]]\nkind = \"masked-modelling\"\npasses = [[\"image\", \"text\"], [\"text\", \"table\"], [\"text\", \"audio\"]]\n";
    // Of `audio`, the first modality; of its pairs, the first three; and of the passes that read it.
    let own = [
        "encoders.0.",
        "projections.0.",
        "trunks.Fused.towers.0.",
        "trunks.Fused.bridges.0.",
        "trunks.Fused.modality.0",
        "trunks.Shared.modality.0",
        "objectives.0.Contrastive.log_scale.0",
        "objectives.0.Contrastive.log_scale.1",
        "objectives.0.Contrastive.log_scale.2",
        "objectives.1.PairwiseSigmoid.log_scale.0",
        "objectives.1.PairwiseSigmoid.log_scale.1",
        "objectives.1.PairwiseSigmoid.log_scale.2",
        "objectives.1.PairwiseSigmoid.bias.0",
        "objectives.1.PairwiseSigmoid.bias.1",
        "objectives.1.PairwiseSigmoid.bias.2",
        "objectives.2.MaskedModelling.heads.0.",
        "objectives.3.MaskedModelling.heads.6.",
        "objectives.3.MaskedModelling.heads.7.",
    ];
    for topology in ["shared", "fused"] {
        let model = model(topology, &[CONTRASTIVE, SIGMOID, MASKED, joint]);
        let full = gradients(&model, step(&model, &[batch(&model, &samples(4))]));
        assert_eq!(lacking(&full), [""; 0], "{topology}");
        let partial: Vec<Sample> = samples(4).into_iter().map(|sample| without(sample, &["audio"])).collect();
        let found = gradients(&model, step(&model, &[batch(&model, &partial)]));
        let is_own = |name: &&String| own.iter().any(|prefix| name.starts_with(prefix));
        assert_eq!(lacking(&found), full.keys().filter(is_own).cloned().collect::<Vec<_>>(), "{topology}");
    }
}

fn lacking(gradients: &BTreeMap<String, Option<Vec<f32>>>) -> Vec<String> {
    gradients.iter().filter(|(_, gradient)| gradient.is_none()).map(|(name, _)| name.clone()).collect()
}

#[test]
fn towers_cannot_read_together() {
    let architecture: Architecture = toml::from_str(&recipe("towers", &[MATCHING])).unwrap();
    let modalities = Modalities::fit(&architecture.modalities, &|| Box::new(samples(12).into_iter())).unwrap();
    let error = Model::new(&architecture, modalities, Seed::new(3), &Device::flex()).unwrap_err();
    assert!(error.to_string().contains("take `shared` or `fused`"), "{error}");
}

#[test]
fn padding_and_order_count_no_flops() {
    for topology in ["shared", "towers", "fused"] {
        let objectives: &[&str] =
            if topology == "towers" { &[CONTRASTIVE, MASKED] } else { &[CONTRASTIVE, MASKED_JOINT] };
        let model = model(topology, objectives);
        let samples = samples(4);
        let flops = |samples: &[Sample]| model.flops(&batch(&model, samples), context());
        let apart: f64 = samples.iter().map(|sample| flops(std::slice::from_ref(sample))).sum();
        let together = flops(&samples);
        assert!((together - apart).abs() < 1e-6 * apart, "{topology}: {together} together, {apart} one by one");
    }
}

#[test]
fn flops_are_those_of_the_products() {
    let model = model("shared", &[CONTRASTIVE]);
    let picture = without(sample(0), &["text", "audio", "size", "weight", "colour"]);
    // 2 layers of width 12: queries, keys, values and output, a hidden layer 4 times as wide, attention.
    let forward = |tokens: f64| 2.0 * 2.0 * (tokens * (4.0 + 8.0) * 144.0 + 2.0 * tokens * tokens * 12.0);
    let tokens = model.preparation().modalities[&Name::new("image")].max_tokens() as f64;
    assert_eq!(model.flops(&batch(&model, &[picture]), context()), 3.0 * forward(tokens));
}
