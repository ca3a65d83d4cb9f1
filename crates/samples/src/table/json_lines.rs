//! JSON Lines.

use std::path::PathBuf;

use rayon::prelude::*;
use sensorium_contract::{Fault, Sample, SampleFault};

use super::{
    records::Records,
    row::{Row, Rows},
};
use crate::{
    config::SourceConfig,
    error::SourceError,
    mapping::Mapping,
    source::{Origin, Source},
    value::flatten,
};

/// Samples of files with one JSON object a line.
pub(crate) struct JsonLinesSource {
    path: String,
    rows: Rows,
}

impl JsonLinesSource {
    pub fn open(config: &SourceConfig, files: Vec<PathBuf>) -> Result<Self, SourceError> {
        let count = files.len();
        let open = |path: PathBuf| Records::open(path, count, |byte| byte == b'\n');
        let tables: Vec<Records> = files.into_par_iter().map(open).collect::<Result<_, _>>()?;
        let rows = Rows::new(tables, Mapping::new(config), config.limits.field_bytes());
        Ok(Self { path: config.path.clone(), rows })
    }

    fn parse(&self, text: &str) -> Result<Row, Fault> {
        let mut object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|error| Fault::new("", "not a JSON object", error))?;
        let mut row = Row { key: None, raw: Vec::with_capacity(object.len()) };
        let name = self.rows.mapping.key_column(|name| object.contains_key(name)).map(str::to_owned);
        if let Some(name) = name {
            row.key = object.get(&name).and_then(key_text);
            if !Mapping::keeps_key(&name) {
                object.remove(&name);
            }
        }
        flatten("", object, &mut row.raw);
        Ok(row)
    }
}

fn key_text(value: &serde_json::Value) -> Option<String> {
    let text = match value {
        serde_json::Value::String(text) => text.trim().to_owned(),
        serde_json::Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

impl Source for JsonLinesSource {
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
        Origin { path: self.path.clone(), format: "jsonl".to_owned(), files: self.rows.tables.len() }
    }
}
