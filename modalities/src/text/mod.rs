//! Text: a tokenizer, learned positions, masked tokens as BERT's.

mod config;
mod encoder;
mod error;
mod files;
mod letters;
mod merges;
mod pieces;
mod prepare;
mod published;
mod targets;
mod tokenizer;

use burn::tensor::Device;
use sensorium_contract::{Name, Seed, Value};

use crate::{Kind, Learned, Problem};

pub use config::{TextConfig, TokenizerConfig, TokenizerKind, Training};
pub use encoder::TextEncoder;
pub use error::TextError;
pub use files::{published_tokenizer, read_tokenizer};
pub use letters::Letters;
pub use prepare::TextModality;
pub use published::Words;

impl Kind for TextModality {
    type Config = TextConfig;
    type Encoder = TextEncoder;
    const FILE: Option<&'static str> = Some("tokenizer.json");

    fn field(config: &TextConfig) -> Option<&str> {
        Some(&config.field)
    }

    fn set_field(config: &mut TextConfig, field: &str) {
        config.field = field.to_owned();
    }

    fn impossible(config: &TextConfig) -> Option<(&'static str, String)> {
        match config.validate() {
            Err(TextError::Config { key, expected, found }) => {
                Some((key, format!("expected {expected}, found {found}")))
            }
            _ => None,
        }
    }

    fn fit(config: &TextConfig, from: Learned) -> Result<Self, Problem> {
        let texts = from.samples.flat_map(|mut sample| match sample.fields.remove(&config.field) {
            Some(Value::List(captions)) => captions,
            single => Vec::from_iter(single),
        });
        let mut texts = texts.filter_map(|text| text.as_text().map(String::from));
        Ok(Self::fit(config.clone(), &mut texts)?.named(from.name))
    }

    fn learned(&self) -> String {
        self.tokenizer_json()
    }

    fn load(config: &TextConfig, name: &Name, learned: &str) -> Result<Self, Problem> {
        Ok(Self::load(config.clone(), learned)?.named(name))
    }

    fn encoder(&self, name: &Name, width: usize, seed: Seed, device: &Device) -> TextEncoder {
        TextEncoder::new(self.config(), self.vocabulary(), name, width, seed, device)
    }
}

#[cfg(test)]
mod tests;
