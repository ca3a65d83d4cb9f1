use std::{fs, path::Path};

use serde_json::Value;

use crate::Error;

/// A JSON file beside the weights; null if it is not there.
pub(crate) fn json(path: &Path) -> Result<Value, Error> {
    if !path.exists() {
        return Ok(Value::Null);
    }
    let text = fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let read = serde_json::from_slice(&text);
    read.map_err(|error| Error::Preprocessing { path: path.to_owned(), problem: error.to_string() })
}

/// The settings of one processor (`image_processor`, `feature_extractor`) and the file that has them: a part of
/// `processor_config.json`, as version 5 of the transformers library writes it, or `preprocessor_config.json`. Null
/// where neither says anything.
pub(crate) fn preprocessing(directory: &Path, part: &str) -> Result<(std::path::PathBuf, Value), Error> {
    let path = directory.join("processor_config.json");
    let mut joint = json(&path)?;
    if joint[part].is_object() {
        return Ok((path, joint[part].take()));
    }
    let path = directory.join("preprocessor_config.json");
    let own = json(&path)?;
    Ok((path, own))
}
