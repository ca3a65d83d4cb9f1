use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    StateError, commit,
    commit::{entries, is_temporary},
};

/// Name of the file that lists all others of a directory.
pub const MANIFEST: &str = "manifest.json";

/// What one file of a directory must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of the content, in hexadecimal.
    pub blake3: String,
}

/// Sizes and checksums of all files of a directory, committed last: a directory that has none is
/// incomplete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// By path relative to the directory, with `/` between parts.
    pub files: BTreeMap<String, FileEntry>,
}

/// Lists the files of `directory` as they are now in its `manifest.json`.
///
/// # Errors
/// If a file cannot be read or the manifest cannot be written.
pub fn write_manifest(directory: &Path) -> Result<Manifest, StateError> {
    let mut files = BTreeMap::new();
    for (name, path) in files_of(directory)? {
        files.insert(name, entry(&path)?);
    }
    let manifest = Manifest { files };
    let path = directory.join(MANIFEST);
    commit(&path, &text(&manifest, &path)?)?;
    Ok(manifest)
}

fn text(manifest: &Manifest, path: &Path) -> Result<Vec<u8>, StateError> {
    let text = serde_json::to_vec_pretty(manifest);
    let mut text = text.map_err(|reason| StateError::Json { path: path.to_owned(), reason })?;
    text.push(b'\n');
    Ok(text)
}

/// Whether every file of `directory` is what its manifest says, and no other is there.
///
/// # Errors
/// [`StateError::NoManifest`], [`StateError::MissingFile`], [`StateError::ChangedFile`],
/// [`StateError::UnknownFile`] with the first such file, or an error of reading.
pub fn verify(directory: &Path) -> Result<Manifest, StateError> {
    let manifest = read(directory)?;
    // Asked for by what is there, so that no name in a manifest leads out of the directory.
    let files = files_of(directory)?;
    for (name, expected) in &manifest.files {
        match files.get(name) {
            Some(path) if path.is_file() => compare(path, expected)?,
            _ => return Err(StateError::MissingFile(directory.join(name))),
        }
    }
    match files.into_iter().find(|(name, _)| !manifest.files.contains_key(name)) {
        Some((_, path)) => Err(StateError::UnknownFile(path)),
        None => Ok(manifest),
    }
}

/// A checksum of the names and contents of all files of a directory but its manifest: BLAKE3, in
/// hexadecimal.
///
/// # Errors
/// If a file cannot be read.
pub fn checksum(directory: &Path) -> Result<String, StateError> {
    let mut hasher = blake3::Hasher::new();
    for (name, path) in files_of(directory)? {
        hasher.update(format!("{name}\n{}\n", entry(&path)?.blake3).as_bytes());
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn read(directory: &Path) -> Result<Manifest, StateError> {
    let path = directory.join(MANIFEST);
    let found = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StateError::NoManifest(directory.to_owned()));
        }
        Err(error) => return Err(StateError::io("read", &path, error)),
    };
    let manifest = serde_json::from_slice(&found).map_err(|reason| StateError::Json { path: path.clone(), reason })?;
    // A change that means the same is still a change.
    match text(&manifest, &path)? == found {
        true => Ok(manifest),
        false => Err(StateError::ChangedFile { path, expected: "the text as written".into(), found: "another".into() }),
    }
}

fn compare(path: &Path, expected: &FileEntry) -> Result<(), StateError> {
    let changed = |expected, found| StateError::ChangedFile { path: path.to_owned(), expected, found };
    let size = fs::metadata(path).map_err(|error| StateError::io("read", path, error))?.len();
    if size != expected.size {
        return Err(changed(format!("{} bytes", expected.size), format!("{size} bytes")));
    }
    let found = entry(path)?.blake3;
    match found == expected.blake3 {
        true => Ok(()),
        false => Err(changed(format!("checksum {}", expected.blake3), format!("checksum {found}"))),
    }
}

fn entry(path: &Path) -> Result<FileEntry, StateError> {
    let hash = || -> io::Result<FileEntry> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path)?)?;
        Ok(FileEntry { size: hasher.count(), blake3: hasher.finalize().to_hex().to_string() })
    };
    hash().map_err(|error| StateError::io("read", path, error))
}

/// Every file below a directory except the manifest itself and unfinished ones, by relative name.
fn files_of(directory: &Path) -> Result<BTreeMap<String, PathBuf>, StateError> {
    let mut files = BTreeMap::new();
    for path in entries(directory)? {
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        if path.is_dir() && !is_temporary(&path) {
            files.extend(files_of(&path)?.into_iter().map(|(below, path)| (format!("{name}/{below}"), path)));
            // A manifest of a directory below is an ordinary file here.
            let below = path.join(MANIFEST);
            if below.is_file() {
                files.insert(format!("{name}/{MANIFEST}"), below);
            }
        } else if name != MANIFEST && !is_temporary(&path) {
            files.insert(name, path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("below")).unwrap();
        fs::write(home.path().join("a"), b"content of a").unwrap();
        fs::write(home.path().join("below/b"), b"content of b").unwrap();
        write_manifest(home.path()).unwrap();
        home
    }

    #[test]
    fn an_untouched_directory_verifies() {
        let home = directory();
        let manifest = verify(home.path()).unwrap();
        assert_eq!(manifest.files.keys().collect::<Vec<_>>(), ["a", "below/b"]);
        assert_eq!(manifest.files["a"].size, 12);
        assert_eq!(manifest.files["a"].blake3, blake3::hash(b"content of a").to_hex().to_string());
    }

    #[test]
    fn a_directory_s_checksum_is_that_of_names_and_contents() {
        let home = directory();
        let before = checksum(home.path()).unwrap();
        write_manifest(home.path()).unwrap();
        assert_eq!(checksum(home.path()).unwrap(), before);
        fs::rename(home.path().join("a"), home.path().join("c")).unwrap();
        assert_ne!(checksum(home.path()).unwrap(), before);
        fs::rename(home.path().join("c"), home.path().join("a")).unwrap();
        fs::write(home.path().join("below/b"), b"content of B").unwrap();
        assert_ne!(checksum(home.path()).unwrap(), before);
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let home = directory();
        fs::write(home.path().join("below/b"), b"content of B").unwrap();
        let error = verify(home.path()).unwrap_err();
        assert!(matches!(&error, StateError::ChangedFile { path, .. } if path.ends_with("below/b")), "{error}");

        let home = directory();
        fs::write(home.path().join("a"), b"content").unwrap();
        let error = verify(home.path()).unwrap_err().to_string();
        assert!(error.contains("expected 12 bytes, found 7 bytes"), "{error}");

        let home = directory();
        fs::remove_file(home.path().join("a")).unwrap();
        assert!(matches!(verify(home.path()).unwrap_err(), StateError::MissingFile(path) if path.ends_with("a")));

        let home = directory();
        fs::write(home.path().join("c"), b"").unwrap();
        assert!(matches!(verify(home.path()).unwrap_err(), StateError::UnknownFile(path) if path.ends_with("c")));

        let home = directory();
        fs::remove_file(home.path().join(MANIFEST)).unwrap();
        assert!(matches!(verify(home.path()).unwrap_err(), StateError::NoManifest(_)));

        let home = directory();
        let text = fs::read_to_string(home.path().join(MANIFEST)).unwrap();
        fs::write(home.path().join(MANIFEST), text.replacen(' ', "\t", 1)).unwrap();
        let error = verify(home.path()).unwrap_err();
        assert!(matches!(&error, StateError::ChangedFile { path, .. } if path.ends_with(MANIFEST)), "{error}");

        let home = directory();
        fs::write(home.path().join(MANIFEST), b"{\"files\": {\"a\"").unwrap();
        assert!(matches!(verify(home.path()).unwrap_err(), StateError::Json { .. }));
    }
}
