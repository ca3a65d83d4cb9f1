use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use crate::StateError;

const TEMPORARY: &str = ".tmp-";

/// Writes a file so that it is there whole or not at all, whenever the process or the machine
/// dies: under a temporary name in the same directory, then brought to the disk, then renamed.
///
/// # Errors
/// [`StateError::Io`] or [`StateError::DiskFull`] with the file and the operation; what was under
/// the final name is then untouched.
pub fn commit(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    commit_with(path, |temporary| fs::write(temporary, bytes).map_err(|error| StateError::io("write", path, error)))
}

/// As [`commit`], of a file that `write` makes under the path which it is given.
///
/// # Errors
/// Those of [`commit`] and of `write`.
pub fn commit_with<E: From<StateError>>(path: &Path, write: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    let temporary = temporary(path)?;
    let written = write(&temporary).and_then(|()| Ok(publish_file(&temporary, path)?));
    if written.is_err() {
        // The first error is the one to tell; a file that cannot be removed is removed at the next start.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Writes a whole directory so that it is there whole or not at all. `write` fills the directory
/// that it is given; a directory that stood under the final name is replaced. What killed processes
/// left of the same directory is removed first.
///
/// # Errors
/// Those of [`commit`] and of `write`; what was under the final name is then untouched.
pub fn commit_dir<E: From<StateError>>(path: &Path, write: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    let temporary = temporary(path)?;
    remove_dead(path)?;
    fs::create_dir_all(&temporary).map_err(|error| StateError::io("create", &temporary, error))?;
    // Held until the end, however that comes: what is not locked belongs to nobody.
    let _lock = lock(&temporary)?;
    let written = write(&temporary).and_then(|()| Ok(publish_dir(&temporary, path)?));
    if written.is_err() {
        let _ = fs::remove_dir_all(&temporary);
    }
    written
}

/// Removes what killed processes left in a directory under temporary names, and tells how many
/// files and directories that were. Only for a directory that no other process writes to.
///
/// # Errors
/// [`StateError::Io`] if the directory cannot be read or an entry cannot be removed.
pub fn remove_leftovers(directory: &Path) -> Result<usize, StateError> {
    let mut removed = 0;
    for path in entries(directory)? {
        if !is_temporary(&path) {
            continue;
        }
        let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        gone.map_err(|error| StateError::io("remove", &path, error))?;
        removed += 1;
    }
    Ok(removed)
}

/// Removes what is left under temporary names of `path`, a directory, and is not locked.
fn remove_dead(path: &Path) -> Result<(), StateError> {
    let ours = |name: &OsStr| {
        let name = name.to_string_lossy();
        let rest = name.strip_prefix(TEMPORARY).and_then(|rest| rest.split_once('-'));
        let of = |path: &Path| rest.is_some_and(|(_, rest)| path.file_name().is_some_and(|name| *name == *rest));
        of(path) || of(&old(path))
    };
    let parent = parent(path);
    if !parent.exists() {
        // The error of creating it says more.
        return Ok(());
    }
    for found in entries(parent)? {
        if found.is_dir() && found.file_name().is_some_and(ours) && lock(&found)?.is_some() {
            fs::remove_dir_all(&found).map_err(|error| StateError::io("remove", &found, error))?;
        }
    }
    Ok(())
}

/// The lock of a directory, which the system releases when its holder ends; nothing if another
/// process holds it.
pub(crate) fn lock(directory: &Path) -> Result<Option<File>, StateError> {
    let file = File::open(directory).map_err(|error| StateError::io("open", directory, error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(StateError::io("lock", directory, error)),
    }
}

/// Paths of a directory's entries in the order of their names.
pub(crate) fn entries(directory: &Path) -> Result<Vec<PathBuf>, StateError> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        let mut paths =
            fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
        paths.sort();
        Ok(paths)
    };
    read().map_err(|error| StateError::io("read the directory", directory, error))
}

pub(crate) fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY))
}

/// The process number keeps two processes that write the same file from writing into each other.
fn temporary(path: &Path) -> Result<PathBuf, StateError> {
    let name = path.file_name().ok_or_else(|| StateError::NoFileName(path.to_owned()))?;
    let mut hidden = OsString::from(format!("{TEMPORARY}{}-", std::process::id()));
    hidden.push(name);
    Ok(path.with_file_name(hidden))
}

/// Brings a finished file to the disk and gives it its final name in one step.
///
/// # Errors
/// Those of [`commit`].
pub fn publish_file(temporary: &Path, path: &Path) -> Result<(), StateError> {
    sync(temporary, path)?;
    rename(temporary, path)?;
    sync_parent(path)
}

fn publish_dir(temporary: &Path, path: &Path) -> Result<(), StateError> {
    sync_tree(temporary)?;
    // A directory cannot be renamed onto another that holds files.
    if path.exists() {
        let old = self::temporary(&old(path))?;
        rename(path, &old)?;
        rename(temporary, path)?;
        fs::remove_dir_all(&old).map_err(|error| StateError::io("remove", &old, error))?;
    } else {
        rename(temporary, path)?;
    }
    sync_parent(path)
}

fn rename(from: &Path, to: &Path) -> Result<(), StateError> {
    fs::rename(from, to).map_err(|error| StateError::io("rename to", to, error))
}

fn sync_tree(directory: &Path) -> Result<(), StateError> {
    for path in entries(directory)? {
        if path.is_dir() { sync_tree(&path)? } else { sync(&path, &path)? }
    }
    sync(directory, directory)
}

fn sync_parent(path: &Path) -> Result<(), StateError> {
    sync(parent(path), parent(path))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Where a directory goes that is replaced.
fn old(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".old");
    path.with_file_name(name)
}

/// Brings a file or directory to the disk; `named` is what an error tells.
fn sync(path: &Path, named: &Path) -> Result<(), StateError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| StateError::io("bring to the disk", named, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        entries(directory).unwrap().into_iter().map(name).collect()
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state.json");
        commit(&path, b"one").unwrap();
        commit(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(home.path()), ["state.json"]);
    }

    #[test]
    fn a_failed_write_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("state.json");
        commit(&path, b"one").unwrap();
        let failed = commit_with(&path, |temporary| {
            fs::write(temporary, b"tw").unwrap();
            Err(StateError::NoFileName(path.clone()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(names(home.path()), ["state.json"]);
    }

    #[test]
    fn a_directory_appears_and_is_replaced_whole() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("step-00000001");
        for content in ["one", "two"] {
            commit_dir(&path, |directory| commit(&directory.join("a"), content.as_bytes())).unwrap();
            assert_eq!(fs::read(path.join("a")).unwrap(), content.as_bytes());
        }
        let failed = commit_dir(&path, |directory| {
            commit(&directory.join("a"), b"three")?;
            Err(StateError::NoFileName(path.clone()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(path.join("a")).unwrap(), b"two");
        assert_eq!(names(home.path()), ["step-00000001"]);
    }

    #[test]
    fn what_nobody_writes_any_more_is_removed_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("index");
        let folders =
            [".tmp-1-index", ".tmp-1-index.old", ".tmp-2-index", ".tmp-1-index2"].map(|n| home.path().join(n));
        for folder in &folders {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("a"), b"half").unwrap();
        }
        let living = lock(&folders[2]).unwrap();
        commit_dir(&path, |directory| commit(&directory.join("a"), b"whole")).unwrap();
        assert_eq!(names(home.path()), [".tmp-1-index2", ".tmp-2-index", "index"]);
        drop(living);
        commit_dir(&path, |directory| commit(&directory.join("a"), b"whole")).unwrap();
        assert_eq!(names(home.path()), [".tmp-1-index2", "index"]);
    }

    #[test]
    fn leftovers_are_removed() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".tmp-1-step")).unwrap();
        fs::write(home.path().join(".tmp-1-step/model"), b"half").unwrap();
        fs::write(home.path().join(".tmp-1-state.json"), b"half").unwrap();
        fs::write(home.path().join("kept"), b"whole").unwrap();
        assert_eq!(remove_leftovers(home.path()).unwrap(), 2);
        assert_eq!(names(home.path()), ["kept"]);
    }

    #[test]
    fn errors_name_file_and_operation() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("absent/state.json");
        let message = commit(&path, b"one").unwrap_err().to_string();
        assert!(message.contains("cannot write") && message.contains("absent/state.json"), "{message}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_said_to_be_full() {
        use std::io::Write;
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("model.safetensors");
        let full = |_: &Path| {
            let mut device = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            device.write_all(b"x").map_err(|error| StateError::io("write", &path, error))
        };
        let error = commit_with(&path, full).unwrap_err();
        assert!(matches!(error, StateError::DiskFull { .. }), "{error}");
        assert!(error.to_string().contains("model.safetensors"), "{error}");
        assert!(names(home.path()).is_empty());
    }
}
