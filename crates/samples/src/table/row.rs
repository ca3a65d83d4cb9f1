//! A table's record to a sample.

use sensorium_contract::{Fault, Sample, SampleFault};

use super::records::Records;
use crate::{
    mapping::Mapping,
    places::{locate, starts},
    value::Raw,
};

/// The records of a source's files.
pub(crate) struct Rows {
    pub tables: Vec<Records>,
    starts: Vec<usize>,
    pub mapping: Mapping,
    pub row_bytes: u64,
}

/// A record before its files are read.
pub(crate) struct Row {
    /// From the key column, if the record has it.
    pub key: Option<String>,
    pub raw: Raw,
}

impl Rows {
    pub fn new(tables: Vec<Records>, mapping: Mapping, row_bytes: u64) -> Self {
        let starts = starts(tables.iter().map(Records::len));
        Self { tables, starts, mapping, row_bytes }
    }

    pub fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// As [`Rows::sample`], with files left as their paths.
    pub fn glance(&self, index: usize, parse: impl FnOnce(&str) -> Result<Row, Fault>) -> Result<Sample, SampleFault> {
        let fault = |fault| SampleFault { key: self.row_name(index), place: self.place(index), fault };
        let row = self.row(index, parse).map_err(fault)?;
        let fields = self.mapping.rename(row.raw).map_err(fault)?;
        Ok(Sample { key: row.key.unwrap_or_else(|| self.row_name(index)), fields })
    }

    /// The sample that `parse` makes of a record's text.
    pub fn sample(&self, index: usize, parse: impl FnOnce(&str) -> Result<Row, Fault>) -> Result<Sample, SampleFault> {
        let mut key = None;
        let fields = self.row(index, parse).and_then(|row| {
            key = row.key;
            self.mapping.read_files(row.raw, &self.table(index).folder)
        });
        let key = key.unwrap_or_else(|| self.row_name(index));
        match fields {
            Ok(fields) => Ok(Sample { key, fields }),
            Err(fault) => Err(SampleFault { key, place: self.place(index), fault }),
        }
    }

    /// The key only.
    pub fn key(&self, index: usize, parse: impl FnOnce(&str) -> Result<Row, Fault>) -> Result<String, SampleFault> {
        let name = || self.row_name(index);
        match self.row(index, parse) {
            Ok(row) => Ok(row.key.unwrap_or_else(name)),
            Err(fault) => Err(SampleFault { key: name(), place: self.place(index), fault }),
        }
    }

    fn row(&self, index: usize, parse: impl FnOnce(&str) -> Result<Row, Fault>) -> Result<Row, Fault> {
        let (table, record) = locate(&self.starts, index);
        parse(&self.tables[table].text(record, self.row_bytes)?)
    }

    fn table(&self, index: usize) -> &Records {
        &self.tables[locate(&self.starts, index).0]
    }

    fn row_name(&self, index: usize) -> String {
        let (table, row) = locate(&self.starts, index);
        row_name(&self.tables[table].file.path, self.tables.len(), row)
    }

    /// File and row, for people.
    pub fn place(&self, index: usize) -> String {
        let (table, record) = locate(&self.starts, index);
        format!("{}, row {record}", self.tables[table].file.name())
    }
}

/// The key of a row without a key column: its number in the file, counted from 0, after the
/// file's stem if there are several files.
pub(crate) fn row_name(path: &std::path::Path, files: usize, row: usize) -> String {
    match path.file_stem().filter(|_| files > 1) {
        Some(stem) => format!("{}/{row}", stem.to_string_lossy()),
        None => row.to_string(),
    }
}
