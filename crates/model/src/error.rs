use std::path::PathBuf;

use sensorium_contract::Pass;
use sensorium_modalities::ModalityError;
use sensorium_objectives::ObjectiveError;
use sensorium_state::StateError;

/// Why a model cannot be built, saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A key of the recipe asks for what cannot be.
    #[error("`{key}`: {problem}")]
    Impossible {
        /// The key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The topology cannot run a pass that an objective reads.
    #[error(
        "the pass `{0}` reads several modalities together, which topology `towers` cannot: take `shared` or `fused`"
    )]
    NotJoint(Pass),
    /// A modality cannot be made.
    #[error(transparent)]
    Modality(#[from] ModalityError),
    /// An objective does not fit the modalities.
    #[error(transparent)]
    Objective(#[from] ObjectiveError),
    /// A file is missing or damaged.
    #[error(transparent)]
    State(#[from] StateError),
    /// `model.toml` is not what this version writes.
    #[error("{path}: {problem}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The model answers its own recorded inputs differently.
    #[error(
        "{path}: on the recorded inputs, modality `{modality}` answers with a difference of {found:.2e}, more than \
         {allowed:.0e}: the weights, the preprocessing or this build differ from those that were saved"
    )]
    Answers {
        /// The file with inputs and answers.
        path: PathBuf,
        /// Whose vectors differ.
        modality: String,
        /// Largest absolute difference.
        found: f32,
        /// What rounding may cause.
        allowed: f32,
    },
}
