use std::path::PathBuf;

use clap::Args;
use sensorium::{AnyModel, Error, Query, contract::Value};

/// What is asked with; several together are one question.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub struct Question {
    /// A picture file
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// A sound file, WAV
    #[arg(long, value_name = "FILE")]
    audio: Option<PathBuf>,
    /// A table row, e.g. '{"age": 54, "sex": "f"}'
    #[arg(long, value_name = "JSON")]
    row: Option<String>,
    /// A text
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
}

impl Question {
    pub fn query(&self, model: &AnyModel) -> Result<Query, Error> {
        let mut query = Query::default();
        if let Some(path) = &self.image {
            query = query.with_file(model, "image", path)?;
        }
        if let Some(path) = &self.audio {
            query = query.with_file(model, "audio", path)?;
        }
        if let Some(row) = &self.row {
            query = query.with_row(model, row)?;
        }
        match &self.text {
            Some(text) => query.with(model, "text", Value::Text(text.clone())),
            None => Ok(query),
        }
    }
}
