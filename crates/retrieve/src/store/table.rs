use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use ndarray::{Array2, Axis};
use sensorium_contract::Name;

use super::EmbeddingReader;
use crate::{Column, EmbeddingTable, RetrieveError};

impl EmbeddingTable {
    /// The vectors of a file. Rows of equal key and source are one sample; where a file says no
    /// source, rows of equal key are, until a modality comes twice. Without content, no two rows are
    /// taken for equal.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(path: &Path) -> Result<Self, RetrieveError> {
        let reader = EmbeddingReader::open(path)?;
        let mut samples = SampleNumbers::default();
        let mut columns: BTreeMap<String, StoredColumn> = BTreeMap::new();
        let mut row_of_file = 0;
        for stored in reader.batches()? {
            let stored = stored?;
            for (row, vector) in stored.vectors().outer_iter().enumerate() {
                let modality = stored.modality(row);
                let sample = samples.number(stored.key(row), stored.source(row), modality);
                let column = match columns.get_mut(modality) {
                    Some(column) => column,
                    None => columns.entry(modality.to_owned()).or_default(),
                };
                column.rows.push(sample);
                column.content.push(stored.content(row).unwrap_or(row_of_file));
                column.values.extend(vector);
                row_of_file += 1;
            }
        }
        let columns = columns.into_iter().map(|(name, column)| Ok((Name::new(&name), column.sorted(reader.width())?)));
        Self::new(samples.keys, columns.collect::<Result<_, RetrieveError>>()?)
    }
}

/// The samples that rows belong to, numbered as they come.
#[derive(Default)]
struct SampleNumbers {
    keys: Vec<String>,
    /// By key and source: the last such sample, and the modalities that it has.
    last: HashMap<(String, String), (usize, Vec<String>)>,
}

impl SampleNumbers {
    fn number(&mut self, key: &str, source: &str, modality: &str) -> usize {
        let next = self.keys.len();
        let place = (key.to_owned(), source.to_owned());
        let (number, has) = self.last.entry(place).or_insert_with(|| (next, Vec::new()));
        if has.iter().any(|other| other == modality) {
            (*number, *has) = (next, Vec::new());
        }
        has.push(modality.to_owned());
        if *number == next {
            self.keys.push(key.to_owned());
        }
        *number
    }
}

/// A column in the order of the file.
#[derive(Default)]
struct StoredColumn {
    rows: Vec<usize>,
    content: Vec<u64>,
    values: Vec<f32>,
}

impl StoredColumn {
    fn sorted(self, width: usize) -> Result<Column, RetrieveError> {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by_key(|&place| self.rows[place]);
        let vectors = Array2::from_shape_vec((self.rows.len(), width), self.values);
        let vectors = vectors.map_err(|error| RetrieveError::file(Path::new("vectors"), &error))?;
        Ok(Column {
            rows: order.iter().map(|&place| self.rows[place]).collect(),
            content: order.iter().map(|&place| self.content[place]).collect(),
            vectors: vectors.select(Axis(0), &order),
        })
    }
}
