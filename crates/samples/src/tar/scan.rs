//! Where each sample of a shard begins.

use std::{collections::HashSet, fs::File, io::Read, path::Path};

use tar::{Archive, EntryType};

use super::unpack::{self, Compression, Counted};
use crate::{
    error::SourceError,
    file::Section,
    names::{field, member},
    source::key_hash,
};

const BLOCK: u64 = 512;

/// Places of a shard's samples: 16 bytes each.
pub(crate) struct Index {
    /// Where each sample's first member begins, and where the last one ends.
    starts: Vec<u64>,
    hashes: Vec<u64>,
    /// Of the whole shard, decompressed.
    bytes: u64,
}

impl Index {
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    pub fn span(&self, place: usize) -> (u64, u64) {
        (self.starts[place], self.starts[place + 1])
    }

    pub fn key_hash(&self, place: usize) -> u64 {
        self.hashes[place]
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Scans a shard that is not compressed, jumping from header to header.
pub(crate) fn plain(file: &File, path: &Path) -> Result<Index, SourceError> {
    let length = file.metadata().map_err(SourceError::io(path))?.len();
    let mut archive = Archive::new(Section { file, position: 0, end: length });
    let entries = archive.entries_with_seek().map_err(SourceError::damaged(path))?;
    let (scan, end) = walk(entries, path, Some(length))?;
    scan.finish(end, length, path)
}

/// Scans a compressed shard by decompressing all of it, without keeping it.
pub(crate) fn compressed(compression: Compression, file: &File, path: &Path, limit: u64) -> Result<Index, SourceError> {
    let reader = unpack::reader(compression, file).map_err(SourceError::damaged(path))?;
    let mut archive = Archive::new(Counted::new(reader, limit));
    let walked = archive.entries().map_err(SourceError::damaged(path)).and_then(|entries| walk(entries, path, None));
    let mut counted = archive.into_inner();
    // The rest, so that the checksum at the very end is seen.
    let rest = walked.and_then(|walked| {
        std::io::copy(&mut counted, &mut std::io::sink()).map_err(SourceError::damaged(path))?;
        Ok(walked)
    });
    if counted.exceeded() {
        return Err(SourceError::TooLarge { path: path.to_owned(), limit });
    }
    let (scan, end) = rest?;
    scan.finish(end, counted.count(), path)
}

/// The samples, and where the last member ends.
fn walk<R: Read>(entries: tar::Entries<'_, R>, path: &Path, length: Option<u64>) -> Result<(Scan, u64), SourceError> {
    let mut scan = Scan::default();
    let mut end = 0;
    for entry in entries {
        let entry = entry.map_err(SourceError::damaged(path))?;
        let start = end;
        let data_end = entry.raw_file_position().saturating_add(entry.size());
        end = data_end.saturating_add(BLOCK - 1) / BLOCK * BLOCK;
        let name = entry.path_bytes();
        let name = std::str::from_utf8(&name).map_err(SourceError::damaged(path))?;
        if length.is_some_and(|length| data_end > length) {
            let reason = format!("truncated: member `{name}` goes on beyond the end of the file");
            return Err(SourceError::Damaged { path: path.to_owned(), reason });
        }
        match entry.header().entry_type() {
            _ if name.ends_with('/') => {}
            EntryType::Regular | EntryType::Continuous => scan.add(name, start, path)?,
            EntryType::Link | EntryType::Symlink | EntryType::GNUSparse => {
                let reason = format!("member `{name}` is a link or sparse; only plain files are read");
                return Err(SourceError::Damaged { path: path.to_owned(), reason });
            }
            _ => {}
        }
    }
    Ok((scan, end))
}

/// What was seen so far of a shard.
#[derive(Default)]
struct Scan {
    starts: Vec<u64>,
    hashes: Vec<u64>,
    key: String,
    fields: Vec<String>,
    seen: HashSet<[u8; 16]>,
}

impl Scan {
    fn add(&mut self, name: &str, start: u64, path: &Path) -> Result<(), SourceError> {
        let Some(member) = member(name) else {
            return Ok(());
        };
        let wrong = |reason: String| SourceError::Member { path: path.to_owned(), key: member.key.to_owned(), reason };
        if self.hashes.is_empty() || member.key != self.key {
            let mut hash = [0; 16];
            hash.copy_from_slice(&blake3::hash(member.key.as_bytes()).as_bytes()[..16]);
            if !self.seen.insert(hash) {
                let reason = format!("member `{name}` stands apart from the sample's other members; sort the shard");
                return Err(wrong(reason));
            }
            self.starts.push(start);
            self.hashes.push(key_hash(member.key));
            self.key = member.key.to_owned();
            self.fields.clear();
        }
        let (field, _) = field(member.suffix);
        if self.fields.contains(&field) {
            return Err(wrong(format!("member `{name}` is a second one for the field `{field}`")));
        }
        self.fields.push(field);
        Ok(())
    }

    fn finish(mut self, end: u64, bytes: u64, path: &Path) -> Result<Index, SourceError> {
        // An archive ends with blocks of zeros; without them, members may have been cut off.
        if bytes < end + BLOCK {
            let reason = format!("truncated: no end mark after byte {end}");
            return Err(SourceError::Damaged { path: path.to_owned(), reason });
        }
        self.starts.push(end);
        self.starts.shrink_to_fit();
        self.hashes.shrink_to_fit();
        Ok(Index { starts: self.starts, hashes: self.hashes, bytes })
    }
}
