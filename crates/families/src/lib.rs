//! Checkpoints of published systems, in the layout of the transformers library, in and out.
//!
//! A family is one file: what its configuration means for the backbone, where its tensors lie, and how
//! inputs become answers. [`Checkpoint::open`] recognises it by the configuration's `model_type`.

mod bert;
mod checkpoint;
mod config;
mod directory;
mod error;
mod gpt2;
mod layout;
mod network;
mod parts;
mod published;
mod tensors;
#[cfg(test)]
mod tests;
mod training;
mod values;
mod weights;

pub use checkpoint::Checkpoint;
pub use directory::{Imported, export, import, open};
pub use error::FamilyError;
pub use layout::Layout;
pub use network::{MODEL_TYPES, Network, Reads};
pub use published::{Found, LeftOut, Published};
pub use training::{Task, Training};
pub use values::{Answer, Answers, Inputs};
