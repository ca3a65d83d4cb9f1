//! What is on disk: atomic files, checksummed manifests, tensors, run and checkpoint directories.
//!
//! Whatever this crate writes appears whole or not at all. A file or directory is written under a
//! temporary name beside its place, brought to the disk and renamed; what a killed process left
//! under such a name is removed by the next one.

mod commit;
mod error;
mod manifest;
mod parameters;
mod recipe;
mod records;
mod run;
mod tensor_file;

pub use commit::{commit, commit_dir, commit_with, publish_file, remove_leftovers};
pub use error::{Difference, ShapeMismatch, StateError};
pub use manifest::{FileEntry, MANIFEST, Manifest, checksum, verify, write_manifest};
pub use parameters::{NamedTensor, export, import, parameter_count};
pub use records::Records;
pub use run::{Checkpoint, CheckpointContents, Latest, Rejected, RunDirectory, take_lock};
pub use tensor_file::{
    NonFinite, RawTensor, Tensors, read_arrays, read_safetensors, write_arrays, write_raw, write_safetensors,
};
