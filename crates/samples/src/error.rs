use std::{collections::BTreeMap, io, path::PathBuf};

/// Why data cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or folder that was named is not there.
    #[error("{}: no such file or folder", path.display())]
    NotFound {
        /// What was named.
        path: PathBuf,
    },
    /// A pattern is malformed, or matches nothing.
    #[error("{pattern}: {reason}")]
    Pattern {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The format cannot be inferred.
    #[error("{}: {reason}; give `format`: tar, parquet, csv, tsv, jsonl or folder", path.display())]
    Format {
        /// The file or folder.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A key of the configuration is impossible for this data.
    #[error("{path}: `{key}`: {reason}")]
    Config {
        /// The source's path.
        path: String,
        /// The configuration's key.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// There are no samples.
    #[error("{path}: no samples")]
    Empty {
        /// The source's path, or what was asked of the data.
        path: String,
    },
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file's structure is damaged.
    #[error("{}: damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A text file is not UTF-8.
    #[error("{}: byte {byte}: not UTF-8; convert the file, for example from Latin-1", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// Place of the first wrong byte, counted from 0.
        byte: u64,
    },
    /// A shard's members do not make samples.
    #[error("{}: sample `{key}`: {reason}", path.display())]
    Member {
        /// The shard.
        path: PathBuf,
        /// The sample.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A file is larger than the limits allow.
    #[error("{}: larger than {limit} bytes when decompressed; `limits.shard_mb` raises this", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A column is named that the table lacks.
    #[error("{}: no column `{column}`; there are: {}", path.display(), available.join(", "))]
    Column {
        /// The table.
        path: PathBuf,
        /// The column that was named.
        column: String,
        /// Columns that it has.
        available: Vec<String>,
    },
}

impl SourceError {
    /// For `map_err`: an error of the system at this path.
    pub(crate) fn io(path: &std::path::Path) -> impl Fn(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path: path.to_owned() },
            _ => Self::Io { path: path.to_owned(), source },
        }
    }

    /// For `map_err`: an error that a format's library reports, which means a damaged file.
    pub(crate) fn damaged<E: std::fmt::Display>(path: &std::path::Path) -> impl Fn(E) -> Self {
        move |error| Self::Damaged { path: path.to_owned(), reason: error.to_string() }
    }
}

/// Why loading cannot go on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LoadError {
    /// Too many samples are damaged.
    #[error(
        "{damaged} of {read} samples are damaged, more than max_damaged = {max_damaged}: {}; the first: {first}",
        by_reason(counts)
    )]
    TooManyDamaged {
        /// Distinct damaged samples.
        damaged: usize,
        /// Distinct samples that were read.
        read: usize,
        /// The share that is allowed.
        max_damaged: f64,
        /// Distinct damaged samples by reason.
        counts: BTreeMap<&'static str, usize>,
        /// The fault that was found first.
        first: String,
    },
    /// A modality's code failed on a batch.
    #[error("step {step}: the batch could not be put together: {message}")]
    Collate {
        /// The step.
        step: u64,
        /// The panic's message.
        message: String,
    },
}

fn by_reason(counts: &BTreeMap<&'static str, usize>) -> String {
    let parts: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} × {reason}")).collect();
    parts.join(", ")
}
