use std::path::Path;

use serde_json::Value;

use crate::{Error, published::json};

/// How a published model generates: `generation_config.json`, or, where there is none, its configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    own: Value,
    config: Value,
}

impl Settings {
    /// The settings beside a model with this configuration.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(directory: &Path, config: &Value) -> Result<Self, Error> {
        let own = json(&directory.join("generation_config.json"))?;
        Ok(Self { own, config: config.clone() })
    }

    /// A setting, from the configuration only if no settings were published; null if it is not there.
    pub(super) fn get(&self, key: &str) -> &Value {
        match self.own.is_object() {
            true => &self.own[key],
            false => &self.config[key],
        }
    }

    /// A setting, from the configuration if the settings do not have it.
    pub(super) fn get_anywhere(&self, key: &str) -> &Value {
        match &self.own[key] {
            Value::Null => &self.config[key],
            own => own,
        }
    }

    /// The token that an encoder-decoder's answer begins with.
    pub fn decoder_start(&self) -> Option<i64> {
        self.get_anywhere("decoder_start_token_id").as_i64()
    }

    /// The ids that end an answer.
    pub fn end(&self) -> Vec<i64> {
        ids(self.get_anywhere("eos_token_id"))
    }
}

/// One id or several.
pub(super) fn ids(value: &Value) -> Vec<i64> {
    match value {
        Value::Array(ids) => ids.iter().filter_map(Value::as_i64).collect(),
        id => id.as_i64().into_iter().collect(),
    }
}
