//! Parquet files.

mod value;

use std::{convert::Infallible, fs::File, io, path::PathBuf};

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
};
use rayon::prelude::*;
use sensorium_contract::{Fault, Sample, SampleFault};

use crate::{
    config::{Limits, SourceConfig},
    error::SourceError,
    file::{Confined, DataFile},
    lru::Lru,
    mapping::Mapping,
    places::{locate, starts},
    prepared::caught,
    source::{Origin, Piece, Source},
    table::row_name,
};

/// Samples of Parquet files, in the order of their rows. A row group is decoded as a whole, and
/// kept for its next rows.
pub(crate) struct ParquetSource {
    path: String,
    tables: Vec<Table>,
    groups: Vec<Group>,
    /// Number of samples before each row group, and in all.
    starts: Vec<usize>,
    decoded: Lru<Decoded>,
    /// Row groups' key columns.
    keys: Lru<Decoded>,
    /// The key's column, and whether it is a field too.
    key: Option<(String, bool)>,
    mapping: Mapping,
    field_bytes: u64,
}

/// A row group's columns, or why there are none: a damaged one may take long to find out, and is tried once, not for
/// each of its rows.
type Decoded = Result<RecordBatch, Fault>;

struct Table {
    file: DataFile,
    folder: Confined,
}

/// A row group.
struct Group {
    table: usize,
    /// Its number in the file.
    number: usize,
    /// Rows of the file before it.
    first_row: usize,
    piece: Piece,
}

impl ParquetSource {
    pub fn open(config: &SourceConfig, files: Vec<PathBuf>) -> Result<Self, SourceError> {
        let (count, limits) = (files.len(), &config.limits);
        let open = |(number, path): (usize, PathBuf)| open_table(number, path, count, limits);
        let opened: Vec<(Table, Vec<Group>, Vec<String>)> =
            files.into_par_iter().enumerate().map(open).collect::<Result<_, _>>()?;
        let mapping = Mapping::new(config);
        let (mut tables, mut groups, mut common) = (Vec::new(), Vec::new(), Vec::new());
        for (table, of_table, columns) in opened {
            mapping.check_columns(&table.file.path, &columns)?;
            tables.push(table);
            groups.extend(of_table);
            common.push(columns);
        }
        let everywhere = |name: &str| common.iter().all(|columns| columns.iter().any(|column| column == name));
        let key = mapping.key_column(everywhere).map(|name| (name.to_owned(), Mapping::keeps_key(name)));
        let starts = starts(groups.iter().map(|group: &Group| group.piece.samples));
        let cache = config.limits.cache_bytes();
        Ok(Self {
            path: config.path.clone(),
            tables,
            groups,
            starts,
            decoded: Lru::new(cache),
            keys: Lru::new(cache / 16),
            key,
            mapping,
            field_bytes: config.limits.field_bytes(),
        })
    }

    /// The row group's number, and the row's within it.
    fn locate(&self, index: usize) -> (usize, usize) {
        locate(&self.starts, index)
    }

    /// A row group's columns, or only the one of this name.
    fn decode(&self, group: usize, column: Option<&str>) -> Result<(Decoded, u64), Infallible> {
        let group = &self.groups[group];
        let decode = || -> Result<RecordBatch, Box<dyn std::error::Error>> {
            let file = self.tables[group.table].file.handle()?.file().try_clone()?;
            decode(file, group, column)
        };
        // The library panics at some footers that are wrong.
        let decoded = caught(decode).unwrap_or_else(|message| Err(message.into()));
        let decoded = decoded.map_err(|error| Fault::new("", "row group cannot be decoded", error));
        let bytes = decoded.as_ref().map_or(0, |batch| batch.get_array_memory_size() as u64);
        Ok((decoded, bytes))
    }

    fn read_fields(&self, index: usize, key: &mut Option<String>) -> Result<Sample, Fault> {
        let (group, row) = self.locate(index);
        let Ok(decoded) = self.decoded.get(group, || self.decode(group, None));
        let batch = decoded.as_ref().as_ref().map_err(Fault::clone)?;
        let folder = &self.tables[self.groups[group].table].folder;
        let mut raw = Vec::with_capacity(batch.num_columns());
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let is_key = self.key.as_ref().filter(|(name, _)| name == field.name());
            if is_key.is_some() {
                *key = value::key(column, row);
            }
            if is_key.is_none_or(|(_, kept)| *kept) {
                value::flatten(field.name(), column, row, folder, self.field_bytes, &mut raw)?;
            }
        }
        let key = key.clone().unwrap_or_else(|| self.row_name(index));
        Ok(Sample { key, fields: self.mapping.read_files(raw, folder)? })
    }

    fn row_name(&self, index: usize) -> String {
        let (group, row) = self.locate(index);
        let group = &self.groups[group];
        row_name(&self.tables[group.table].file.path, self.tables.len(), group.first_row + row)
    }

    fn fault(&self, index: usize, key: Option<String>, fault: Fault) -> SampleFault {
        SampleFault { key: key.unwrap_or_else(|| self.row_name(index)), place: self.place(index), fault }
    }
}

impl Source for ParquetSource {
    fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    fn read(&self, index: usize) -> Result<Sample, SampleFault> {
        let mut key = None;
        self.read_fields(index, &mut key).map_err(|fault| self.fault(index, key, fault))
    }

    fn key(&self, index: usize) -> Result<String, SampleFault> {
        let Some((name, _)) = &self.key else {
            return Ok(self.row_name(index));
        };
        let (group, row) = self.locate(index);
        let Ok(decoded) = self.keys.get(group, || self.decode(group, Some(name)));
        let batch = decoded.as_ref().as_ref().map_err(|fault| self.fault(index, None, fault.clone()))?;
        let key = batch.columns().first().and_then(|column| value::key(column, row));
        Ok(key.unwrap_or_else(|| self.row_name(index)))
    }

    fn place(&self, index: usize) -> String {
        let (number, row) = self.locate(index);
        let group = &self.groups[number];
        format!("{}, row {}", self.tables[group.table].file.name(), group.first_row + row)
    }

    fn pieces(&self) -> Vec<Piece> {
        self.groups.iter().map(|group| group.piece).collect()
    }

    fn origin(&self) -> Origin {
        Origin { path: self.path.clone(), format: "parquet".to_owned(), files: self.tables.len() }
    }
}

fn open_table(
    number: usize,
    path: PathBuf,
    files: usize,
    limits: &Limits,
) -> Result<(Table, Vec<Group>, Vec<String>), SourceError> {
    let file = DataFile::open(path.clone(), files).map_err(SourceError::io(&path))?;
    let folder = path.parent().unwrap_or(std::path::Path::new("."));
    let folder = Confined::new(folder).map_err(SourceError::io(&path))?;
    let load = || -> io::Result<File> { file.handle()?.file().try_clone() };
    let metadata = ArrowReaderMetadata::load(&load().map_err(SourceError::io(&path))?, ArrowReaderOptions::new());
    let metadata = metadata.map_err(SourceError::damaged(&path))?;
    let mut groups = Vec::new();
    let mut first_row = 0;
    for (place, group) in metadata.metadata().row_groups().iter().enumerate() {
        let samples = group.num_rows() as usize;
        let bytes = group.total_byte_size() as u64;
        if bytes > limits.shard_bytes() {
            return Err(SourceError::TooLarge { path, limit: limits.shard_bytes() });
        }
        if samples > 0 {
            let piece = Piece { samples, memory: limits.cache_share(bytes) };
            groups.push(Group { table: number, number: place, first_row, piece });
        }
        first_row += samples;
    }
    let columns = metadata.schema().fields().iter().map(|field| field.name().clone()).collect();
    Ok((Table { file, folder }, groups, columns))
}

fn decode(file: File, group: &Group, column: Option<&str>) -> Result<RecordBatch, Box<dyn std::error::Error>> {
    let mut builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    if let Some(column) = column {
        let root = builder.schema().index_of(column)?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), [root]);
        builder = builder.with_projection(mask);
    }
    let schema = builder.schema().clone();
    let reader = builder.with_row_groups(vec![group.number]).with_batch_size(group.piece.samples).build()?;
    let mut batches = reader.collect::<Result<Vec<_>, _>>()?;
    let batch = match batches.len() {
        1 => batches.remove(0),
        _ => concat_batches(batches.first().map_or(&schema, RecordBatch::schema_ref), &batches)?,
    };
    match batch.num_rows() == group.piece.samples {
        true => Ok(batch),
        false => Err(format!("{} rows where the footer says {}", batch.num_rows(), group.piece.samples).into()),
    }
}
