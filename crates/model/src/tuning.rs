//! What of a model is trained while it is fine-tuned.

use std::collections::BTreeMap;

use ndarray::ArrayView2;
use sensorium_backbone::LowRankConfig;
use sensorium_contract::Seed;
use sensorium_state::{NamedTensor, export, import};

use crate::{Model, ModelError};

/// Parts of a model that are numbered by modality.
const BY_MODALITY: [&str; 5] = ["encoders", "projections", "modality", "towers", "bridges"];
/// Where a layer's low-rank change is, below the layer.
const CHANGE: [&str; 2] = [".low_rank.a", ".low_rank.b"];

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
        Self { trunks: self.trunks.with_low_rank(config, seed, which), ..self }
    }

    /// The model with its low-rank changes added to the weights, as one that never had any.
    ///
    /// # Errors
    /// Never for models of one build.
    pub fn merged(self, config: LowRankConfig) -> Result<Self, ModelError> {
        let mut tensors: BTreeMap<String, NamedTensor> =
            export(&self).into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        let changed: Vec<String> =
            tensors.keys().filter_map(|name| name.strip_suffix(CHANGE[0]).map(str::to_owned)).collect();
        for layer in changed {
            let [a, b] = CHANGE.map(|part| tensors.remove(&format!("{layer}{part}")));
            let weight = tensors.get_mut(&format!("{layer}.weight"));
            let (Some(a), Some(b), Some(weight)) = (a, b, weight) else { continue };
            let (Some(a), Some(b)) = (matrix(&a), matrix(&b)) else { continue };
            let change = a.dot(&b); // [inputs, outputs]
            let scale = config.scale() as f32;
            weight.values.iter_mut().zip(&change).for_each(|(value, change)| *value += scale * change);
        }
        let plain = Self::new(self.architecture(), self.modalities().clone(), Seed::new(0), &self.device())?;
        Ok(import(plain, &tensors)?)
    }
}

fn matrix(tensor: &NamedTensor) -> Option<ArrayView2<'_, f32>> {
    let shape: [usize; 2] = tensor.shape.clone().try_into().ok()?;
    ArrayView2::from_shape(shape, &tensor.values).ok()
}
