//! Vectors on disk: Parquet that pandas, Polars and DuckDB read.
//!
//! One row an item and modality: `key`, `modality`, `source` (where the item came from), `content`
//! (equal for equal raw content) and `vector`.

mod parts;
mod read;
mod table;
mod write;

use sensorium_contract::Name;
use serde::{Deserialize, Serialize};

pub use parts::{Embedded, EmbeddingParts};
pub use read::{EmbeddingReader, Stored};
pub use write::EmbeddingFile;

const KEY: &str = "key";
const MODALITY: &str = "modality";
const SOURCE: &str = "source";
const CONTENT: &str = "content";
const VECTOR: &str = "vector";
/// Under which an [`Origin`] lies in the file's own metadata, as JSON.
const ORIGIN: &str = "sensorium";
/// Bytes of vectors that are held in memory, on writing and on reading.
const GROUP_BYTES: usize = 16 << 20;

/// Rows of a file, or of a row group, of vectors of so many numbers.
fn group_rows(width: usize) -> usize {
    (GROUP_BYTES / (4 * width.max(1))).clamp(256, 65_536)
}

/// Where vectors come from: by this a query's model is compared, and an item is found again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Checksum of the model.
    pub model: String,
    /// Checksum of the samples.
    pub samples: String,
    /// The samples' files, as they were named, with absolute paths.
    pub data: Vec<String>,
    /// Fields that were read under another name: new, old.
    pub fields: Vec<(String, String)>,
}

/// Vectors of one modality, a row an item.
#[derive(Clone, Debug)]
pub struct Items {
    /// Whose vectors.
    pub modality: Name,
    /// The items' keys.
    pub keys: Vec<String>,
    /// Where each came from.
    pub sources: Vec<String>,
    /// Equal for equal raw content.
    pub content: Vec<u64>,
    /// `[items, width]`
    pub vectors: ndarray::Array2<f32>,
}

#[cfg(test)]
mod tests;
