//! Classes from vectors: by prompts, by neighbours, by a linear probe. None changes the model that
//! gave the vectors.

mod lbfgs;
mod neighbours;
mod probe;
mod prompts;
#[cfg(test)]
mod tests;

pub use neighbours::{Neighbours, Vote};
pub use probe::{Labelled, Probe, SWEEP, Swept, best_penalty};
pub use prompts::{SHARPNESS, class_vectors, zero_shot};
