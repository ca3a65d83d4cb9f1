//! The one Transformer: parts, block, trunk. It knows no modality's name.

mod block;
mod config;
mod embedding;
mod init;
mod linear;
mod norm;
mod transformer;

pub use block::Block;
pub use config::TransformerConfig;
pub use embedding::Embedding;
pub use init::{Draw, param};
pub use linear::Linear;
pub use norm::Norm;
pub use transformer::Transformer;
