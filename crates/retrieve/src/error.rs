use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use sensorium_contract::Name;

/// Why embeddings cannot be compared.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RetrieveError {
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
    /// A file of vectors that cannot be written or read.
    #[error("`{}`: {problem}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the library says.
        problem: String,
    },
}

impl RetrieveError {
    pub(crate) fn parquet(path: &Path, problem: &dyn Display) -> Self {
        Self::Parquet { path: path.to_owned(), problem: problem.to_string() }
    }
}
