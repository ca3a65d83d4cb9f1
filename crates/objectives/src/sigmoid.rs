use burn::{
    module::{Module, Param},
    tensor::{Bool, Tensor, activation::log_sigmoid},
};
use sensorium_backbone::{Draw, param};
use sensorium_contract::{Batch, Loss, Name, Objective, Outputs, Pass};
use serde::{Deserialize, Serialize};

use crate::{
    Duplicates, ObjectiveError, Surroundings,
    pairs::{self, Sides},
    positive,
};

const KIND: &str = "pairwise-sigmoid";

/// A yes or no for each pair of samples (SigLIP, Zhai et al. 2023, algorithm 1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PairwiseSigmoidConfig {
    /// Pairs of modalities; all, if none are named.
    pub pairs: Vec<[Name; 2]>,
    /// Samples of equal content within a batch.
    pub duplicates: Duplicates,
    /// Start of the factor on similarities.
    pub scale: f32,
    /// Start of the bias, negative because most pairs are no partners.
    pub bias: f32,
    /// Factor in the sum of losses, shared by the pairs.
    pub weight: f32,
}

impl Default for PairwiseSigmoidConfig {
    fn default() -> Self {
        Self { pairs: Vec::new(), duplicates: Duplicates::Positive, scale: 10.0, bias: -10.0, weight: 1.0 }
    }
}

/// See [`PairwiseSigmoidConfig`].
#[derive(Module, Debug)]
pub struct PairwiseSigmoid {
    /// Logarithm of the factor on similarities, `[1]`, one a pair: a pair that a batch lacks keeps its own.
    pub log_scale: Vec<Param<Tensor<1>>>,
    /// Added to similarities, `[1]`, one a pair.
    pub bias: Vec<Param<Tensor<1>>>,
    #[module(skip)]
    config: PairwiseSigmoidConfig,
}

impl PairwiseSigmoid {
    /// The objective for a recipe's modalities.
    pub fn new(config: &PairwiseSigmoidConfig, surroundings: &Surroundings) -> Result<Self, ObjectiveError> {
        let Surroundings { modalities, seed, device, .. } = *surroundings;
        let pairs = pairs::resolve(KIND, &config.pairs, modalities)?;
        positive(KIND, "scale", config.scale)?;
        let all = |start| pairs.iter().map(|_| param([1], Draw::Constant(start), seed, device)).collect();
        Ok(Self {
            log_scale: all(config.scale.ln()),
            bias: all(config.bias),
            config: PairwiseSigmoidConfig { pairs, ..config.clone() },
        })
    }

    fn pair_loss(&self, pair: usize, sides: Sides) -> Tensor<1> {
        let scale = self.log_scale[pair].val().exp().unsqueeze(); // [1, 1]
        let bias = self.bias[pair].val().unsqueeze(); // [1, 1]
        let logits = sides.left.matmul(sides.right.transpose()) * scale + bias; // [n, n]
        let diagonal = pairs::diagonal(sides.items, &logits.device().inner());
        let (partners, counted) = match (sides.duplicates, self.config.duplicates) {
            (None, _) => (diagonal, None),
            (Some(same), Duplicates::Positive) => (diagonal.bool_or(same), None),
            (Some(same), Duplicates::Ignored) => (diagonal, Some(same.bool_not().float())),
        };
        pairwise_sigmoid(logits, partners, counted)
    }
}

/// For each of `n · n` pairs whether its items are partners, by logistic loss: the sum over all pairs that
/// count, divided by `n`.
///
/// # Shapes
/// `logits`, `partners` and `counted` (1 where a pair counts) `[n, n]` → `[1]`
pub fn pairwise_sigmoid(logits: Tensor<2>, partners: Tensor<2, Bool>, counted: Option<Tensor<2>>) -> Tensor<1> {
    let [items, _] = logits.dims();
    let sign = partners.float().mul_scalar(2.0).sub_scalar(1.0); // 1 for partners, -1 for others
    let losses = log_sigmoid(logits * sign).neg(); // [n, n]
    let losses = match counted {
        Some(counted) => losses * counted,
        None => losses,
    };
    losses.sum() / items as f32
}

impl Objective for PairwiseSigmoid {
    fn passes(&self) -> Vec<Pass> {
        pairs::passes(&self.config.pairs)
    }

    fn compares_samples(&self) -> bool {
        true
    }

    fn loss(&self, outputs: &Outputs, batch: &Batch) -> Loss {
        let compare = |pair, sides| self.pair_loss(pair, sides);
        pairs::loss("pairwise sigmoid", &self.config.pairs, self.config.weight, outputs, batch, compare)
    }
}
