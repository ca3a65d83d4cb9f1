//! From what a file holds to the fields of a sample.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use sensorium_contract::{Fault, Value};

use crate::{
    config::SourceConfig,
    error::SourceError,
    file::{Confined, FILE_IS_MISSING},
    names::is_media_path,
    value::{Raw, utf8},
};

/// Renames, and columns that are files.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    key: Option<String>,
    /// New names by old name.
    renames: BTreeMap<String, Vec<String>>,
    files: BTreeSet<String>,
    may_be_missing: bool,
    field_bytes: u64,
}

impl Mapping {
    pub fn new(config: &SourceConfig) -> Self {
        let mut renames: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (new, old) in &config.fields {
            renames.entry(old.clone()).or_default().push(new.clone());
        }
        Self {
            key: config.key.clone(),
            renames,
            files: config.files.iter().cloned().collect(),
            may_be_missing: config.files_may_be_missing,
            field_bytes: config.limits.field_bytes(),
        }
    }

    /// Refuses a configuration that names columns which the table lacks, or makes two of one name.
    pub fn check_columns(&self, path: &Path, columns: &[String]) -> Result<(), SourceError> {
        let has = |name: &String| {
            let nested = format!("{name}.");
            columns
                .iter()
                .any(|column| column == name || name.starts_with(&format!("{column}.")) || column.starts_with(&nested))
        };
        let renamed = |name: &String| self.renames.values().flatten().any(|new| new == name);
        let named = self.key.iter().chain(self.renames.keys()).chain(self.files.iter().filter(|file| !renamed(file)));
        for name in named {
            if !has(name) {
                let available = columns.to_vec();
                return Err(SourceError::Column { path: path.to_owned(), column: name.clone(), available });
            }
        }
        for new in self.renames.values().flatten() {
            if columns.contains(new) && !self.renames.contains_key(new) {
                let reason = format!("two columns would be called `{new}`");
                return Err(SourceError::Config { path: path.display().to_string(), key: "fields", reason });
            }
        }
        Ok(())
    }

    /// The column that the key comes from, among those that a record or table has.
    pub fn key_column(&self, has: impl Fn(&str) -> bool) -> Option<&str> {
        match &self.key {
            Some(key) => has(key).then_some(key),
            None => ["key", "id"].into_iter().find(|name| has(name)),
        }
    }

    /// Whether a column that the key comes from is a field too.
    pub fn keeps_key(column: &str) -> bool {
        column != "key" && column != "id"
    }

    /// Renames fields; two of one name are a fault.
    pub fn rename(&self, raw: Raw) -> Result<BTreeMap<String, Value>, Fault> {
        let mut fields = BTreeMap::new();
        for (old, value) in raw {
            let value = listed(value);
            match self.renames.get(&old) {
                None => insert(&mut fields, old, value)?,
                Some(news) => {
                    for new in news {
                        insert(&mut fields, new.clone(), value.clone())?;
                    }
                }
            }
        }
        Ok(fields)
    }

    /// Reads the files that cells name, then renames.
    pub fn read_files(&self, raw: Raw, folder: &Confined) -> Result<BTreeMap<String, Value>, Fault> {
        let read = |(name, value): (String, Value)| match self.file(&name, listed(value), folder) {
            Ok(value) => Some(Ok((name, value))),
            Err(fault) if self.may_be_missing && fault.reason == FILE_IS_MISSING => None,
            Err(fault) => Some(Err(fault)),
        };
        self.rename(raw.into_iter().filter_map(read).collect::<Result<_, Fault>>()?)
    }

    fn file(&self, field: &str, value: Value, folder: &Confined) -> Result<Value, Fault> {
        match value {
            Value::Text(path) if is_media_path(&path) => folder.read(field, &path, self.field_bytes).map(Value::Bytes),
            Value::Text(path) if self.is_file(field) => {
                let bytes = folder.read(field, &path, self.field_bytes)?;
                match path.ends_with(".txt") {
                    true => Ok(Value::Text(utf8(field, &bytes)?.trim().to_owned())),
                    false => Ok(Value::Bytes(bytes)),
                }
            }
            Value::List(values) => {
                // Of several files those that are there; if none is, the field is missing as one alone would be.
                let mut lost = None;
                let mut found = Vec::with_capacity(values.len());
                for value in values {
                    match self.file(field, value, folder) {
                        Err(fault) if self.may_be_missing && fault.reason == FILE_IS_MISSING => lost = Some(fault),
                        read => found.push(read?),
                    }
                }
                match lost.filter(|_| found.is_empty()) {
                    Some(fault) => Err(fault),
                    None => Ok(Value::List(found)),
                }
            }
            other => Ok(other),
        }
    }

    /// Columns may be named by their old names or their new ones.
    fn is_file(&self, field: &str) -> bool {
        let new = || self.renames.get(field).into_iter().flatten().any(|new| self.files.contains(new));
        self.files.contains(field) || new()
    }
}

/// Several files in one cell, as `a.png|b.png` or as a JSON list, as a list; all else as it is.
fn listed(value: Value) -> Value {
    let Value::Text(text) = &value else { return value };
    let paths: Vec<String> = match text.starts_with('[') {
        true => serde_json::from_str(text).unwrap_or_default(),
        false => text.split('|').map(|path| path.trim().to_owned()).filter(|path| !path.is_empty()).collect(),
    };
    let several = text.starts_with('[') || text.contains('|');
    match several && !paths.is_empty() && paths.iter().all(|path| is_media_path(path)) {
        true => Value::List(paths.into_iter().map(Value::Text).collect()),
        false => value,
    }
}

fn insert(fields: &mut BTreeMap<String, Value>, name: String, value: Value) -> Result<(), Fault> {
    match fields.contains_key(&name) {
        true => Err(Fault::new(&name, "two values for one field", "from files or columns of this name")),
        false => {
            fields.insert(name, value);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_of_several_files_is_a_list() {
        let list = |paths: &[&str]| Value::List(paths.iter().map(|path| Value::Text((*path).to_owned())).collect());
        for (cell, paths) in [
            ("a.png|b.jpg", &["a.png", "b.jpg"][..]),
            (" a.png | | b.wav ", &["a.png", "b.wav"]),
            ("a.png|", &["a.png"]),
            (r#"["x/a.png", "b.png"]"#, &["x/a.png", "b.png"]),
        ] {
            assert_eq!(listed(Value::Text(cell.to_owned())), list(paths), "{cell}");
        }
        for cell in ["a.png", "a|b", "[a.png]", "red | a.png", "[1, 2]", "|", ""] {
            let value = Value::Text(cell.to_owned());
            assert_eq!(listed(value.clone()), value, "{cell}");
        }
    }
}
