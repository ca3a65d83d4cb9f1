use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use crate::{coverage::Operation, flex};

/// The non-linearity of a feed-forward layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `x · Φ(x)` (Hendrycks and Gimpel 2016), with the exact error function.
    #[default]
    Gelu,
    /// The same by the tanh approximation (GPT-2, BERT's original code).
    GeluTanh,
    /// `x · σ(1.702 x)` (CLIP).
    QuickGelu,
    /// `max(x, 0)`.
    Relu,
    /// `x · σ(x)` (Elfwing et al. 2017; Llama).
    Silu,
}

impl Activation {
    /// The activation of each element, as a composition of tensor operations.
    pub fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => activation::gelu(x),
            Self::GeluTanh => activation::gelu_approximate(x),
            Self::QuickGelu => x.clone() * activation::sigmoid(x.mul_scalar(1.702)),
            Self::Relu => activation::relu(x),
            Self::Silu => activation::silu(x),
        }
    }
}

/// `activation(x + bias)`.
///
/// # Shapes
/// `x` `[rows, tokens, width]`, `bias` `[width]` → `[rows, tokens, width]`
pub fn bias_activation(x: Tensor<3>, bias: Tensor<1>, activation: Activation) -> Tensor<3> {
    if let Some(output) = flex::bias_activation(&x, &bias, activation) {
        Operation::BiasActivation.count_fused();
        return output;
    }
    Operation::BiasActivation.count_composed();
    composed(x, bias, activation)
}

pub(crate) fn composed(x: Tensor<3>, bias: Tensor<1>, activation: Activation) -> Tensor<3> {
    let [width] = bias.dims();
    activation.apply(x + bias.reshape([1, 1, width]))
}
