use sensorium_contract::Attention;
use sensorium_kernels::{Activation, NormPlace};
use serde::{Deserialize, Serialize};

/// Which normalisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormKind {
    /// To mean 0 and variance 1, with scale and shift (Ba et al. 2016).
    #[default]
    Layer,
    /// To mean square 1, with a scale (Zhang and Sennrich 2019).
    Rms,
}

/// Positions that attention itself knows. Learned and sinusoidal ones are in the tokens already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Positions {
    /// None.
    #[default]
    None,
    /// Queries and keys turned by angles that grow with the position (Su et al. 2021), the halves of a
    /// head paired (as GPT-NeoX, Llama and ESM-2).
    Rotary {
        /// Base of the wavelengths, 10,000 as a rule.
        theta: f64,
        /// How wavelengths are stretched for texts longer than those first trained on.
        #[serde(default, skip_serializing_if = "is_default")]
        scaling: RotaryScaling,
    },
    /// A learned bias a head for each bucket of distances, the same in all blocks (T5, Raffel et al. 2020).
    Relative {
        /// Number of buckets; half of them are for later positions where attention looks both ways.
        buckets: usize,
        /// Distances from here on share the last bucket.
        max_distance: usize,
    },
}

/// How rotary positions are stretched, so that a trunk reads longer inputs than it was first trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum RotaryScaling {
    /// They are not.
    #[default]
    None,
    /// All angles divided by a factor (Chen et al. 2023, "Extending Context Window of Large Language
    /// Models via Positional Interpolation").
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// Only slow angles divided by the factor, fast ones kept, a ramp between them (Llama 3.1, Grattafiori
    /// et al. 2024).
    Llama3 {
        /// At least 1.
        factor: f64,
        /// Angles that turn less often than this in `context` are divided.
        low: f64,
        /// Angles that turn more often than this in `context` are kept; above `low`.
        high: f64,
        /// Tokens that the trunk was first trained on.
        context: usize,
    },
}

impl RotaryScaling {
    /// What is impossible about it.
    fn problem(self) -> Option<&'static str> {
        match self {
            Self::Linear { factor } | Self::Llama3 { factor, .. } if !(factor >= 1.0 && factor.is_finite()) => {
                Some("positions.scaling.factor must be 1 or more")
            }
            Self::Llama3 { low, high, context, .. }
                if !(low > 0.0 && high > low && high.is_finite() && context > 0) =>
            {
                Some("positions.scaling: expected low above 0, high above low, and context above 0")
            }
            _ => None,
        }
    }
}

/// Which projections have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Biases {
    /// To queries, keys and values.
    pub qkv: bool,
    /// Out of attention.
    pub out: bool,
    /// Of the feed-forward.
    pub feed_forward: bool,
}

impl Biases {
    /// No projection has one (T5, Llama).
    pub const NONE: Self = Self { qkv: false, out: false, feed_forward: false };
}

impl Default for Biases {
    fn default() -> Self {
        Self { qkv: true, out: true, feed_forward: true }
    }
}

/// One trunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransformerConfig {
    /// Number of blocks.
    pub layers: usize,
    /// Features of a token.
    pub width: usize,
    /// Attention heads; divides `width`, unless `head_width` is given.
    pub heads: usize,
    /// Features inside the feed-forward, as a multiple of `width`.
    pub hidden_ratio: f32,
    /// Which tokens a token may see.
    pub attention: Attention,
    /// Non-linearity of the feed-forward.
    pub activation: Activation,
    /// Added to variances before the root.
    pub epsilon: f64,
    /// Whether the feed-forward multiplies the activation by a second projection (Shazeer 2020).
    #[serde(skip_serializing_if = "is_default")]
    pub gated: bool,
    /// Which normalisation.
    #[serde(skip_serializing_if = "is_default")]
    pub norm: NormKind,
    /// Where blocks normalise.
    #[serde(skip_serializing_if = "is_default")]
    pub norm_place: NormPlace,
    /// Positions that attention knows.
    #[serde(skip_serializing_if = "is_default")]
    pub positions: Positions,
    /// Which projections have a bias.
    #[serde(skip_serializing_if = "is_default")]
    pub biases: Biases,
    /// Heads of keys and values; divides `heads`, and is `heads` if not given (Ainslie et al. 2023).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_heads: Option<usize>,
    /// Features of a head; `width / heads` if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_width: Option<usize>,
    /// Factor of the attention scores; `1/√head_width` if not given (T5 has 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_scale: Option<f64>,
    /// Whether what a block adds is scaled by a learned vector that starts at this value (LayerScale,
    /// Touvron et al. 2021; DINOv2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_scale: Option<f32>,
    /// Whether a learned probe reads the features of each modality (SigLIP) in place of the modality's own `pool`.
    #[serde(skip_serializing_if = "is_default")]
    pub probe: bool,
    /// Whether blocks read another trunk's features by cross-attention: the decoder of an
    /// encoder-decoder, never a trunk of its own.
    #[serde(skip)]
    pub cross_attention: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
            gated: false,
            norm: NormKind::default(),
            norm_place: NormPlace::default(),
            positions: Positions::default(),
            biases: Biases::default(),
            key_heads: None,
            head_width: None,
            score_scale: None,
            layer_scale: None,
            probe: false,
            cross_attention: false,
        }
    }
}

impl TransformerConfig {
    /// Features inside the feed-forward.
    pub fn hidden(&self) -> usize {
        (self.width as f32 * self.hidden_ratio).round() as usize
    }

    /// Features of a head.
    pub fn head_width(&self) -> usize {
        self.head_width.unwrap_or(self.width / self.heads.max(1))
    }

    /// Heads of keys and values.
    pub fn key_heads(&self) -> usize {
        self.key_heads.unwrap_or(self.heads)
    }

    /// Features of all queries of a token, of all its keys, and of all its values.
    pub fn qkv_widths(&self) -> [usize; 3] {
        let keys = self.key_heads() * self.head_width();
        [self.heads * self.head_width(), keys, keys]
    }

    /// Factor of the attention scores.
    pub fn score_scale(&self) -> f64 {
        self.score_scale.unwrap_or_else(|| (self.head_width() as f64).powf(-0.5))
    }

    /// Whether it is the block that `kernels` fuses: no positions, no groups, no gates.
    pub(crate) fn is_plain(&self) -> bool {
        let Self { layers, width, heads, hidden_ratio, attention, activation, epsilon, norm_place, probe, .. } = *self;
        let free =
            Self { layers, width, heads, hidden_ratio, attention, activation, epsilon, probe, ..Self::default() };
        // A missing bias is one of zeros.
        *self == Self { norm_place, biases: self.biases, ..free } && width.is_multiple_of(heads)
    }

    /// Whether `kernels` fuses its self-attention: as many key heads as heads, nothing added or turned.
    pub(crate) fn attends_plainly(&self) -> bool {
        self.positions == Positions::None
            && self.score_scale.is_none()
            && self.key_heads() == self.heads
            && self.heads * self.head_width() == self.width
    }

    /// What is impossible about the configuration.
    pub fn problem(&self) -> Option<String> {
        let Self { layers, width, heads, .. } = *self;
        if layers == 0 || width == 0 || heads == 0 || self.hidden() == 0 || self.head_width() == 0 {
            return Some("layers, width, heads, head_width and hidden_ratio must be above 0".into());
        }
        if self.head_width.is_none() && !width.is_multiple_of(heads) {
            return Some(format!("width {width} is not a multiple of heads {heads}"));
        }
        let key_heads = self.key_heads();
        if key_heads == 0 || !heads.is_multiple_of(key_heads) {
            return Some(format!("heads {heads} is not a multiple of key_heads {key_heads}"));
        }
        match self.positions {
            Positions::Rotary { theta, .. } if theta.is_nan() || theta <= 0.0 => {
                Some(format!("positions.theta must be above 0, found {theta}"))
            }
            Positions::Rotary { .. } if !self.head_width().is_multiple_of(2) => {
                Some(format!("rotary positions need heads of even width, found {}", self.head_width()))
            }
            Positions::Rotary { scaling, .. } => scaling.problem().map(str::to_owned),
            Positions::Relative { buckets, max_distance } if buckets < 4 || max_distance <= buckets => Some(format!(
                "positions: expected 4 buckets or more and a max_distance above them, found {buckets} and {max_distance}"
            )),
            _ => None,
        }
    }

    /// Multiplications and additions (two FLOPs each) of a forward pass over one sample.
    ///
    /// Products with weights and the two products of attention; norms and activations are left
    /// out, as in the literature's counts (PaLM, Chowdhery et al. 2022, appendix B).
    pub fn flops(&self, tokens: usize) -> f64 {
        let [queries, keys, values] = self.qkv_widths();
        let ups = if self.gated { 2 } else { 1 };
        let weights = self.width * (2 * queries + keys + values) + (ups + 1) * self.width * self.hidden();
        let tokens = tokens as f64;
        let blocks = self.layers as f64 * 2.0 * (tokens * weights as f64 + 2.0 * tokens * tokens * queries as f64);
        blocks + if self.probe { self.probe_flops(tokens) } else { 0.0 }
    }

    /// Keys and values of all tokens, and what one more token costs a block.
    fn probe_flops(&self, tokens: f64) -> f64 {
        let (width, hidden) = (self.width as f64, self.hidden() as f64);
        2.0 * (2.0 * tokens * width * (width + 1.0) + 2.0 * width * (width + hidden))
    }
}
