//! Encoders, trunks, heads and objectives as one module, and its directory on disk.

mod config;
mod directory;
mod embed;
mod error;
mod flops;
mod gradients;
mod leave_out;
mod model;
mod pieces;
mod plan;
mod predict;
#[cfg(test)]
mod tests;
mod trunks;
mod tuning;

pub use config::{Architecture, ModelConfig, Projection, Topology};
pub use directory::{CARD, LINEAGE, load, save, verify_answers};
pub use error::ModelError;
pub use model::Model;
pub use plan::BatchPlan;
pub use predict::Said;
pub use trunks::Trunks;
pub use tuning::modality_number;
