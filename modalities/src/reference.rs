//! Where tests find fixtures and the shared data.

use std::{
    collections::HashMap,
    io::Read,
    path::{Path, PathBuf},
};

use safetensors::SafeTensors;

/// The bytes of a file in `tests/reference`.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file or folder of the shared data; nothing, with a note, where the data are absent.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SENSORIUM_SHARED").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let path = folder.join(path);
    if !path.exists() {
        println!("skipped: there is no {}", path.display());
        return None;
    }
    Some(path)
}

/// The first files with an extension in the smallest emoji shard; none where it is absent.
pub(crate) fn emoji(extension: &str, most: usize) -> Vec<Vec<u8>> {
    let Some(path) = shared("emoji/twemoji-val.tar") else { return Vec::new() };
    let mut archive = tar::Archive::new(std::fs::File::open(path).unwrap());
    let mut files = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if files.len() < most && entry.path().unwrap().extension().is_some_and(|found| found == extension) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.push(bytes);
        }
    }
    files
}

/// A fixture's metadata.
pub(crate) fn metadata(bytes: &[u8]) -> HashMap<String, String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).unwrap();
    metadata.metadata().clone().unwrap_or_default()
}

/// A tensor of f32.
pub(crate) fn floats(tensors: &SafeTensors, name: &str) -> Vec<f32> {
    let data = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    data.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// A tensor of i64.
pub(crate) fn integers(tensors: &SafeTensors, name: &str) -> Vec<i64> {
    let data = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    data.data().chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap())).collect()
}
