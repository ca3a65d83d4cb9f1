use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use sensorium_state::{StateError, commit, commit_with, publish_file, remove_leftovers, take_lock};

use super::{EmbeddingFile, EmbeddingReader, Items, Origin};
use crate::RetrieveError;

const ORIGIN_FILE: &str = "origin.json";
/// The name of a note in a part's metadata.
const DAMAGED: &str = "damaged";

/// A file of vectors in the making: parts in a folder beside it, each committed whole, so that a run
/// which was killed goes on after its last part. The parts end as one file, the same whether or not
/// the run was killed.
///
/// While it is open, no other process can open it.
pub struct EmbeddingParts {
    out: PathBuf,
    folder: PathBuf,
    origin: Origin,
    parts: Vec<Part>,
    /// Damaged samples of batches that are in no part yet.
    damaged: usize,
    // Held for its lock alone.
    _lock: File,
}

/// Consecutive batches of samples.
struct Part {
    path: PathBuf,
    first: u64,
    end: u64,
}

/// What a finished file of vectors holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// Rows.
    pub vectors: usize,
    /// Samples that were left out because they are damaged.
    pub damaged: usize,
}

impl EmbeddingParts {
    /// Begins the file `out`, or goes on with it.
    ///
    /// # Errors
    /// [`RetrieveError::OtherParts`] if there are parts of another model or of other samples,
    /// [`StateError::Locked`] if another process makes the same file.
    pub fn open(out: &Path, origin: Origin) -> Result<Self, RetrieveError> {
        let name = out.file_name().ok_or_else(|| StateError::NoFileName(out.to_owned()))?;
        let mut folder = name.to_owned();
        folder.push(".parts");
        let folder = out.with_file_name(folder);
        fs::create_dir_all(&folder).map_err(|error| StateError::io("create", &folder, error))?;
        let lock = take_lock(&folder)?;
        remove_leftovers(&folder)?;
        let mut parts = find_parts(&folder)?;
        let path = folder.join(ORIGIN_FILE);
        match fs::read(&path) {
            Ok(text) => {
                let found: Origin =
                    serde_json::from_slice(&text).map_err(|reason| StateError::Json { path: path.clone(), reason })?;
                compare(&folder, &origin, &found)?;
            }
            // A run that ended while it removed its parts, or that did not begin.
            Err(_) => {
                parts.drain(..).try_for_each(|part| remove(&part.path))?;
                let text = serde_json::to_vec_pretty(&origin)
                    .map_err(|reason| StateError::Json { path: path.clone(), reason })?;
                commit(&path, &text)?;
            }
        }
        let mut done = 0;
        let (kept, others): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|part| {
            let follows = part.first == done;
            done = if follows { part.end } else { done };
            follows
        });
        others.iter().try_for_each(|part| remove(&part.path))?;
        Ok(Self { out: out.to_owned(), folder, origin, parts: kept, damaged: 0, _lock: lock })
    }

    /// Batches whose vectors are on the disk.
    pub fn done(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.end)
    }

    /// Commits the vectors of all batches up to `end`. If there are none, nothing is written, and the
    /// next part begins where this one would have.
    ///
    /// # Errors
    /// If vectors differ in width, or cannot be written.
    pub fn add(&mut self, end: u64, items: Vec<Items>, damaged: usize) -> Result<(), RetrieveError> {
        self.damaged += damaged;
        let Some(width) = items.first().map(|items| items.vectors.ncols()) else { return Ok(()) };
        let first = self.done();
        let path = self.folder.join(format!("{first:010}-{end:010}.parquet"));
        commit_with(&path, |temporary| {
            let mut file = EmbeddingFile::create(temporary, width, &self.origin)?;
            file.note(DAMAGED, self.damaged);
            items.into_iter().try_for_each(|items| file.add(items))?;
            file.finish()
        })?;
        self.parts.push(Part { path, first, end });
        self.damaged = 0;
        Ok(())
    }

    /// Whether there is any vector.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Joins the parts to the file and removes them.
    ///
    /// # Errors
    /// The name of a part that is damaged; the parts are then left as they are.
    pub fn finish(self) -> Result<Embedded, RetrieveError> {
        let joined = self.folder.join("joined");
        let mut embedded = Embedded { vectors: 0, damaged: self.damaged };
        let mut file = None;
        for part in &self.parts {
            let reader = EmbeddingReader::open(&part.path)?;
            embedded.damaged += reader.note(DAMAGED).and_then(|count| count.parse::<usize>().ok()).unwrap_or(0);
            let file = match &mut file {
                Some(file) => file,
                none => none.insert(EmbeddingFile::create(&joined, reader.width(), &self.origin)?),
            };
            for rows in reader.raw()? {
                let rows = rows?;
                embedded.vectors += rows.num_rows();
                file.add_batch(&rows)?;
            }
        }
        if let Some(file) = file {
            file.finish()?;
            publish_file(&joined, &self.out)?;
        }
        self.discard()?;
        Ok(embedded)
    }

    /// Removes the parts.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn discard(self) -> Result<(), RetrieveError> {
        Ok(fs::remove_dir_all(&self.folder).map_err(|error| StateError::io("remove", &self.folder, error))?)
    }
}

/// The parts of a folder in their order.
fn find_parts(folder: &Path) -> Result<Vec<Part>, RetrieveError> {
    let failed = |error| StateError::io("read the directory", folder, error);
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let range = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".parquet")?.split_once('-'));
        if let Some((first, end)) = range
            && let (Ok(first), Ok(end)) = (first.parse(), end.parse())
        {
            parts.push(Part { first, end, path });
        }
    }
    parts.sort_by_key(|part| (part.first, part.end));
    Ok(parts)
}

fn compare(folder: &Path, expected: &Origin, found: &Origin) -> Result<(), RetrieveError> {
    let differs = |what, expected: &str, found: &str| RetrieveError::OtherParts {
        path: folder.to_owned(),
        what,
        expected: expected.to_owned(),
        found: found.to_owned(),
    };
    if expected.model != found.model {
        return Err(differs("model", &expected.model, &found.model));
    }
    if expected.samples != found.samples || expected.fields != found.fields {
        return Err(differs("data set", &expected.samples, &found.samples));
    }
    match expected.data == found.data {
        true => Ok(()),
        false => Err(differs("data set", &expected.data.join(", "), &found.data.join(", "))),
    }
}

fn remove(path: &Path) -> Result<(), StateError> {
    fs::remove_file(path).map_err(|error| StateError::io("remove", path, error))
}
