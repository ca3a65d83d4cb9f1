use burn::tensor::{Bool, Tensor};

use crate::{Activation, AttentionOptions, attention, bias_activation, coverage::Operation, flex, layer_norm, linear};

/// The parameters of one block.
#[derive(Clone, Debug)]
pub struct BlockWeights {
    /// Scale of the norm before attention, `[width]`.
    pub norm1_gamma: Tensor<1>,
    /// Shift of the norm before attention, `[width]`.
    pub norm1_beta: Tensor<1>,
    /// Queries, keys and values beside each other, `[width, 3 · width]`.
    pub qkv_weight: Tensor<2>,
    /// `[3 · width]`
    pub qkv_bias: Tensor<1>,
    /// After attention, `[width, width]`.
    pub out_weight: Tensor<2>,
    /// `[width]`
    pub out_bias: Tensor<1>,
    /// Scale of the norm before the feed-forward, `[width]`.
    pub norm2_gamma: Tensor<1>,
    /// Shift of the norm before the feed-forward, `[width]`.
    pub norm2_beta: Tensor<1>,
    /// Into the feed-forward, `[width, hidden]`.
    pub up_weight: Tensor<2>,
    /// `[hidden]`
    pub up_bias: Tensor<1>,
    /// Out of the feed-forward, `[hidden, width]`.
    pub down_weight: Tensor<2>,
    /// `[width]`
    pub down_bias: Tensor<1>,
}

impl BlockWeights {
    /// Norms and biases, in the order of the fields.
    pub(crate) fn vectors(&self) -> [&Tensor<1>; 8] {
        [
            &self.norm1_gamma,
            &self.norm1_beta,
            &self.qkv_bias,
            &self.out_bias,
            &self.norm2_gamma,
            &self.norm2_beta,
            &self.up_bias,
            &self.down_bias,
        ]
    }
}

/// What a block needs to know beside its tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockOptions {
    /// Number of heads; divides the width.
    pub heads: usize,
    /// Whether a token sees only itself and those before it.
    pub causal: bool,
    /// Of the feed-forward.
    pub activation: Activation,
    /// Added to the variances of both norms.
    pub epsilon: f64,
}

/// A whole pre-norm Transformer block: `x + attention(norm(x))`, then `x + feed_forward(norm(x))`.
///
/// Hidden tokens never influence real ones. What comes out at a hidden position is finite, and
/// without meaning.
///
/// # Shapes
/// `x` `[rows, tokens, width]`, `mask` `[rows, tokens]` true where a token is real →
/// `[rows, tokens, width]`
pub fn block(x: Tensor<3>, mask: Option<&Tensor<2, Bool>>, weights: BlockWeights, options: BlockOptions) -> Tensor<3> {
    if let Some(output) = flex::block(&x, mask, &weights, options) {
        Operation::Block.count_fused();
        return output;
    }
    Operation::Block.count_composed();
    composed(x, mask, weights, options)
}

pub(crate) fn composed(
    x: Tensor<3>,
    mask: Option<&Tensor<2, Bool>>,
    weights: BlockWeights,
    options: BlockOptions,
) -> Tensor<3> {
    let BlockOptions { heads, causal, activation, epsilon } = options;
    let w = weights;
    let normed = layer_norm(x.clone(), w.norm1_gamma, w.norm1_beta, epsilon);
    let qkv = linear(normed, w.qkv_weight, Some(w.qkv_bias)); // [rows, tokens, 3 · width]
    let attended = attention(qkv, mask, AttentionOptions { heads, causal });
    let x = x + linear(attended, w.out_weight, Some(w.out_bias));
    let normed = layer_norm(x.clone(), w.norm2_gamma, w.norm2_beta, epsilon);
    let hidden = bias_activation(linear(normed, w.up_weight, None), w.up_bias, activation); // [rows, tokens, hidden]
    x + linear(hidden, w.down_weight, Some(w.down_bias))
}
