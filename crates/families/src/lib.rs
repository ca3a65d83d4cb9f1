//! Checkpoints of published systems, in the layout of the transformers library, in and out.
//!
//! A family is one file: what its configuration means for the backbone, where its tensors lie, and how
//! inputs become answers. [`Checkpoint::open`] recognises it by the configuration's `model_type`.

mod ast;
mod bart;
mod bert;
mod checkpoint;
mod clap;
mod clip;
mod config;
mod decision_transformer;
mod dinov2;
mod directory;
mod distilbert;
mod error;
mod esm;
mod flava;
mod generate;
mod gpt2;
mod imagegpt;
mod layout;
mod llama;
mod network;
mod openai_gpt;
mod parts;
mod published;
mod roberta;
mod siglip;
mod t5;
mod tapas;
mod tensors;
#[cfg(test)]
mod tests;
mod tower;
mod training;
mod values;
mod vilt;
mod vit;
mod vit_mae;
mod wav2vec2;
mod weights;
mod whisper;

pub use checkpoint::Checkpoint;
pub use directory::{Imported, export, import, open};
pub use error::FamilyError;
pub use generate::{Generates, Reading, Sampling, generate};
pub use network::{Content, MODEL_TYPES, Network, Reads};
pub use published::LeftOut;
pub use tower::{Patches, TOWERS, Tower, TowerHead, TowerTokens, Words};
pub use training::{Task, Training};
pub use values::{Answer, Answers, Inputs};

use layout::Layout;
use published::Found;
