use std::error::Error as StdError;

use sensorium_contract::Embedder;
use sensorium_model::Model;
use sensorium_retrieve::{EmbeddingTable, retrieval};
use sensorium_samples::Prepared;
use sensorium_train::{Evaluator, Metric};

use crate::Error;

/// Samples that are embedded at once.
pub const EMBEDDING_BATCH: usize = 64;

/// The vectors of all samples. `progress` is told how many samples of how many are done.
///
/// # Errors
/// If too many samples are damaged.
pub fn embed(
    model: &impl Embedder,
    data: &Prepared,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<EmbeddingTable, Error> {
    let (mut failed, all) = (None, data.dataset().len());
    let batches = data.sequential(EMBEDDING_BATCH).map_while(|loaded| match loaded {
        Ok(loaded) => {
            // The batch before is embedded when the next one is asked for.
            progress(loaded.step as usize * EMBEDDING_BATCH, all);
            Some(loaded.batch)
        }
        Err(error) => {
            failed = Some(error);
            None
        }
    });
    let table = EmbeddingTable::collect(model, batches)?;
    progress(all, all);
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(table),
    }
}

/// Recall of every direction on held-out data, while training.
pub struct RetrievalEvaluator {
    /// The data.
    pub validation: Prepared,
}

impl Evaluator<Model> for RetrievalEvaluator {
    fn name(&self) -> &str {
        "retrieval"
    }

    fn evaluate(&mut self, model: &Model, _step: u64) -> Result<Vec<Metric>, Box<dyn StdError + Send + Sync>> {
        let report = retrieval(&embed(model, &self.validation, &mut |_, _| ())?);
        let mean = report.mean_recall_at_1().map(|mean| ("mean recall@1".to_owned(), mean));
        let metric = |(name, value): (String, f64)| Metric { higher_is_better: !name.ends_with("rank"), name, value };
        Ok(mean.into_iter().chain(report.metrics()).map(metric).collect())
    }
}
