use ndarray::{Array2, s};
use sensorium_contract::{Array, Embedder, Name};

use super::*;

fn difference(a: &Array2<f32>, b: &Array2<f32>) -> f32 {
    (a - b).iter().fold(0.0, |most, error| most.max(error.abs()))
}

#[test]
fn a_token_that_is_left_out_leaves_no_trace() {
    for topology in ["shared", "towers", "fused"] {
        let model = model(topology, &[CONTRASTIVE]).valid();
        let name = Name::new("image");
        let batch = batch(&model, &samples(1));
        let arrays = batch.arrays(&name, &[0]);
        let tokens = model.token_count(&name, &arrays);
        assert_eq!(tokens, 5, "the class token and four patches");
        let all = Array2::from_elem((1, tokens), true);
        let whole = model.embed_kept(&name, &arrays, &all);
        assert!(difference(&whole, &model.embed(&batch)[&name].vectors) < 1e-6, "{topology}");
        let mut kept = all.clone();
        kept[[0, 3]] = false;
        let without = model.embed_kept(&name, &arrays, &kept);
        assert!(difference(&whole, &without) > 1e-4, "{topology}: the patch did matter");
        let mut patches = arrays.f32("patches").clone();
        patches.slice_mut(s![0, 2, ..]).fill(9.0);
        let changed = arrays.clone().with("patches", Array::F32(patches));
        assert!(difference(&whole, &model.embed_kept(&name, &changed, &all)) > 1e-4, "{topology}");
        assert!(difference(&without, &model.embed_kept(&name, &changed, &kept)) < 1e-6, "{topology}");
    }
}
