//! Vectors of a data set on disk.

use std::path::Path;

use sensorium_contract::{Embedder, Embeddings, Name};
use sensorium_retrieve::{Embedded, EmbeddingParts, Items, Origin};
use sensorium_samples::{Dataset, LoadedBatch, Prepared};
use sensorium_state::checksum;

use crate::{AnyModel, EMBEDDING_BATCH, Error, Samples};

/// Times [`EMBEDDING_BATCH`] samples of one part: what a killed run loses at most. Parts are counted in that measure,
/// whatever is embedded at once.
const PART: u64 = 8;

/// What model and samples embeddings are of.
///
/// # Errors
/// If the model's files cannot be read.
pub fn origin(model: &Path, samples: &Samples, dataset: &Dataset) -> Result<Origin, Error> {
    let Samples { data, fields } = samples.absolute()?;
    Ok(Origin { model: checksum(model)?, samples: dataset.checksum().blake3, data, fields })
}

/// The samples that vectors were made of. What vectors name is opened only to be compared: a file of vectors, or an
/// index of them, can come from anywhere, and name any file of this machine.
///
/// # Errors
/// If they cannot be read any more, or are not what they were.
pub(crate) fn samples_of(origin: &Origin) -> Result<Dataset, Error> {
    let dataset = Samples { data: origin.data.clone(), fields: origin.fields.clone() }.open()?;
    match dataset.checksum().blake3 == origin.samples {
        true => Ok(dataset),
        false => Err(Error::OtherSamples { data: origin.data.join(", ") }),
    }
}

/// Writes the vectors of all samples to the file `out`, or goes on with it where a run was killed.
/// Memory holds some hundred samples. `progress` is told how many samples of how many are done.
///
/// # Errors
/// If too many samples are damaged, none has any of the model's modalities, or the file cannot be
/// written.
pub fn embed_to_file(
    model: &AnyModel,
    data: &Prepared,
    origin: Origin,
    out: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Embedded, Error> {
    let dataset = data.dataset();
    let mut parts = EmbeddingParts::open(out, origin)?;
    let samples_until = |batches: u64| (batches as usize * EMBEDDING_BATCH).min(dataset.len());
    progress(samples_until(parts.done()), dataset.len());
    let batch = model.embedding_batch();
    let each = (batch / EMBEDDING_BATCH) as u64;
    let mut batches = data.sequential_from(batch, parts.done().div_ceil(each)).peekable();
    let (mut items, mut damaged) = (Vec::new(), 0);
    while let Some(loaded) = batches.next() {
        let loaded = loaded?;
        items.extend(items_of(model, dataset, &loaded));
        damaged += loaded.faults.len();
        let end = ((loaded.step + 1) * each).min(dataset.len().div_ceil(EMBEDDING_BATCH) as u64);
        progress(samples_until(end), dataset.len());
        if end.is_multiple_of(PART) || batches.peek().is_none() {
            parts.add(end, std::mem::take(&mut items), std::mem::take(&mut damaged))?;
        }
    }
    if parts.is_empty() {
        parts.discard()?;
        let modalities = data.preparation().modalities.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(Error::NothingToEmbed { modalities });
    }
    Ok(parts.finish()?)
}

/// The vectors of a batch, with where each came from.
fn items_of(model: &impl Embedder, dataset: &Dataset, loaded: &LoadedBatch) -> Vec<Items> {
    let LoadedBatch { batch, samples, .. } = loaded;
    let of = |(name, embeddings): (Name, Embeddings)| Items {
        keys: embeddings.rows.iter().map(|&row| batch.keys[row].clone()).collect(),
        sources: embeddings.rows.iter().map(|&row| dataset.place(samples[row])).collect(),
        content: batch.content(&name, &embeddings.rows),
        modality: name,
        vectors: embeddings.vectors,
    };
    model.embed(batch).into_iter().map(of).collect()
}
