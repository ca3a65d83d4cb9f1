//! The one Transformer: parts, block, trunk. It knows no modality's name.

mod block;
mod cache;
mod config;
mod cross;
mod embedding;
mod heads;
mod init;
mod linear;
mod low_rank;
mod norm;
mod positions;
mod probe;
mod transformer;

pub use block::Block;
pub use cache::Cache;
pub use config::{Biases, NormKind, Positions, RotaryScaling, TransformerConfig};
pub use cross::{CrossAttention, Memory};
pub use embedding::Embedding;
pub use init::{Draw, param};
pub use linear::Linear;
pub use low_rank::{LowRank, LowRankConfig};
pub use norm::Norm;
pub(crate) use positions::Rotation;
pub use probe::Probe;
pub use sensorium_kernels::NormPlace;
pub use transformer::Transformer;
