//! The one Transformer: parts, block, trunk. It knows no modality's name.

mod embedding;
mod init;
mod linear;

pub use embedding::Embedding;
pub use init::{Draw, param};
pub use linear::Linear;
