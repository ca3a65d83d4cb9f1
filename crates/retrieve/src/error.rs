use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
};

use parquet::errors::ParquetError;
use sensorium_contract::Name;
use sensorium_state::StateError;

/// Why embeddings cannot be written, read, compared or searched.
#[derive(Debug, thiserror::Error)]
pub enum RetrieveError {
    /// Something on disk is missing, damaged or full.
    #[error(transparent)]
    State(#[from] StateError),
    /// A model changed the size of its vectors between batches, or two sets of vectors differ.
    #[error("vectors of `{modality}` have {found} numbers, expected {expected}")]
    Width {
        /// Whose vectors.
        modality: Name,
        /// Numbers in the vectors that came first.
        expected: usize,
        /// Numbers in the vectors that differ.
        found: usize,
    },
    /// The embeddings hold nothing of a modality.
    #[error("there are no embeddings of `{modality}`; there are some of: {present}")]
    NoModality {
        /// What was asked for.
        modality: Name,
        /// What there is.
        present: String,
    },
    /// A column's lists are not of one length, or not ascending.
    #[error(
        "embeddings of `{modality}`: {rows} rows, {content} content hashes, {vectors} vectors for {samples} samples"
    )]
    Shape {
        /// Whose vectors.
        modality: Name,
        /// Number of rows.
        rows: usize,
        /// Number of content hashes.
        content: usize,
        /// Number of vectors.
        vectors: usize,
        /// Number of samples that rows may point to.
        samples: usize,
    },
    /// A vector that cannot be searched.
    #[error("`{}`: the vector of `{key}` ({modality}) holds {value} at place {place}", path.display())]
    NonFinite {
        /// The file.
        path: PathBuf,
        /// Whose vector.
        key: String,
        /// Of which modality.
        modality: String,
        /// Where in the vector.
        place: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// A modality whose name cannot be that of a folder.
    #[error("`{}`: the modality `{modality}` must have a name of letters, digits, `_` and `-`", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// The name.
        modality: String,
    },
    /// Settings that do not go together.
    #[error("{0}")]
    Options(&'static str),
    /// A query that an index cannot answer.
    #[error("the query has {found} numbers, the vectors of the index have {expected}")]
    QueryWidth {
        /// Numbers in the index's vectors.
        expected: usize,
        /// Numbers in the query.
        found: usize,
    },
    /// Parts of another run of `embed`.
    #[error(
        "`{}` holds the unfinished vectors of another {what} (expected {expected}, found {found}); finish that run, remove the folder, or choose another --out",
        path.display()
    )]
    OtherParts {
        /// The folder of parts.
        path: PathBuf,
        /// What differs: model, samples.
        what: &'static str,
        /// What is wanted now.
        expected: String,
        /// What the parts were made of.
        found: String,
    },
    /// A file of vectors or of an index that cannot be written or read.
    #[error("`{}`: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl RetrieveError {
    pub(crate) fn file(path: &Path, problem: &dyn Display) -> Self {
        Self::File { path: path.to_owned(), problem: problem.to_string() }
    }

    /// Why a Parquet file could not be written. What the system said is within what the library says.
    pub(crate) fn unwritten(path: &Path, problem: ParquetError) -> Self {
        let cause = match problem {
            ParquetError::External(cause) => cause.downcast::<io::Error>(),
            other => return Self::file(path, &other),
        };
        match cause {
            Ok(error) => StateError::io("write", path, *error).into(),
            Err(other) => Self::file(path, &other),
        }
    }
}
