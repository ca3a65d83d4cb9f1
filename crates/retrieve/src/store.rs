//! Vectors on disk: Parquet that pandas, Polars and DuckDB read.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use ndarray::Array2;
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};
use sensorium_contract::Name;

use crate::RetrieveError;

/// Vectors that are written as they come, one row an item and modality: `key`, `modality`, `vector`.
pub struct EmbeddingFile {
    path: PathBuf,
    writer: ArrowWriter<File>,
    schema: Arc<Schema>,
    width: usize,
}

impl EmbeddingFile {
    /// Begins a file of vectors of so many numbers.
    ///
    /// # Errors
    /// [`RetrieveError::Parquet`].
    pub fn create(path: &Path, width: usize) -> Result<Self, RetrieveError> {
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let schema = Arc::new(Schema::new(vec![
            Field::new("key", DataType::Utf8, false),
            Field::new("modality", DataType::Utf8, false),
            Field::new("vector", DataType::FixedSizeList(item, width as i32), false),
        ]));
        let failed = |error: &dyn std::fmt::Display| RetrieveError::parquet(path, error);
        let file = File::create(path).map_err(|error| failed(&error))?;
        // Floats hardly compress.
        let properties = WriterProperties::builder().set_compression(Compression::UNCOMPRESSED).build();
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(|error| failed(&error))?;
        Ok(Self { path: path.to_owned(), writer, schema, width })
    }

    /// Adds the vectors of some items, `[items, width]`.
    ///
    /// # Errors
    /// If they are of another width, or cannot be written.
    pub fn add(&mut self, keys: &[&str], modality: &Name, vectors: Array2<f32>) -> Result<(), RetrieveError> {
        if vectors.ncols() != self.width {
            let (expected, found) = (self.width, vectors.ncols());
            return Err(RetrieveError::Width { modality: modality.clone(), expected, found });
        }
        let failed = |error: &dyn std::fmt::Display| RetrieveError::parquet(&self.path, error);
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let numbers = Float32Array::from(vectors.iter().copied().collect::<Vec<f32>>());
        let lists = FixedSizeListArray::try_new(item, self.width as i32, Arc::new(numbers), None);
        let modalities: StringArray = keys.iter().map(|_| Some(&**modality)).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(keys.iter().copied().map(Some).collect::<StringArray>()),
            Arc::new(modalities),
            Arc::new(lists.map_err(|error| failed(&error))?),
        ];
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| failed(&error))?;
        self.writer.write(&batch).map_err(|error| failed(&error))
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(self) -> Result<(), RetrieveError> {
        self.writer.close().map(|_| ()).map_err(|error| RetrieveError::parquet(&self.path, &error))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{cast::AsArray, types::Float32Type};
    use ndarray::arr2;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    #[test]
    fn vectors_come_back_with_their_keys() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("E.parquet");
        let mut file = EmbeddingFile::create(&path, 2).unwrap();
        file.add(&["a", "b"], &Name::new("text"), arr2(&[[1.0, 2.0], [3.0, -0.5]])).unwrap();
        file.add(&["a"], &Name::new("image"), arr2(&[[0.25, 0.0]])).unwrap();
        let wide = file.add(&["c"], &Name::new("image"), arr2(&[[0.0, 0.0, 0.0]]));
        assert!(matches!(wide, Err(RetrieveError::Width { expected: 2, found: 3, .. })), "{wide:?}");
        file.finish().unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap().build().unwrap();
        let mut rows = Vec::new();
        for batch in reader.map(Result::unwrap) {
            for row in 0..batch.num_rows() {
                let text = |column: usize| batch.column(column).as_string::<i32>().value(row).to_owned();
                let vector = batch.column(2).as_fixed_size_list().value(row);
                rows.push((text(0), text(1), vector.as_primitive::<Float32Type>().values().to_vec()));
            }
        }
        let row = |key: &str, modality: &str, vector: [f32; 2]| (key.to_owned(), modality.to_owned(), vector.to_vec());
        let expected = [row("a", "text", [1.0, 2.0]), row("b", "text", [3.0, -0.5]), row("a", "image", [0.25, 0.0])];
        assert_eq!(rows, expected);
    }
}
