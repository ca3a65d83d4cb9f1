use std::{path::Path, sync::Arc};

use sensorium_cases::{Joined, LabelRule, days, is_missing, join};
use sensorium_contract::{Sample, SampleFault, Value};
use sensorium_samples::{Dataset, Origin, Source, SourceConfig};
use serde::{Deserialize, Serialize};

use crate::AdaptError;

/// The file beside a model that says how its cases are read.
pub const READING: &str = "reading.toml";

/// How a row of the user's table becomes a sample: part of the model, as preprocessing is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// The label.
    pub label: LabelRule,
    /// Columns of dates, which become days since 1970-01-01.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dates: Vec<String>,
    /// Columns of one sound a case, of which a list is cut to its first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub single: Vec<String>,
    /// The column of which rows that share its value are one case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// The column whose cases belong together, as those of a patient: of it groups are drawn for intervals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl Reading {
    /// The rows of tables: files, folders or globs, relative to `base`. A file that a cell names but that
    /// is not there is a missing value.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn rows(paths: &[String], base: &Path) -> Result<Dataset, AdaptError> {
        let source = |path: &String| SourceConfig { files_may_be_missing: true, ..SourceConfig::new(path) };
        let sources: Vec<SourceConfig> = paths.iter().map(source).collect();
        Ok(Dataset::open(&sources, base)?)
    }

    /// A table of further cases, as they were when these were read.
    ///
    /// # Errors
    /// If it cannot be read, or the column that says which rows are one case is not there.
    pub fn open(&self, paths: &[String]) -> Result<Joined, AdaptError> {
        let data = Self::rows(paths, Path::new(""))?;
        match &self.case {
            Some(column) => Ok(join(data, column, &self.label)?),
            None => Ok(Joined { data, warning: None }),
        }
    }

    /// The cases of a table as a model reads them.
    ///
    /// # Errors
    /// Never for a data set that holds samples.
    pub fn cases(&self, data: Dataset) -> Result<Dataset, AdaptError> {
        Ok(Dataset::new(vec![(Arc::new(CaseSource { data, reading: self.clone() }), None)])?)
    }

    fn apply(&self, mut sample: Sample) -> Sample {
        let label = sample.fields.remove(&self.label.column).and_then(|value| self.label.apply(&value));
        sample.fields.retain(|_, value| !value.as_text().is_some_and(|text| is_missing(&text)));
        for name in &self.dates {
            let Some(value) = sample.fields.remove(name) else { continue };
            if let Value::Number(_) = value {
                sample.fields.insert(name.clone(), value);
            } else if let Some(days) = value.as_text().and_then(|text| days(&text)) {
                sample.fields.insert(name.clone(), Value::Number(days));
            }
        }
        for name in &self.single {
            if let Some(Value::List(values)) = sample.fields.get(name)
                && let Some(first) = values.first().cloned()
            {
                sample.fields.insert(name.clone(), first);
            }
        }
        sample.fields.extend(label.map(|label| (self.label.name(), label)));
        sample
    }
}

/// A table's rows through a [`Reading`].
struct CaseSource {
    data: Dataset,
    reading: Reading,
}

impl Source for CaseSource {
    fn len(&self) -> usize {
        self.data.len()
    }

    fn read(&self, index: usize) -> Result<Sample, SampleFault> {
        self.data.read(index).map(|sample| self.reading.apply(sample))
    }

    fn glance(&self, index: usize) -> Result<Sample, SampleFault> {
        self.data.glance(index).map(|sample| self.reading.apply(sample))
    }

    fn key(&self, index: usize) -> Result<String, SampleFault> {
        self.data.key(index)
    }

    fn place(&self, index: usize) -> String {
        self.data.place(index)
    }

    fn origin(&self) -> Origin {
        Origin { path: "cases".to_owned(), format: "table".to_owned(), files: 1 }
    }
}
