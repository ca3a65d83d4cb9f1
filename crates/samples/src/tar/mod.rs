//! Tar shards, plain or compressed.

mod read;
mod scan;
mod unpack;

use std::{io::BufReader, path::PathBuf};

use rayon::prelude::*;
use sensorium_contract::{Fault, Sample, SampleFault};

use crate::{
    config::{Limits, SourceConfig},
    error::SourceError,
    file::{DataFile, Section},
    lru::Lru,
    mapping::Mapping,
    places::{locate, starts},
    source::{Origin, Piece, Source},
};
use scan::Index;
use unpack::Compression;

pub(crate) use read::file as read_file;

/// Samples of tar shards, in the order of the shards and of their members.
///
/// Members of a sample stand next to each other. A plain shard is read at the sample's place; a
/// compressed one is decompressed into memory as a whole, and kept for its next samples.
pub(crate) struct TarSource {
    path: String,
    shards: Vec<Shard>,
    /// Number of samples before each shard, and in all.
    starts: Vec<usize>,
    unpacked: Lru<Vec<u8>>,
    mapping: Mapping,
    limits: Limits,
}

struct Shard {
    file: DataFile,
    compression: Compression,
    index: Index,
}

impl TarSource {
    pub fn open(config: &SourceConfig, files: Vec<PathBuf>) -> Result<Self, SourceError> {
        let count = files.len();
        let limits = config.limits;
        let open = |path: PathBuf| Shard::open(path, count, &limits);
        let shards: Vec<Shard> = files.into_par_iter().map(open).collect::<Result<_, _>>()?;
        let starts = starts(shards.iter().map(|shard| shard.index.len()));
        let (path, unpacked) = (config.path.clone(), Lru::new(limits.cache_bytes()));
        Ok(Self { path, shards, starts, unpacked, mapping: Mapping::new(config), limits })
    }

    fn read_fields(&self, number: usize, place: usize, key: &mut String) -> Result<Sample, Fault> {
        let shard = &self.shards[number];
        let (start, end) = shard.index.span(place);
        let limit = self.limits.field_bytes();
        let raw = match shard.compression {
            Compression::None => {
                let handle = shard.file.handle().map_err(unreadable)?;
                let section = Section { file: handle.file(), position: start, end };
                let buffer = (end - start).min(64 << 10) as usize;
                read::members(BufReader::with_capacity(buffer, section), limit, key)?
            }
            _ => {
                let bytes = self.unpacked.get(number, || shard.unpack())?;
                read::members(&bytes[start as usize..end as usize], limit, key)?
            }
        };
        Ok(Sample { key: key.clone(), fields: self.mapping.rename(raw)? })
    }
}

impl Shard {
    fn open(path: PathBuf, files: usize, limits: &Limits) -> Result<Self, SourceError> {
        let file = DataFile::open(path.clone(), files).map_err(SourceError::io(&path))?;
        let handle = file.handle().map_err(SourceError::io(&path))?;
        let compression = Compression::of(handle.file()).map_err(SourceError::io(&path))?;
        let index = match compression {
            Compression::None => scan::plain(handle.file(), &path)?,
            _ => scan::compressed(compression, handle.file(), &path, limits.shard_bytes())?,
        };
        drop(handle);
        Ok(Self { file, compression, index })
    }

    fn unpack(&self) -> Result<(Vec<u8>, u64), Fault> {
        let handle = self.file.handle().map_err(unreadable)?;
        let bytes = unpack::whole(self.compression, handle.file(), self.index.bytes()).map_err(unreadable)?;
        Ok((bytes, self.index.bytes()))
    }
}

fn unreadable(error: std::io::Error) -> Fault {
    Fault::new("", "shard cannot be read", error)
}

impl Source for TarSource {
    fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    fn read(&self, index: usize) -> Result<Sample, SampleFault> {
        let (number, place) = locate(&self.starts, index);
        let mut key = String::new();
        self.read_fields(number, place, &mut key).map_err(|fault| {
            let key = if key.is_empty() { format!("number {index}") } else { key };
            SampleFault { key, place: self.place(index), fault }
        })
    }

    fn place(&self, index: usize) -> String {
        let (number, place) = locate(&self.starts, index);
        let shard = &self.shards[number];
        format!("{}, byte {}", shard.file.name(), shard.index.span(place).0)
    }

    fn key_hash(&self, index: usize) -> Result<u64, SampleFault> {
        let (number, place) = locate(&self.starts, index);
        Ok(self.shards[number].index.key_hash(place))
    }

    fn pieces(&self) -> Vec<Piece> {
        if self.shards.iter().all(|shard| shard.compression == Compression::None) {
            return Vec::new();
        }
        let piece = |shard: &Shard| {
            let bytes = if shard.compression == Compression::None { 0 } else { shard.index.bytes() };
            Piece { samples: shard.index.len(), memory: self.limits.cache_share(bytes) }
        };
        self.shards.iter().map(piece).collect()
    }

    fn origin(&self) -> Origin {
        Origin { path: self.path.clone(), format: "tar".to_owned(), files: self.shards.len() }
    }
}
