//! A question to a model: a text, a picture, a sound, a table row, or several of these together.

use std::{fs, path::Path};

use ndarray::Array1;
use sensorium_contract::{Embedder, Name, Sample, Value};

use crate::{AnyModel, Error};

/// A question as a sample of the model's own fields.
#[derive(Clone, Debug, Default)]
pub struct Query {
    sample: Sample,
    modalities: Vec<Name>,
}

impl Query {
    /// Adds what the model's first modality of a kind reads (`text`, `image`, `audio`).
    ///
    /// # Errors
    /// If the model has none.
    pub fn with(mut self, model: &AnyModel, kind: &str, value: Value) -> Result<Self, Error> {
        let mut readings = model.readings().into_iter().filter(|(_, reading)| reading.kind == kind);
        let found = readings.find_map(|(name, reading)| Some((name, reading.field?)));
        let (name, field) = found.ok_or_else(|| reads_no(model, kind))?;
        self.sample.fields.insert(field, value);
        self.modalities.push(name);
        Ok(self)
    }

    /// As [`Query::with`], of a file's bytes.
    ///
    /// # Errors
    /// Also if the file cannot be read.
    pub fn with_file(self, model: &AnyModel, kind: &str, path: &Path) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        self.with(model, kind, Value::Bytes(bytes.into()))
    }

    /// Adds the columns of a table row: a JSON object of texts and numbers.
    ///
    /// # Errors
    /// If it is something else, or the model reads no table.
    pub fn with_row(mut self, model: &AnyModel, row: &str) -> Result<Self, Error> {
        let table = model.readings().into_iter().find(|(_, reading)| reading.field.is_none());
        let (name, _) = table.ok_or_else(|| reads_no(model, "table"))?;
        self.modalities.push(name);
        let wrong = |found: &str| Error::Usage(format!("a row is a JSON object of texts and numbers, found {found}"));
        let row: serde_json::Value = serde_json::from_str(row).map_err(|error| wrong(&error.to_string()))?;
        for (column, value) in row.as_object().ok_or_else(|| wrong(&row.to_string()))? {
            let value = match value {
                serde_json::Value::Null => continue,
                serde_json::Value::String(text) => Value::Text(text.clone()),
                serde_json::Value::Bool(yes) => Value::Text(yes.to_string()),
                serde_json::Value::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
                other => return Err(wrong(&other.to_string())),
            };
            self.sample.fields.insert(column.clone(), value);
        }
        Ok(self)
    }

    /// The modalities that were given, in that order.
    pub fn modalities(&self) -> &[Name] {
        &self.modalities
    }

    /// What is asked.
    pub fn sample(&self) -> &Sample {
        &self.sample
    }

    /// The modalities of the question, and its vector, of length 1: of several modalities the mean.
    ///
    /// # Errors
    /// If the model cannot read it.
    pub fn embed(&self, model: &AnyModel) -> Result<(Vec<Name>, Array1<f32>), Error> {
        let decoded = model.preparation().decode(&self.sample).map_err(|fault| Error::Usage(fault.to_string()))?;
        let vectors = model.embed(&model.preparation().collate(vec![("query".to_owned(), decoded)]));
        let asked: Vec<Name> = vectors.keys().cloned().collect();
        let sum = vectors.values().map(|embeddings| embeddings.vectors.row(0).to_owned()).reduce(|sum, one| sum + one);
        let Some(sum) = sum else {
            return Err(Error::Usage(format!("the question holds nothing that the model reads ({})", names(model))));
        };
        let length = sum.dot(&sum).sqrt().max(f32::MIN_POSITIVE);
        Ok((asked, sum / length))
    }
}

fn reads_no(model: &AnyModel, kind: &str) -> Error {
    Error::Usage(format!("the model reads no {kind}; it has {}", names(model)))
}

fn names(model: &AnyModel) -> String {
    model.readings().keys().map(|name| &**name).collect::<Vec<_>>().join(", ")
}
