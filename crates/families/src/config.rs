//! Configurations as the transformers library writes them.

use sensorium_backbone::TransformerConfig;
use sensorium_kernels::Activation;
use serde::Deserialize;

/// Most blocks of a trunk; the largest published have some hundred.
const MOST_LAYERS: usize = 4096;

/// A non-linearity by the transformers library's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Act {
    #[serde(rename = "gelu", alias = "gelu_python")]
    Gelu,
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh", alias = "gelu_fast", alias = "gelu_python_tanh")]
    GeluTanh,
    #[serde(rename = "quick_gelu")]
    QuickGelu,
    #[serde(rename = "relu")]
    Relu,
    #[serde(rename = "silu", alias = "swish")]
    Silu,
}

impl From<Act> for Activation {
    fn from(act: Act) -> Self {
        match act {
            Act::Gelu => Self::Gelu,
            Act::GeluTanh => Self::GeluTanh,
            Act::QuickGelu => Self::QuickGelu,
            Act::Relu => Self::Relu,
            Act::Silu => Self::Silu,
        }
    }
}

/// `intermediate_size` as the backbone has it.
pub(crate) fn hidden_ratio(hidden: usize, width: usize) -> f32 {
    hidden as f32 / width as f32
}

/// Whether a trunk can be built.
pub(crate) fn check(trunk: &TransformerConfig) -> Result<(), String> {
    if trunk.layers > MOST_LAYERS {
        return Err(format!("{} layers, more than {MOST_LAYERS}", trunk.layers));
    }
    match trunk.problem() {
        Some(problem) => Err(problem),
        None => Ok(()),
    }
}

/// Whether each of some sizes is above 0.
pub(crate) fn positive(sizes: &[(&str, usize)]) -> Result<(), String> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        None => Ok(()),
        Some((key, _)) => Err(format!("`{key}` must be above 0")),
    }
}
