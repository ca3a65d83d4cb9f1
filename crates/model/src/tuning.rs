//! What of a model is trained while it is fine-tuned.

use burn::module::Module;
use sensorium_backbone::{LowRankConfig, Transformer};
use sensorium_contract::Seed;
use sensorium_state::export;

use crate::Model;

/// Parts of a model that are numbered by modality.
const BY_MODALITY: [&str; 5] = ["encoders", "projections", "modality", "towers", "bridges"];

/// Where in a parameter's path the number of its modality stands, and the number; nothing of what modalities
/// share.
pub fn modality_number(parameter: &str) -> Option<(usize, usize)> {
    let parts: Vec<&str> = parameter.split('.').collect();
    let numbered = |at: &usize| BY_MODALITY.contains(&parts[at - 1]);
    let at = (1..parts.len()).find(numbered)?;
    Some((at, parts[at].parse().ok()?))
}

impl Model {
    /// The paths of all parameters.
    pub fn parameters(&self) -> Vec<String> {
        export(self).into_iter().map(|tensor| tensor.name).collect()
    }

    /// The paths of the parameters that a modality shares with no other one; nothing if there is no such modality.
    pub fn parameters_of(&self, modality: &str) -> Option<Vec<String>> {
        let own = self.parts.names.iter().position(|name| **name == *modality)?;
        let of = |parameter: &String| modality_number(parameter).is_some_and(|(_, number)| number == own);
        Some(self.parameters().into_iter().filter(of).collect())
    }

    /// The model with low-rank changes beside the matrices of the trunks' blocks, in those trunks of which
    /// `which` says so by their paths (`towers.0`, `trunk`, `joint`). It answers as before.
    pub fn with_low_rank(self, config: LowRankConfig, seed: Seed, which: &dyn Fn(&str) -> bool) -> Self {
        let change = |path: &str, trunk: Transformer| match which(path) {
            true => trunk.with_low_rank(config, seed.named(path)),
            false => trunk,
        };
        Self { trunks: self.trunks.with_transformers(&change), ..self }
    }

    /// The model with its low-rank changes in the weights, as one that never had any, without autodiff.
    pub fn merged(self) -> Self {
        let model = self.valid();
        Self { trunks: model.trunks.with_transformers(&|_, trunk| trunk.merged()), ..model }
    }
}
