use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    sync::Arc,
};

use arrow_array::{RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use ndarray::{Array2, ArrayView2, Axis};
use parquet::arrow::ArrowWriter;
use sensorium_contract::Name;
use sensorium_state::{StateError, commit_dir, write_manifest};

use super::{
    DESCRIPTION, Description, Index, IndexOptions, Metric, ModalityDescription,
    graph::Graph,
    shelf::{Files, Shelf, Vectors},
};
use crate::{EmbeddingReader, RetrieveError, Stored};

/// Queries by which recall is measured.
const QUERIES: usize = 256;

/// Makes an index of stored embeddings, takes the place of one that is there, and opens it.
/// `progress` is told how many vectors of how many are done.
///
/// # Errors
/// If the embeddings cannot be read or hold something that is no number, or the index cannot be
/// written; what was under its name is then untouched.
pub fn build(
    embeddings: &Path,
    out: &Path,
    options: &IndexOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Index, RetrieveError> {
    options.check()?;
    let reader = EmbeddingReader::open(embeddings)?;
    commit_dir(out, |directory| fill(&reader, embeddings, directory, options, progress))?;
    Index::open(out)
}

fn fill(
    reader: &EmbeddingReader,
    embeddings: &Path,
    directory: &Path,
    options: &IndexOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), RetrieveError> {
    let counts = reader.counts()?;
    write_shelves(reader, &counts, embeddings, directory, options.metric)?;
    let mut shelves = Vec::new();
    for (name, &rows) in &counts {
        let files = Files::new(directory, name);
        shelves.push((name, Vectors::open(&files.vectors, rows, reader.width())?, files));
    }
    let queries = sample(shelves.iter().map(|(_, vectors, _)| vectors.view()), reader.width());
    let (mut done, all) = (0, reader.rows());
    let mut modalities = BTreeMap::new();
    for (name, vectors, files) in &shelves {
        let (rows, mut recall_at_10) = (vectors.view().nrows(), None);
        if !options.exact {
            let mut step = |more| {
                done += more;
                progress(done, all);
            };
            Graph::build(vectors.view(), options.metric, options.dtype, &files.graph, &mut step)?;
            let shelf = Shelf::open(directory, name, rows, reader.width(), options.metric, Some(options.dtype))?;
            recall_at_10 = Some(shelf.recall(queries.view())?);
        }
        modalities.insert((*name).clone(), ModalityDescription { rows, recall_at_10 });
    }
    let description = Description {
        metric: options.metric,
        graph: (!options.exact).then_some(options.dtype),
        width: reader.width(),
        modalities,
        origin: reader.origin(),
    };
    let path = directory.join(DESCRIPTION);
    let text = serde_json::to_vec_pretty(&description).map_err(|error| RetrieveError::file(&path, &error))?;
    fs::write(&path, text).map_err(|error| StateError::io("write", &path, error))?;
    write_manifest(directory)?;
    progress(all, all);
    Ok(())
}

/// Writes the vectors and items of each modality.
fn write_shelves(
    reader: &EmbeddingReader,
    counts: &BTreeMap<Name, usize>,
    embeddings: &Path,
    directory: &Path,
    metric: Metric,
) -> Result<(), RetrieveError> {
    let mut writers = BTreeMap::new();
    for name in counts.keys() {
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c)) {
            return Err(RetrieveError::Name { path: embeddings.to_owned(), modality: name.to_string() });
        }
        writers.insert(name.to_string(), ShelfWriter::create(Files::new(directory, name))?);
    }
    for stored in reader.batches()? {
        let stored = stored?;
        for (name, writer) in &mut writers {
            let rows: Vec<usize> = (0..stored.len()).filter(|&row| stored.modality(row) == name).collect();
            let mut vectors = stored.vectors().select(Axis(0), &rows);
            for (&row, mut vector) in rows.iter().zip(vectors.outer_iter_mut()) {
                if let Some((place, &value)) = vector.iter().enumerate().find(|(_, value)| !value.is_finite()) {
                    let (key, modality) = (stored.key(row).to_owned(), name.clone());
                    return Err(RetrieveError::NonFinite { path: embeddings.to_owned(), key, modality, place, value });
                }
                metric.prepare(vector.view_mut());
            }
            writer.add(&stored, &rows, &vectors)?;
        }
    }
    writers.into_values().try_for_each(ShelfWriter::finish)
}

/// One modality's files as they grow.
struct ShelfWriter {
    files: Files,
    vectors: BufWriter<File>,
    items: ArrowWriter<File>,
    schema: Arc<Schema>,
}

impl ShelfWriter {
    fn create(files: Files) -> Result<Self, RetrieveError> {
        if let Some(folder) = files.vectors.parent() {
            fs::create_dir(folder).map_err(|error| StateError::io("create", folder, error))?;
        }
        let create = |path: &Path| File::create(path).map_err(|error| StateError::io("create", path, error));
        let text = |name| Field::new(name, DataType::Utf8, false);
        let schema = Arc::new(Schema::new(vec![text("key"), text("source")]));
        let items = ArrowWriter::try_new(create(&files.items)?, schema.clone(), None);
        let items = items.map_err(|error| RetrieveError::unwritten(&files.items, error))?;
        Ok(Self { vectors: BufWriter::new(create(&files.vectors)?), items, schema, files })
    }

    fn add(&mut self, stored: &Stored, rows: &[usize], vectors: &Array2<f32>) -> Result<(), RetrieveError> {
        if rows.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> = vectors.iter().flat_map(|value| value.to_le_bytes()).collect();
        let written = self.vectors.write_all(&bytes);
        written.map_err(|error| StateError::io("write", &self.files.vectors, error))?;
        let keys: StringArray = rows.iter().map(|&row| Some(stored.key(row))).collect();
        let sources: StringArray = rows.iter().map(|&row| Some(stored.source(row))).collect();
        let failed = |error: &dyn std::fmt::Display| RetrieveError::file(&self.files.items, error);
        let batch = RecordBatch::try_new(self.schema.clone(), vec![Arc::new(keys), Arc::new(sources)]);
        let written = self.items.write(&batch.map_err(|error| failed(&error))?);
        written.map_err(|error| RetrieveError::unwritten(&self.files.items, error))
    }

    fn finish(mut self) -> Result<(), RetrieveError> {
        self.vectors.flush().map_err(|error| StateError::io("write", &self.files.vectors, error))?;
        self.items.close().map_err(|error| RetrieveError::unwritten(&self.files.items, error))?;
        Ok(())
    }
}

/// About [`QUERIES`] vectors of all modalities, evenly chosen, `[queries, width]`.
fn sample<'a>(shelves: impl ExactSizeIterator<Item = ArrayView2<'a, f32>>, width: usize) -> Array2<f32> {
    let each = QUERIES.div_ceil(shelves.len().max(1));
    let mut queries = Array2::zeros((0, width));
    for vectors in shelves {
        let count = each.min(vectors.nrows());
        let rows: Vec<usize> = (0..count).map(|number| number * vectors.nrows() / count).collect();
        // Rows of the same width.
        let _ = queries.append(Axis(0), vectors.select(Axis(0), &rows).view());
    }
    queries
}
