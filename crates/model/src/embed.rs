use std::collections::BTreeMap;

use ndarray::Array2;
use sensorium_contract::{Batch, Embedder, Embeddings, Name, Pass, PassOutput, Seed, StepContext, host_f32};

use crate::{BatchPlan, Model};

impl Embedder for Model {
    fn embed(&self, batch: &Batch) -> BTreeMap<Name, Embeddings> {
        let passes: Vec<Pass> = self.parts.names.iter().map(Pass::of).collect();
        // Nothing is drawn in undisturbed passes.
        let context = StepContext { seed: Seed::new(0), step: 0 };
        let outputs = self.forward(&BatchPlan::new(batch, &passes, self.preparation(), context));
        let embeddings = |output: PassOutput| {
            let embedding = output.embedding?;
            let [rows, width] = embedding.dims();
            let vectors = Array2::from_shape_vec([rows, width], host_f32(embedding)).ok()?;
            Some((output.plan.pass.modalities[0].clone(), Embeddings { rows: output.plan.rows, vectors }))
        };
        outputs.0.into_iter().filter_map(embeddings).collect()
    }
}
