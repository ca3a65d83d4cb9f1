//! Files that many threads read at once.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use sensorium_contract::Fault;

/// Sources of more files than this open them for each reading, so that they do not use up the
/// process's file handles.
const KEPT_OPEN: usize = 128;

/// A file that is read at places.
#[derive(Debug)]
pub(crate) struct DataFile {
    pub path: PathBuf,
    kept: Option<File>,
}

impl DataFile {
    /// Opens a file of a source of `files` files.
    pub fn open(path: PathBuf, files: usize) -> io::Result<Self> {
        let kept = if files <= KEPT_OPEN { Some(File::open(&path)?) } else { None };
        Ok(Self { path, kept })
    }

    /// A handle, whose own position means nothing.
    pub fn handle(&self) -> io::Result<Handle<'_>> {
        Ok(match &self.kept {
            Some(file) => Handle::Kept(file),
            None => Handle::Opened(File::open(&self.path)?),
        })
    }

    /// The bytes from `start` to `end`.
    pub fn read(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; (end - start) as usize];
        self.handle()?.file().read_exact_at(&mut bytes, start)?;
        Ok(bytes)
    }

    /// The path as text, for faults.
    pub fn name(&self) -> Cow<'_, str> {
        self.path.to_string_lossy()
    }
}

/// A file handle that may be shared.
pub(crate) enum Handle<'a> {
    Kept(&'a File),
    Opened(File),
}

impl Handle<'_> {
    pub fn file(&self) -> &File {
        match self {
            Self::Kept(file) => file,
            Self::Opened(file) => file,
        }
    }
}

/// A part of a file, read without moving the file's position.
pub(crate) struct Section<'a> {
    pub file: &'a File,
    pub position: u64,
    pub end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = (self.end.saturating_sub(self.position)).min(buffer.len() as u64) as usize;
        let got = self.file.read_at(&mut buffer[..wanted], self.position)?;
        self.position += got as u64;
        Ok(got)
    }
}

impl io::Seek for Section<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let place = match to {
            io::SeekFrom::Start(place) => Some(place),
            io::SeekFrom::End(distance) => self.end.checked_add_signed(distance),
            io::SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

/// Reads `length` bytes into their final place.
pub(crate) fn read_shared(reader: &mut impl Read, length: usize) -> io::Result<Arc<[u8]>> {
    let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
    if let Some(slice) = Arc::get_mut(&mut bytes) {
        reader.read_exact(slice)?;
    }
    Ok(bytes)
}

/// What the fault of a file that is not there is counted under.
pub(crate) const FILE_IS_MISSING: &str = "file is missing";

/// A folder that reading does not leave.
#[derive(Clone, Debug)]
pub(crate) struct Confined {
    root: PathBuf,
}

impl Confined {
    /// The folder itself, links on the way to it followed.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        Ok(Self { root: folder.canonicalize()? })
    }

    /// A file's bytes. `field` is for the fault.
    pub fn read(&self, field: &str, relative: &str, limit: u64) -> Result<Arc<[u8]>, Fault> {
        let fault = |reason, detail: &dyn std::fmt::Display| Fault::new(field, reason, format!("`{relative}`{detail}"));
        let path = Path::new(relative);
        let plain = |part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir);
        if !path.components().all(plain) {
            return Err(fault("path leaves the data's folder", &" must be relative and without `..`"));
        }
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => fault(FILE_IS_MISSING, &""),
            _ => fault("file cannot be read", &format_args!(": {error}")),
        };
        let path = self.root.join(path).canonicalize().map_err(failed)?;
        if !path.starts_with(&self.root) {
            return Err(fault("path leaves the data's folder", &" is a link to outside"));
        }
        // Before opening: a pipe would be waited for.
        if !path.is_file() {
            return Err(fault("file cannot be read", &" is not a file"));
        }
        let mut file = File::open(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length > limit {
            return Err(fault("field is too large", &format_args!(" has {length} bytes, the limit is {limit}")));
        }
        read_shared(&mut file, length as usize).map_err(failed)
    }
}
