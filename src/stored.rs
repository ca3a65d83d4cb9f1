//! Vectors of a data set on disk.

use std::path::Path;

use sensorium_contract::{Batch, Embedder};
use sensorium_retrieve::{Embedded, EmbeddingParts, Items, Origin};
use sensorium_samples::{Dataset, LoadedBatch, Prepared};
use sensorium_state::checksum;

use crate::{EMBEDDING_BATCH, Error, Samples};

/// Batches of one part: what a killed run loses at most.
const PART: u64 = 8;

/// What model and samples embeddings are of.
///
/// # Errors
/// If the model's files cannot be read.
pub fn origin(model: &Path, samples: &Samples, dataset: &Dataset) -> Result<Origin, Error> {
    let Samples { data, fields } = samples.absolute()?;
    Ok(Origin { model: checksum(model)?, samples: dataset.checksum().blake3, data, fields })
}

/// Writes the vectors of all samples to the file `out`, or goes on with it where a run was killed.
/// Memory holds some hundred samples. `progress` is told how many samples of how many are done.
///
/// # Errors
/// If too many samples are damaged, none has any of the model's modalities, or the file cannot be
/// written.
pub fn embed_to_file(
    model: &impl Embedder,
    data: &Prepared,
    origin: Origin,
    out: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Embedded, Error> {
    let dataset = data.dataset();
    let mut parts = EmbeddingParts::open(out, origin)?;
    let samples_until = |batches: u64| (batches as usize * EMBEDDING_BATCH).min(dataset.len());
    progress(samples_until(parts.done()), dataset.len());
    let mut batches = data.sequential_from(EMBEDDING_BATCH, parts.done()).peekable();
    let mut waiting: Vec<LoadedBatch> = Vec::new();
    let mut names = Vec::new();
    let mut vectors = Vec::new();
    while let Some(loaded) = batches.next() {
        let loaded = loaded?;
        for (name, embeddings) in model.embed(&loaded.batch) {
            vectors.push((waiting.len(), embeddings));
            names.push(name);
        }
        let end = loaded.step + 1;
        waiting.push(loaded);
        progress(samples_until(end), dataset.len());
        if end % PART == 0 || batches.peek().is_none() {
            let items = names.iter().zip(vectors.drain(..)).map(|(name, (place, embeddings))| {
                let LoadedBatch { batch, samples, .. } = &waiting[place];
                let rows = &embeddings.rows;
                let source = |row: &usize| dataset.place(samples[*row]);
                Items {
                    modality: name,
                    keys: keys(batch, rows),
                    sources: rows.iter().map(source).collect(),
                    content: batch.content(name, rows),
                    vectors: embeddings.vectors,
                }
            });
            parts.add(end, items.collect(), waiting.iter().map(|loaded| loaded.faults.len()).sum())?;
            names.clear();
            waiting.clear();
        }
    }
    if parts.is_empty() {
        parts.discard()?;
        let modalities = data.preparation().modalities.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(Error::NothingToEmbed { modalities });
    }
    Ok(parts.finish()?)
}

fn keys<'a>(batch: &'a Batch, rows: &[usize]) -> Vec<&'a str> {
    rows.iter().map(|&row| &*batch.keys[row]).collect()
}
