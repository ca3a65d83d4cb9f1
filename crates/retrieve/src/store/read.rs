use std::{
    collections::BTreeMap,
    fmt::Display,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow_array::{
    Array, ArrayRef, RecordBatch, StringArray,
    cast::AsArray,
    types::{Float32Type, UInt64Type},
};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field};
use ndarray::{Array2, ArrayView2};
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{
        ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    },
};
use sensorium_contract::Name;

use super::{CONTENT, KEY, MODALITY, ORIGIN, Origin, SOURCE, VECTOR, group_rows};
use crate::RetrieveError;

/// A file of vectors, of this program or of another: `key`, `modality` and `vector` must be there,
/// `source` and `content` may. Vectors may be lists of any kind of numbers, if all are of one length.
pub struct EmbeddingReader {
    path: PathBuf,
    file: File,
    metadata: ArrowReaderMetadata,
    width: usize,
}

impl EmbeddingReader {
    /// Reads what the file says of itself.
    ///
    /// # Errors
    /// [`RetrieveError::File`] if it is none, lacks a column, or holds no vectors.
    pub fn open(path: &Path) -> Result<Self, RetrieveError> {
        let failed = |error: &dyn Display| RetrieveError::file(path, error);
        let file = File::open(path).map_err(|error| failed(&error))?;
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|error| failed(&error))?;
        for needed in [KEY, MODALITY, VECTOR] {
            metadata.schema().field_with_name(needed).map_err(|_| {
                let found: Vec<&str> = metadata.schema().fields().iter().map(|field| field.name().as_str()).collect();
                failed(&format!("it has no column `{needed}`; it has {}", found.join(", ")))
            })?;
        }
        let mut reader = Self { path: path.to_owned(), file, metadata, width: 0 };
        reader.width = reader.find_width()?;
        Ok(reader)
    }

    /// Numbers in a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.metadata.metadata().file_metadata().num_rows() as usize
    }

    /// Where the vectors come from, if the file says it.
    pub fn origin(&self) -> Option<Origin> {
        serde_json::from_str(self.note(ORIGIN)?).ok()
    }

    pub(super) fn note(&self, name: &str) -> Option<&str> {
        let notes = self.metadata.metadata().file_metadata().key_value_metadata()?;
        notes.iter().find(|note| note.key == name)?.value.as_deref()
    }

    /// How many vectors there are of each modality.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn counts(&self) -> Result<BTreeMap<Name, usize>, RetrieveError> {
        let mut counts = BTreeMap::new();
        for batch in self.read(&[MODALITY])? {
            let batch = batch.map_err(|error| self.failed(&error))?;
            for modality in self.texts(&batch, MODALITY)?.iter().flatten() {
                match counts.get_mut(modality) {
                    Some(count) => *count += 1,
                    None => _ = counts.insert(modality.to_owned(), 1),
                }
            }
        }
        Ok(counts.into_iter().map(|(name, count)| (Name::new(&name), count)).collect())
    }

    /// All rows in order, some thousand at a time.
    ///
    /// # Errors
    /// If the file is damaged, or vectors are not all of one length.
    pub fn batches(&self) -> Result<impl Iterator<Item = Result<Stored, RetrieveError>> + '_, RetrieveError> {
        let batches = self.read(&[KEY, MODALITY, SOURCE, CONTENT, VECTOR])?;
        Ok(batches.map(|batch| self.stored(&batch.map_err(|error| self.failed(&error))?)))
    }

    /// All rows as they are.
    pub(super) fn raw(&self) -> Result<impl Iterator<Item = Result<RecordBatch, RetrieveError>> + '_, RetrieveError> {
        let batches = self.read(&[KEY, MODALITY, SOURCE, CONTENT, VECTOR])?;
        Ok(batches.map(|batch| batch.map_err(|error| self.failed(&error))))
    }

    fn read(&self, columns: &[&str]) -> Result<ParquetRecordBatchReader, RetrieveError> {
        let file = self.file.try_clone().map_err(|error| self.failed(&error))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        let wanted = columns.iter().filter_map(|column| self.metadata.schema().index_of(column).ok());
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
        let batch = group_rows(self.width);
        builder.with_projection(mask).with_batch_size(batch).build().map_err(|error| self.failed(&error))
    }

    fn find_width(&self) -> Result<usize, RetrieveError> {
        let found = self.metadata.schema().field_with_name(VECTOR).map_err(|error| self.failed(&error))?.data_type();
        if let DataType::FixedSizeList(_, width) = found {
            return Ok(*width as usize);
        }
        let first = self.read(&[VECTOR])?.next().transpose().map_err(|error| self.failed(&error))?;
        let first = first.as_ref().and_then(|batch| batch.column_by_name(VECTOR)).filter(|column| !column.is_empty());
        let first = first.ok_or_else(|| self.failed(&"it holds no vectors"))?;
        match first.data_type() {
            DataType::List(_) => Ok(first.as_list::<i32>().value_length(0) as usize),
            DataType::LargeList(_) => Ok(first.as_list::<i64>().value_length(0) as usize),
            other => Err(self.failed(&format!("`{VECTOR}` must hold lists of numbers, it holds {other}"))),
        }
    }

    fn stored(&self, batch: &RecordBatch) -> Result<Stored, RetrieveError> {
        let number = Arc::new(Field::new("item", DataType::Float32, true));
        let lists = self.column(batch, VECTOR, &DataType::FixedSizeList(number, self.width as i32))?;
        let lists = lists.as_fixed_size_list();
        let numbers = lists.values().as_primitive::<Float32Type>();
        if numbers.null_count() > 0 || lists.null_count() > 0 {
            return Err(self.failed(&"a vector is missing, or a number of one"));
        }
        let start = lists.value_offset_at(0) * self.width;
        let numbers = numbers.values()[start..].iter().take(batch.num_rows() * self.width).copied().collect();
        let vectors = Array2::from_shape_vec((batch.num_rows(), self.width), numbers);
        let optional = |name| batch.column_by_name(name).is_some();
        let content = match optional(CONTENT) {
            true => Some(self.column(batch, CONTENT, &DataType::UInt64)?),
            false => None,
        };
        Ok(Stored {
            keys: self.texts(batch, KEY)?,
            modalities: self.texts(batch, MODALITY)?,
            sources: if optional(SOURCE) { Some(self.texts(batch, SOURCE)?) } else { None },
            content: content.map(|content| content.as_primitive::<UInt64Type>().values().to_vec()),
            vectors: vectors.map_err(|error| self.failed(&error))?,
        })
    }

    fn texts(&self, batch: &RecordBatch, name: &str) -> Result<StringArray, RetrieveError> {
        let texts = self.column(batch, name, &DataType::Utf8)?;
        match texts.null_count() {
            0 => Ok(texts.as_string::<i32>().clone()),
            _ => Err(self.failed(&format!("`{name}` is missing in some rows"))),
        }
    }

    fn column(&self, batch: &RecordBatch, name: &str, wanted: &DataType) -> Result<ArrayRef, RetrieveError> {
        let column = batch.column_by_name(name).ok_or_else(|| self.failed(&format!("no column `{name}`")))?;
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(column, wanted, &options)
            .map_err(|error| self.failed(&format!("`{name}` holds {}, expected {wanted}: {error}", column.data_type())))
    }

    fn failed(&self, problem: &dyn Display) -> RetrieveError {
        RetrieveError::file(&self.path, problem)
    }
}

/// Some rows of a file of vectors.
pub struct Stored {
    keys: StringArray,
    modalities: StringArray,
    sources: Option<StringArray>,
    content: Option<Vec<u64>>,
    vectors: Array2<f32>,
}

impl Stored {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// A row's key.
    pub fn key(&self, row: usize) -> &str {
        self.keys.value(row)
    }

    /// A row's modality.
    pub fn modality(&self, row: usize) -> &str {
        self.modalities.value(row)
    }

    /// Where a row's item came from; empty if the file does not say it.
    pub fn source(&self, row: usize) -> &str {
        self.sources.as_ref().map_or("", |sources| sources.value(row))
    }

    /// A number that is equal for equal raw content, if the file has one.
    pub fn content(&self, row: usize) -> Option<u64> {
        self.content.as_ref().map(|content| content[row])
    }

    /// `[rows, width]`
    pub fn vectors(&self) -> ArrayView2<'_, f32> {
        self.vectors.view()
    }
}
