//! CSV and TSV.

use std::path::PathBuf;

use rayon::prelude::*;
use sensorium_contract::{Fault, Sample, SampleFault};

use super::{
    records::Records,
    row::{Row, Rows},
    tokenise::{State, cells},
};
use crate::{
    config::SourceConfig,
    error::SourceError,
    mapping::Mapping,
    source::{Origin, Source},
    value::cell,
};

/// Samples of delimited text files, all of the same columns.
pub(crate) struct DelimitedSource {
    path: String,
    delimiter: u8,
    columns: Vec<String>,
    /// Place of the key's column, and whether it is a field too.
    key: Option<(usize, bool)>,
    rows: Rows,
}

impl DelimitedSource {
    pub fn open(config: &SourceConfig, files: Vec<PathBuf>, delimiter: u8) -> Result<Self, SourceError> {
        let (count, limit) = (files.len(), config.limits.field_bytes());
        let open = |path: PathBuf| open_table(path, count, config.header, delimiter, limit);
        let opened: Vec<(Records, Vec<String>)> = files.into_par_iter().map(open).collect::<Result<_, _>>()?;
        let mapping = Mapping::new(config);
        let mut tables = Vec::with_capacity(opened.len());
        let mut common: Option<Vec<String>> = None;
        for (table, columns) in opened {
            match &common {
                None => {
                    mapping.check_columns(&table.file.path, &columns)?;
                    common = Some(columns);
                }
                Some(common) if *common != columns => {
                    let reason = format!("columns differ from the first file's: {}", columns.join(", "));
                    return Err(SourceError::Damaged { path: table.file.path, reason });
                }
                Some(_) => {}
            }
            tables.push(table);
        }
        let columns = common.unwrap_or_default();
        let place = |name: &str| columns.iter().position(|column| column == name);
        let key = mapping.key_column(|name| place(name).is_some()).map(str::to_owned);
        let key = key.and_then(|name| Some((place(&name)?, Mapping::keeps_key(&name))));
        Ok(Self { path: config.path.clone(), delimiter, columns, key, rows: Rows::new(tables, mapping, limit) })
    }

    fn parse(&self, text: &str) -> Result<Row, Fault> {
        let cells = cells(text, self.delimiter);
        if cells.len() != self.columns.len() {
            let detail = format!("{} cells, the table has {} columns", cells.len(), self.columns.len());
            return Err(Fault::new("", "row has a wrong number of cells", detail));
        }
        let mut row = Row { key: None, raw: Vec::with_capacity(cells.len()) };
        for (place, (column, text)) in self.columns.iter().zip(cells).enumerate() {
            let Some(value) = cell(&text) else { continue };
            match self.key {
                Some((key, false)) if key == place => row.key = Some(text),
                Some((key, true)) if key == place => {
                    row.key = Some(text);
                    row.raw.push((column.clone(), value));
                }
                _ => row.raw.push((column.clone(), value)),
            }
        }
        Ok(row)
    }
}

/// A file's records, without the one that names the columns, and the columns.
fn open_table(
    path: PathBuf,
    files: usize,
    header: bool,
    delimiter: u8,
    limit: u64,
) -> Result<(Records, Vec<String>), SourceError> {
    let mut state = State::Start;
    let mut table = Records::open(path, files, |byte| state.ends_record(byte, delimiter))?;
    let damaged = |path: &PathBuf, reason: &str| SourceError::Damaged { path: path.clone(), reason: reason.to_owned() };
    if state == State::Quoted {
        return Err(damaged(&table.file.path, "a quote is not closed before the end of the file"));
    }
    let first = match header {
        true => table.take_first(limit)?,
        false => table.first(limit)?,
    };
    let names =
        |first: String| cells(&first, delimiter).into_iter().map(|name| if header { name } else { String::new() });
    let columns: Option<Vec<String>> = first.map(|first| names(first).collect());
    let Some(mut columns) = columns else {
        return Err(SourceError::Empty { path: table.file.path.display().to_string() });
    };
    for (number, column) in columns.iter_mut().enumerate().filter(|(_, column)| column.is_empty()) {
        *column = format!("column_{number}");
    }
    for (number, column) in columns.iter().enumerate() {
        if columns[..number].contains(column) {
            return Err(damaged(&table.file.path, &format!("two columns are called `{column}`")));
        }
    }
    Ok((table, columns))
}

impl Source for DelimitedSource {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn read(&self, index: usize) -> Result<Sample, SampleFault> {
        self.rows.sample(index, |text| self.parse(text))
    }

    fn glance(&self, index: usize) -> Result<Sample, SampleFault> {
        self.rows.glance(index, |text| self.parse(text))
    }

    fn key(&self, index: usize) -> Result<String, SampleFault> {
        self.rows.key(index, |text| self.parse(text))
    }

    fn place(&self, index: usize) -> String {
        self.rows.place(index)
    }

    fn origin(&self) -> Origin {
        let format = if self.delimiter == b'\t' { "tsv" } else { "csv" };
        Origin { path: self.path.clone(), format: format.to_owned(), files: self.rows.tables.len() }
    }
}
