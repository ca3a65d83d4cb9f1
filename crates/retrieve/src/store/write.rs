use std::{
    fmt::Display,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema};
use parquet::{
    arrow::ArrowWriter,
    basic::Compression,
    file::{metadata::KeyValue, properties::WriterProperties},
    schema::types::ColumnPath,
};
use sensorium_state::StateError;

use super::{CONTENT, Items, KEY, MODALITY, ORIGIN, Origin, SOURCE, VECTOR, group_rows};
use crate::RetrieveError;

/// Vectors that are written as they come, one row an item and modality. Memory holds one row group.
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
    /// [`RetrieveError::File`].
    pub fn create(path: &Path, width: usize, origin: &Origin) -> Result<Self, RetrieveError> {
        let failed = |error: &dyn Display| RetrieveError::file(path, error);
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let schema = Arc::new(Schema::new(vec![
            Field::new(KEY, DataType::Utf8, false),
            Field::new(MODALITY, DataType::Utf8, false),
            Field::new(SOURCE, DataType::Utf8, false),
            Field::new(CONTENT, DataType::UInt64, false),
            Field::new(VECTOR, DataType::FixedSizeList(item, width as i32), false),
        ]));
        let origin = serde_json::to_string(origin).map_err(|error| failed(&error))?;
        // Floats hardly compress, and no two are equal.
        let properties = WriterProperties::builder()
            .set_compression(Compression::UNCOMPRESSED)
            .set_column_dictionary_enabled(ColumnPath::new(vec![VECTOR.into(), "list".into(), "item".into()]), false)
            .set_max_row_group_row_count(Some(group_rows(width)))
            .set_key_value_metadata(Some(vec![KeyValue::new(ORIGIN.to_owned(), origin)]))
            .build();
        let file = File::create(path).map_err(|error| StateError::io("create", path, error))?;
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties));
        let writer = writer.map_err(|error| RetrieveError::unwritten(path, error))?;
        Ok(Self { path: path.to_owned(), writer, schema, width })
    }

    /// Adds the vectors of some items.
    ///
    /// # Errors
    /// If they are of another width, or cannot be written.
    pub fn add(&mut self, items: Items) -> Result<(), RetrieveError> {
        let Items { modality, keys, sources, content, vectors } = items;
        if vectors.ncols() != self.width {
            let (expected, found) = (self.width, vectors.ncols());
            return Err(RetrieveError::Width { modality, expected, found });
        }
        let failed = |error: &dyn Display| RetrieveError::file(&self.path, error);
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let numbers = Float32Array::from(vectors.iter().copied().collect::<Vec<f32>>());
        let lists = FixedSizeListArray::try_new(item, self.width as i32, Arc::new(numbers), None);
        let modalities: StringArray = keys.iter().map(|_| Some(&*modality)).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(keys)),
            Arc::new(modalities),
            Arc::new(StringArray::from(sources)),
            Arc::new(UInt64Array::from(content)),
            Arc::new(lists.map_err(|error| failed(&error))?),
        ];
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| failed(&error))?;
        self.add_batch(&batch)
    }

    /// Adds rows of another such file.
    pub(super) fn add_batch(&mut self, rows: &RecordBatch) -> Result<(), RetrieveError> {
        self.writer.write(rows).map_err(|error| RetrieveError::unwritten(&self.path, error))
    }

    /// Keeps a number in the file's metadata.
    pub(super) fn note(&mut self, name: &str, value: usize) {
        self.writer.append_key_value_metadata(KeyValue::new(name.to_owned(), value.to_string()));
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(self) -> Result<(), RetrieveError> {
        self.writer.close().map(|_| ()).map_err(|error| RetrieveError::unwritten(&self.path, error))
    }
}
