use burn::{
    module::{Module, Param},
    tensor::{Bool, Tensor, activation::log_softmax},
};
use sensorium_backbone::{Draw, param};
use sensorium_contract::{Batch, Loss, Name, Objective, Outputs, Pass};
use serde::{Deserialize, Serialize};

use crate::{
    Duplicates, ObjectiveError, Surroundings,
    pairs::{self, Sides},
    positive,
};

const KIND: &str = "contrastive";

/// Symmetric InfoNCE with a learned temperature (CLIP, Radford et al. 2021, figure 3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContrastiveConfig {
    /// Pairs of modalities; all, if none are named.
    pub pairs: Vec<[Name; 2]>,
    /// Samples of equal content within a batch.
    pub duplicates: Duplicates,
    /// Start of the temperature by which similarities are divided.
    pub temperature: f32,
    /// Factor in the sum of losses, shared by the pairs.
    pub weight: f32,
}

impl Default for ContrastiveConfig {
    fn default() -> Self {
        Self { pairs: Vec::new(), duplicates: Duplicates::Positive, temperature: 0.07, weight: 1.0 }
    }
}

/// See [`ContrastiveConfig`].
#[derive(Module, Debug)]
pub struct Contrastive {
    /// Logarithm of the factor on similarities, `[1]`, one a pair: a pair that a batch lacks keeps its own.
    pub log_scale: Vec<Param<Tensor<1>>>,
    #[module(skip)]
    config: ContrastiveConfig,
}

/// Similarities are multiplied by at most this (CLIP, section 2.5).
const MAX_SCALE: f32 = 100.0;

impl Contrastive {
    /// The objective for a recipe's modalities.
    pub fn new(config: &ContrastiveConfig, surroundings: &Surroundings) -> Result<Self, ObjectiveError> {
        let Surroundings { modalities, seed, device, .. } = *surroundings;
        let pairs = pairs::resolve(KIND, &config.pairs, modalities)?;
        positive(KIND, "temperature", config.temperature)?;
        let start = Draw::Constant(-config.temperature.ln());
        let log_scale = pairs.iter().map(|_| param([1], start, seed, device)).collect();
        Ok(Self { log_scale, config: ContrastiveConfig { pairs, ..config.clone() } })
    }

    fn pair_loss(&self, pair: usize, sides: Sides) -> Tensor<1> {
        let scale = self.log_scale[pair].val().clamp_max(MAX_SCALE.ln()).exp();
        let logits = sides.left.matmul(sides.right.transpose()) * scale.unsqueeze(); // [n, n]
        let diagonal = pairs::diagonal(sides.items, &logits.device().inner());
        let (logits, partners) = match (sides.duplicates, self.config.duplicates) {
            (None, _) => (logits, diagonal),
            (Some(same), Duplicates::Positive) => (logits, diagonal.bool_or(same)),
            (Some(same), Duplicates::Ignored) => (logits.mask_fill(same, -1e9), diagonal),
        };
        info_nce(logits, partners)
    }
}

/// Symmetric InfoNCE of `n` items of either side: the mean of both directions' cross-entropies, where the
/// partners of an item share its probability.
///
/// # Shapes
/// `logits` (scaled similarities) and `partners` (symmetric) `[n, n]` → `[1]`
pub fn info_nce(logits: Tensor<2>, partners: Tensor<2, Bool>) -> Tensor<1> {
    let [items, _] = logits.dims();
    let partners = partners.float();
    let direction = |logits: Tensor<2>| {
        let share = partners.clone() / partners.clone().sum_dim(1); // rows sum to 1
        (log_softmax(logits, 1) * share).sum().neg() / items as f32
    };
    (direction(logits.clone()) + direction(logits.transpose())) / 2.0
}

impl Objective for Contrastive {
    fn passes(&self) -> Vec<Pass> {
        pairs::passes(&self.config.pairs)
    }

    fn compares_samples(&self) -> bool {
        true
    }

    fn loss(&self, outputs: &Outputs, batch: &Batch) -> Loss {
        let compare = |pair, sides| self.pair_loss(pair, sides);
        pairs::loss("contrastive", &self.config.pairs, self.config.weight, outputs, batch, compare)
    }
}
