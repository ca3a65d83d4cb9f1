//! Fused operations with their own backward pass.
//!
//! Model code calls the functions of this crate and knows no backend. On the CPU backend `flex`,
//! in f32, each runs as one hand-written operation, forward and backward; everywhere else it runs
//! as a composition of Burn's tensor operations, which is also what the fused forms are tested
//! against. [`coverage`] tells which of the two ran.

mod activation;
mod adamw;
mod attention;
mod block;
mod coverage;
mod cross_entropy;
mod flex;
mod linear;
mod lookup;
mod norm;
mod precision;
#[cfg(test)]
mod tests;

pub use activation::{Activation, bias_activation};
pub use adamw::{AdamwMoments, AdamwOptions, AdamwStep, adamw_step, squared_norm};
pub use attention::{AttentionInputs, AttentionOptions, Scores, attention, attention_general};
pub use block::{BlockOptions, BlockWeights, NormPlace, block};
pub use coverage::{Coverage, Fusion, coverage, set_fusion};
pub use cross_entropy::cross_entropy;
pub use linear::{linear, logits};
pub use lookup::lookup;
pub use norm::{layer_norm, rms_norm};
pub use precision::{Precision, matmul};
