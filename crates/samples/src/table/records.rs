//! Where each record of a text file begins.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use sensorium_contract::Fault;

use crate::{
    error::SourceError,
    file::{Confined, DataFile, Section},
};

const BOM: &[u8] = &[0xEF, 0xBB, 0xBF];

/// A text file with the places of its records, 8 bytes each.
pub(crate) struct Records {
    pub file: DataFile,
    /// The file's folder, which its relative paths start at.
    pub folder: Confined,
    /// Where each record begins, and where the file ends. Blank lines may follow a record.
    starts: Vec<u64>,
}

impl Records {
    /// Reads the file through. `ends` is told each byte, and says whether it ends a record.
    pub fn open(path: PathBuf, files: usize, mut ends: impl FnMut(u8) -> bool) -> Result<Self, SourceError> {
        let file = DataFile::open(path.clone(), files).map_err(SourceError::io(&path))?;
        let folder = Confined::new(path.parent().unwrap_or(Path::new("."))).map_err(SourceError::io(&path))?;
        let handle = file.handle().map_err(SourceError::io(&path))?;
        let starts = scan(handle.file(), &path, &mut ends)?;
        drop(handle);
        Ok(Self { file, folder, starts })
    }

    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The text of the first record, if there is one.
    pub fn first(&self, limit: u64) -> Result<Option<String>, SourceError> {
        let first = (self.len() > 0).then(|| self.text(0, limit));
        first.transpose().map_err(SourceError::damaged(&self.file.path))
    }

    /// The first record, taken out of the samples: the names of columns.
    pub fn take_first(&mut self, limit: u64) -> Result<Option<String>, SourceError> {
        let first = self.first(limit)?;
        if first.is_some() {
            self.starts.remove(0);
        }
        Ok(first)
    }

    /// The text of one record, with what follows it up to the next.
    pub fn text(&self, record: usize, limit: u64) -> Result<String, Fault> {
        let (start, end) = (self.starts[record], self.starts[record + 1]);
        if end - start > limit {
            let detail = format!("{} bytes, the limit is {limit}; perhaps a quote is not closed", end - start);
            return Err(Fault::new("", "row is too large", detail));
        }
        let unreadable = |error: &dyn std::fmt::Display| Fault::new("", "table cannot be read", error);
        let bytes = self.file.read(start, end).map_err(|error| unreadable(&error))?;
        String::from_utf8(bytes).map_err(|error| unreadable(&error))
    }
}

fn scan(file: &File, path: &Path, ends: &mut dyn FnMut(u8) -> bool) -> Result<Vec<u64>, SourceError> {
    let mut reader = Section { file, position: 0, end: u64::MAX };
    let mut buffer = vec![0; 1 << 20];
    let mut utf8 = Utf8::default();
    let mut starts = Vec::new();
    let (mut position, mut start, mut blank) = (0, 0, true);
    loop {
        let got = reader.read(&mut buffer).map_err(SourceError::io(path))?;
        let mut bytes = &buffer[..got];
        utf8.check(bytes).map_err(|byte| SourceError::Encoding { path: path.to_owned(), byte })?;
        if got == 0 {
            break;
        }
        if position == 0 && bytes.starts_with(BOM) {
            (bytes, position, start) = (&bytes[BOM.len()..], 3, 3);
        }
        for &byte in bytes {
            position += 1;
            blank &= byte.is_ascii_whitespace();
            if ends(byte) {
                if !blank {
                    starts.push(start);
                }
                (start, blank) = (position, true);
            }
        }
    }
    if !blank {
        starts.push(start);
    }
    starts.push(position);
    starts.shrink_to_fit();
    Ok(starts)
}

/// Checks text that comes in pieces.
#[derive(Default)]
struct Utf8 {
    /// Bytes that were checked.
    checked: u64,
    /// The beginning of a character that the last piece cut.
    cut: Vec<u8>,
}

impl Utf8 {
    /// `Err` is the place of the first wrong byte. An empty piece is the end.
    fn check(&mut self, mut piece: &[u8]) -> Result<(), u64> {
        if piece.is_empty() {
            return if self.cut.is_empty() { Ok(()) } else { Err(self.checked) };
        }
        while !self.cut.is_empty() {
            let Some((&byte, rest)) = piece.split_first() else {
                return Ok(());
            };
            self.cut.push(byte);
            piece = rest;
            match std::str::from_utf8(&self.cut) {
                Ok(_) => {
                    self.checked += self.cut.len() as u64;
                    self.cut.clear();
                }
                Err(error) if error.error_len().is_some() => return Err(self.checked),
                Err(_) => {}
            }
        }
        match std::str::from_utf8(piece) {
            Ok(_) => self.checked += piece.len() as u64,
            Err(error) => {
                self.checked += error.valid_up_to() as u64;
                if error.error_len().is_some() {
                    return Err(self.checked);
                }
                self.cut = piece[error.valid_up_to()..].to_vec();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first error of `text` in pieces of each size.
    fn first_error(text: &[u8]) -> Option<u64> {
        let errors: Vec<Option<u64>> = (1..=text.len())
            .map(|size| {
                let mut utf8 = Utf8::default();
                text.chunks(size).chain([&[][..]]).find_map(|piece| utf8.check(piece).err())
            })
            .collect();
        assert!(errors.windows(2).all(|pair| pair[0] == pair[1]), "{errors:?}");
        errors[0]
    }

    #[test]
    fn the_first_byte_that_is_not_utf8_is_found_across_pieces() {
        assert_eq!(first_error("aé€😀z".as_bytes()), None);
        assert_eq!(first_error(b"ab\xe9cd"), Some(2));
        assert_eq!(first_error(b"ab\xe9"), Some(2));
        assert_eq!(first_error("€\u{1F600}".as_bytes().split_last().unwrap().1), Some(3));
    }
}
