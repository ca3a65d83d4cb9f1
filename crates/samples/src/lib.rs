//! Files to samples to batches.
//!
//! [`SourceConfig`] names files in any layout; [`Dataset::open`] finds where each sample begins,
//! and reads any one of them as a [`Sample`](sensorium_contract::Sample); [`Order`] says which
//! samples each step's batch holds; [`Prepared`] decodes them, and its [`Loader`] does so ahead of
//! the steps. [`TarWriter`] writes samples as tar shards.
//!
//! The same content gives the same sample from every layout:
//!
//! | layout | a sample | its key |
//! |---|---|---|
//! | tar (plain, gzip, zstd) | consecutive members `key.png`, `key.caption.txt`, `key.json` … | the member's path up to the name's first dot |
//! | folder, by stem | files `key.png`, `key.txt` … | the file's path below the folder, likewise |
//! | folder, by class | a file, with the field `label` from its folder | the file's path without its extension |
//! | Parquet | a row; `{bytes, path}` structs are files | column `key` or `id`, else the row's number |
//! | CSV, TSV | a row; cells that end in a picture's or sound's extension are paths of files | likewise |
//! | JSON Lines | a line's object; nested members are called `a.b` | likewise |
//!
//! Extensions of files name fields: pictures are `image`, `.wav` is `audio`, `.txt` is `text`; a
//! second dot names another field (`key.caption.txt`), and a `.json`'s members are fields. Blanks
//! around texts are trimmed; an empty text, a JSON `null`, and in CSV and TSV also `?`, `NA`, `NaN`
//! and `null`, mean that the field is absent. Paths in tables start at the table's folder and must
//! not leave it.
//!
//! ```no_run
//! use std::{path::Path, sync::Arc};
//! use sensorium_contract::{Preparation, Seed};
//! use sensorium_samples::{Dataset, LoaderConfig, Prepared, SourceConfig};
//!
//! let dataset = Dataset::open(&[SourceConfig::new("shards/{000..127}.tar")], Path::new("."))?;
//! let seed = Seed::new(0);
//! let (train, held_out) = dataset.split_by_key(0.1, seed)?;
//! let prepared = Prepared::new(train, Arc::new(Preparation::default()), LoaderConfig::default())?;
//! for loaded in prepared.train(prepared.order(128, seed), seed, 0..1000) {
//!     println!("{} samples", loaded?.batch.len());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod checksum;
mod config;
mod damage;
mod dataset;
mod describe;
mod error;
mod expand;
mod file;
mod folder;
mod loader;
mod lru;
mod mapping;
mod names;
mod order;
mod parquet;
mod places;
mod prepared;
mod source;
mod table;
mod tar;
#[cfg(test)]
mod tests;
mod value;
mod writer;

pub use checksum::Checksum;
pub use config::{Format, Layout, Limits, LoaderConfig, SourceConfig};
pub use dataset::Dataset;
pub use describe::{FieldDescription, SourceDescription};
pub use error::{LoadError, SourceError};
pub use loader::{LoadedBatch, Loader};
pub use names::{is_picture_path, is_sound_path};
pub use order::Order;
pub use prepared::Prepared;
pub use source::{Origin, Piece, Source, key_hash};
pub use writer::{TarWriter, WriteError};
