use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where samples come from: one `[[data]]` entry of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// A file, a directory, a glob (`shards/*.tar`), or several by braces (`{000..127}`, `{a,b}`).
    /// Relative paths start at the recipe's folder.
    pub path: String,
    /// Inferred from the file names if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The column that identifies a sample. If not given, a column `key` or else `id`, or else the
    /// row's number. Only for tables: elsewhere the file name is the key. A column that is called
    /// neither `key` nor `id` stays a field as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether the first row of a CSV or TSV names the columns; if not, they are `column_0`,
    /// `column_1` ….
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub header: bool,
    /// How a folder's files make samples; inferred if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// Share in the mixture, relative to the other sources; either all sources have one or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Columns that hold paths of files, beyond those whose cells end in a known extension.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Whether a file that a cell names but that is not there makes the field absent. If not, the
    /// sample counts as damaged.
    #[serde(default, skip_serializing_if = "is_no")]
    pub files_may_be_missing: bool,
    /// Renames: `new = "old"`. One old field may get several new names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// Sizes beyond which input is refused.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
}

impl SourceConfig {
    /// The source at this path, everything else inferred.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            format: None,
            key: None,
            header: true,
            layout: None,
            weight: None,
            files: Vec::new(),
            files_may_be_missing: false,
            fields: BTreeMap::new(),
            limits: Limits::default(),
        }
    }
}

fn yes() -> bool {
    true
}

fn is_no(value: &bool) -> bool {
    !*value
}

fn is_yes(value: &bool) -> bool {
    *value
}

/// How files hold samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Tar shards, plain, gzip or zstd: `key.png`, `key.txt`, `key.json` ….
    Tar,
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values.
    Csv,
    /// Tab-separated values.
    Tsv,
    /// One JSON object a line.
    Jsonl,
    /// A folder of files.
    Folder,
}

/// How a folder's files make samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// The first folder on a file's path is the sample's field `label`.
    Class,
    /// Files that share folder and stem are one sample, as in a tar shard.
    Stem,
}

/// Sizes beyond which input is refused, so that a damaged or hostile file cannot fill the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The largest field, and the largest row of a table, in MiB.
    pub field_mb: u64,
    /// The largest decompressed shard or Parquet row group, in MiB.
    pub shard_mb: u64,
    /// Memory for decompressed shards or row groups that are kept for their next samples, in MiB.
    /// At least one is kept whatever its size. The order of samples depends on it: half of it is
    /// shuffled at a time.
    pub cache_mb: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { field_mb: 256, shard_mb: 2048, cache_mb: 1024 }
    }
}

impl Limits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn field_bytes(&self) -> u64 {
        self.field_mb << 20
    }

    pub(crate) fn shard_bytes(&self) -> u64 {
        self.shard_mb << 20
    }

    pub(crate) fn cache_bytes(&self) -> u64 {
        self.cache_mb << 20
    }

    /// The share of the cache that a piece of so many bytes takes.
    pub(crate) fn cache_share(&self, bytes: u64) -> f64 {
        bytes as f64 / self.cache_bytes().max(1) as f64
    }
}

/// How samples are read, shuffled and decoded ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoaderConfig {
    /// Threads that read and decode: as many as cores if not given; 0 works in the caller's thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// Batches that are made ready, or worked on, before they are asked for.
    pub ahead: usize,
    /// Memory for decoded samples, in MiB. What fits is decoded once.
    pub cache_mb: u64,
    /// Room on disk for decoded samples that no longer fit into memory, in MiB: a file in the
    /// system's temporary folder (`TMPDIR`), which goes with the process. For data whose decoding
    /// is what training waits for.
    pub disk_cache_mb: u64,
    /// The share of damaged samples above which a run fails.
    pub max_damaged: f64,
    /// Samples that are shuffled with each other when the data is larger than this.
    pub window: usize,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self { workers: None, ahead: 2, cache_mb: 1024, disk_cache_mb: 0, max_damaged: 0.01, window: 262_144 }
    }
}
