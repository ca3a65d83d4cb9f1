//! Decompression in memory, never to disk.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

use crate::file::Section;

/// How a shard is compressed; told by its first bytes, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub fn of(file: &File) -> io::Result<Self> {
        let mut magic = [0; 4];
        let got = file.read_at(&mut magic, 0)?;
        Ok(match &magic[..got] {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Self::Zstd,
            _ => Self::None,
        })
    }
}

/// A shard's decompressed bytes as they come.
pub(crate) fn reader(compression: Compression, file: &File) -> io::Result<Box<dyn Read + '_>> {
    let whole = Section { file, position: 0, end: u64::MAX };
    Ok(match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(io::BufReader::new(whole))),
        Compression::Zstd => Box::new(zstd::Decoder::new(whole)?),
    })
}

/// A whole shard, of which the scan found this many bytes.
pub(crate) fn whole(compression: Compression, file: &File, bytes: u64) -> io::Result<Vec<u8>> {
    let mut unpacked = vec![0; bytes as usize];
    reader(compression, file)?.read_exact(&mut unpacked)?;
    Ok(unpacked)
}

/// A reader that counts, and fails beyond a limit.
pub(crate) struct Counted<R> {
    reader: R,
    count: u64,
    limit: u64,
}

impl<R: Read> Counted<R> {
    pub fn new(reader: R, limit: u64) -> Self {
        Self { reader, count: 0, limit }
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn exceeded(&self) -> bool {
        self.count > self.limit
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.reader.read(buffer)?;
        self.count += got as u64;
        match self.exceeded() {
            true => Err(io::Error::other("larger than the limit")),
            false => Ok(got),
        }
    }
}
