use sensorium_contract::Attention;
use sensorium_kernels::Activation;
use serde::{Deserialize, Serialize};

/// One trunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransformerConfig {
    /// Number of blocks.
    pub layers: usize,
    /// Features of a token.
    pub width: usize,
    /// Attention heads; divides `width`.
    pub heads: usize,
    /// Features inside the feed-forward, as a multiple of `width`.
    pub hidden_ratio: f32,
    /// Which tokens a token may see.
    pub attention: Attention,
    /// Non-linearity of the feed-forward.
    pub activation: Activation,
    /// Added to variances before the root.
    pub epsilon: f64,
}

impl Default for TransformerConfig {
    fn default() -> Self {
        Self {
            layers: 6,
            width: 192,
            heads: 3,
            hidden_ratio: 4.0,
            attention: Attention::Bidirectional,
            activation: Activation::Gelu,
            epsilon: 1e-5,
        }
    }
}

impl TransformerConfig {
    /// Features inside the feed-forward.
    pub fn hidden(&self) -> usize {
        (self.width as f32 * self.hidden_ratio).round() as usize
    }

    /// What is impossible about the configuration.
    pub fn problem(&self) -> Option<String> {
        let Self { layers, width, heads, .. } = *self;
        if layers == 0 || width == 0 || heads == 0 || self.hidden() == 0 {
            return Some("layers, width, heads and hidden_ratio must be above 0".into());
        }
        (width % heads != 0).then(|| format!("width {width} is not a multiple of heads {heads}"))
    }

    /// Multiplications and additions (two FLOPs each) of a forward pass over one sample.
    ///
    /// Products with weights and the two products of attention; norms and activations are left
    /// out, as in the literature's counts (PaLM, Chowdhery et al. 2022, appendix B).
    pub fn flops(&self, tokens: usize) -> f64 {
        let [tokens, width, hidden] = [tokens, self.width, self.hidden()].map(|n| n as f64);
        let weights = 4.0 * width * width + 2.0 * width * hidden;
        self.layers as f64 * 2.0 * (tokens * weights + 2.0 * tokens * tokens * width)
    }
}
