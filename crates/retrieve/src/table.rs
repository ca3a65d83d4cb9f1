use std::collections::{BTreeMap, HashMap};

use ndarray::{Array2, Axis};
use sensorium_contract::{Batch, Embedder, Name};

use crate::RetrieveError;

/// The vectors of one modality (or of several, [fused](EmbeddingTable::fuse)).
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Which sample each vector belongs to, ascending.
    pub rows: Vec<usize>,
    /// Equal for equal raw content, one a row.
    pub content: Vec<u64>,
    /// `[rows, embedding]`, each of length 1.
    pub vectors: Array2<f32>,
}

/// The vectors of a data set's samples. A sample may lack any modality.
///
/// Samples of equal key are the same thing (the same case, the same emoji drawn twice): each is a
/// partner of the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EmbeddingTable {
    keys: Vec<String>,
    /// For each sample, the first sample of equal key.
    identities: Vec<usize>,
    columns: BTreeMap<Name, Column>,
}

impl EmbeddingTable {
    /// A table of given vectors.
    ///
    /// # Errors
    /// If a column's parts differ in length, its rows are not ascending sample numbers, or columns
    /// differ in width.
    pub fn new(keys: Vec<String>, columns: BTreeMap<Name, Column>) -> Result<Self, RetrieveError> {
        let mut width = None;
        for (name, column) in &columns {
            let rows = column.rows.len();
            let ascending =
                column.rows.is_sorted_by(|a, b| a < b) && column.rows.last().is_none_or(|&r| r < keys.len());
            if !ascending || column.content.len() != rows || column.vectors.nrows() != rows {
                return Err(RetrieveError::Shape {
                    modality: name.clone(),
                    rows,
                    content: column.content.len(),
                    vectors: column.vectors.nrows(),
                    samples: keys.len(),
                });
            }
            check_width(name, *width.get_or_insert(column.vectors.ncols()), column.vectors.ncols())?;
        }
        let mut first = HashMap::new();
        let identities = keys.iter().enumerate().map(|(row, key)| *first.entry(key.as_str()).or_insert(row)).collect();
        Ok(Self { identities, keys, columns })
    }

    /// The vectors that `embedder` gives for all samples of `batches`.
    ///
    /// # Errors
    /// If vectors differ in width.
    pub fn collect<E: Embedder + ?Sized>(
        embedder: &E,
        batches: impl IntoIterator<Item = Batch>,
    ) -> Result<Self, RetrieveError> {
        let mut keys = Vec::new();
        let mut growing: BTreeMap<Name, Growing> = BTreeMap::new();
        for batch in batches {
            for (name, embeddings) in embedder.embed(&batch) {
                let content = batch.content(&name, &embeddings.rows);
                let found = embeddings.vectors.ncols();
                let column = growing.entry(name.clone()).or_insert_with(|| Growing::new(found));
                check_width(&name, column.width, found)?;
                column.rows.extend(embeddings.rows.iter().map(|row| row + keys.len()));
                column.content.extend(content);
                column.values.extend(embeddings.vectors.iter());
            }
            keys.extend(batch.keys);
        }
        Self::new(keys, growing.into_iter().map(|(name, column)| (name, column.finish())).collect())
    }

    /// The key of each sample.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The modalities that any sample has, in the order of their names.
    pub fn modalities(&self) -> impl Iterator<Item = &Name> {
        self.columns.keys()
    }

    /// The vectors of one modality.
    ///
    /// # Errors
    /// If there are none.
    pub fn column(&self, modality: &Name) -> Result<&Column, RetrieveError> {
        self.columns.get(modality).ok_or_else(|| RetrieveError::NoModality {
            modality: modality.clone(),
            present: self.columns.keys().map(|name| &**name).collect::<Vec<_>>().join(", "),
        })
    }

    /// One vector for each sample that has all of the modalities: the mean of their unit vectors,
    /// of length 1 again. Two such samples have equal content if they agree in every modality.
    ///
    /// # Errors
    /// If there are no vectors of one of them.
    pub fn fuse(&self, modalities: &[Name]) -> Result<Column, RetrieveError> {
        let columns = modalities.iter().map(|name| self.column(name)).collect::<Result<Vec<_>, _>>()?;
        let place = |column: &Column, row: &usize| column.rows.binary_search(row).ok();
        let (Some(first), width) = (columns.first(), self.width()) else {
            return Ok(Column { rows: Vec::new(), content: Vec::new(), vectors: Array2::zeros((0, self.width())) });
        };
        let rows: Vec<usize> =
            first.rows.iter().copied().filter(|row| columns.iter().all(|c| place(c, row).is_some())).collect();
        let mut vectors = Array2::zeros((rows.len(), width));
        let mut content = vec![0; rows.len()];
        for column in columns {
            // Rows were chosen so that each has its place.
            let places: Vec<usize> = rows.iter().filter_map(|row| place(column, row)).collect();
            vectors += &column.vectors.select(Axis(0), &places);
            for (sum, place) in content.iter_mut().zip(places) {
                *sum = mix(*sum, column.content[place]);
            }
        }
        for mut vector in vectors.rows_mut() {
            let length = vector.dot(&vector).sqrt();
            vector /= length.max(f32::MIN_POSITIVE);
        }
        Ok(Column { rows, content, vectors })
    }

    /// For each row of a column, a number that is the same for samples of equal key.
    pub fn identities(&self, column: &Column) -> Vec<usize> {
        column.rows.iter().map(|&row| self.identities[row]).collect()
    }

    /// Numbers in a vector.
    fn width(&self) -> usize {
        self.columns.values().next().map_or(0, |column| column.vectors.ncols())
    }
}

/// A column to which batches are still added.
struct Growing {
    rows: Vec<usize>,
    content: Vec<u64>,
    values: Vec<f32>,
    width: usize,
}

impl Growing {
    fn new(width: usize) -> Self {
        Self { rows: Vec::new(), content: Vec::new(), values: Vec::new(), width }
    }

    fn finish(self) -> Column {
        // Each batch was checked to bring `width` numbers a row, so the shape always fits; an
        // embedder that gave fewer vectors than rows is found by `EmbeddingTable::new`.
        let vectors = self.values.len().checked_div(self.width).unwrap_or(0);
        let vectors = Array2::from_shape_vec((vectors, self.width), self.values).unwrap_or_default();
        Column { rows: self.rows, content: self.content, vectors }
    }
}

fn check_width(modality: &Name, expected: usize, found: usize) -> Result<(), RetrieveError> {
    if expected == found {
        return Ok(());
    }
    Err(RetrieveError::Width { modality: modality.clone(), expected, found })
}

/// Adds one content hash to a combined one (the finaliser of splitmix64).
fn mix(sum: u64, content: u64) -> u64 {
    let mut z = (sum ^ content).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
