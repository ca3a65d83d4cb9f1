use std::path::Path;

use sensorium_contract::{Sample, SampleFault};

use crate::{
    config::{Format, SourceConfig},
    error::SourceError,
    expand,
    folder::FolderSource,
    parquet::ParquetSource,
    table::{delimited::DelimitedSource, json_lines::JsonLinesSource},
    tar::TarSource,
};

/// Consecutive samples that should be read together, because reading one costs as much as reading
/// all: a compressed shard, a Parquet row group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece {
    /// How many samples.
    pub samples: usize,
    /// The share that it takes of the source's memory for pieces (may exceed 1).
    pub memory: f64,
}

/// Samples by number.
///
/// What is kept in memory for each sample is some tens of bytes, whatever the size of its fields.
pub trait Source: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One sample; `index` is less than [`Source::len`].
    fn read(&self, index: usize) -> Result<Sample, SampleFault>;

    /// One sample, with files that cells of a table name left as their paths.
    fn glance(&self, index: usize) -> Result<Sample, SampleFault> {
        self.read(index)
    }

    /// One sample's key, without reading its fields where that is possible.
    fn key(&self, index: usize) -> Result<String, SampleFault> {
        self.read(index).map(|sample| sample.key)
    }

    /// [`key_hash`] of a sample's key.
    fn key_hash(&self, index: usize) -> Result<u64, SampleFault> {
        self.key(index).map(|key| key_hash(&key))
    }

    /// The file that a sample is read from, and its place there, for people.
    fn place(&self, index: usize) -> String;

    /// The pieces that the samples should be read in, in order; none if samples can be read in any
    /// order equally well.
    fn pieces(&self) -> Vec<Piece> {
        Vec::new()
    }

    /// What the samples come from, for people.
    fn origin(&self) -> Origin;
}

/// What a source's samples come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The path as configured.
    pub path: String,
    /// Kind of files.
    pub format: String,
    /// Number of files that hold samples.
    pub files: usize,
}

/// The first 64 bits of the key's BLAKE3 hash.
pub fn key_hash(key: &str) -> u64 {
    let hash = blake3::hash(key.as_bytes());
    hash.as_bytes().iter().take(8).fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// Opens one source. Its files are read through once, to find where each sample begins.
pub(crate) fn open(config: &SourceConfig, base: &Path) -> Result<Box<dyn Source>, SourceError> {
    let found = expand::find(config, base)?;
    let no_key = matches!(found.format, Format::Tar | Format::Folder) && config.key.is_some();
    if no_key {
        let reason = "only tables have a key column; here the file name is the key".to_owned();
        return Err(SourceError::Config { path: config.path.clone(), key: "key", reason });
    }
    let source: Box<dyn Source> = match found.format {
        Format::Tar => Box::new(TarSource::open(config, found.files)?),
        Format::Parquet => Box::new(ParquetSource::open(config, found.files)?),
        Format::Csv => Box::new(DelimitedSource::open(config, found.files, b',')?),
        Format::Tsv => Box::new(DelimitedSource::open(config, found.files, b'\t')?),
        Format::Jsonl => Box::new(JsonLinesSource::open(config, found.files)?),
        Format::Folder => Box::new(FolderSource::open(config, found.files)?),
    };
    match source.is_empty() {
        true => Err(SourceError::Empty { path: config.path.clone() }),
        false => Ok(source),
    }
}
