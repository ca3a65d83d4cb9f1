//! What the targets share.

use std::{path::PathBuf, sync::LazyLock};

#[path = "../../tests/all/faults/readers.rs"]
pub mod readers;

/// A path in a folder of this process.
pub fn place(name: &str) -> PathBuf {
    static HOME: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());
    HOME.path().join(name)
}
