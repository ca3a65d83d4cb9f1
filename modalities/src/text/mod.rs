//! Text: a tokenizer, learned positions, masked tokens as BERT's.

mod config;
mod encoder;
mod error;
mod merges;
mod prepare;
mod targets;
mod tokenizer;

pub use config::{TextConfig, TokenizerConfig, TokenizerKind, Training};
pub use encoder::TextEncoder;
pub use error::TextError;
pub use prepare::TextModality;

#[cfg(test)]
mod tests;
