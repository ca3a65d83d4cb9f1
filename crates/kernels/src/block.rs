use burn::tensor::{Bool, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Activation, AttentionOptions, attention, bias_activation, coverage::Operation, flex, layer_norm, linear};

/// The parameters of one block.
#[derive(Clone, Debug)]
pub struct BlockWeights {
    /// Scale of attention's norm, `[width]`.
    pub norm1_gamma: Tensor<1>,
    /// Shift of attention's norm, `[width]`.
    pub norm1_beta: Tensor<1>,
    /// Queries, keys and values beside each other, `[width, 3 · width]`.
    pub qkv_weight: Tensor<2>,
    /// `[3 · width]`
    pub qkv_bias: Tensor<1>,
    /// After attention, `[width, width]`.
    pub out_weight: Tensor<2>,
    /// `[width]`
    pub out_bias: Tensor<1>,
    /// Scale of the feed-forward's norm, `[width]`.
    pub norm2_gamma: Tensor<1>,
    /// Shift of the feed-forward's norm, `[width]`.
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

/// Where a block normalises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormPlace {
    /// What enters attention and the feed-forward; the trunk ends in one more norm (GPT-2, ViT).
    #[default]
    Before,
    /// The sum after attention and after the feed-forward (Vaswani et al. 2017, BERT).
    After,
}

/// What a block needs to know beside its tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockOptions {
    /// Number of heads; divides the width.
    pub heads: usize,
    /// Whether a token sees only itself and those before it.
    pub causal: bool,
    /// Where both norms stand.
    pub norms: NormPlace,
    /// Of the feed-forward.
    pub activation: Activation,
    /// Added to the variances of both norms.
    pub epsilon: f64,
}

/// A whole Transformer block: `x + attention(norm(x))`, then `x + feed_forward(norm(x))`; or, with the norms after,
/// `norm(x + attention(x))`, then `norm(x + feed_forward(x))`.
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
    let BlockOptions { heads, causal, activation, .. } = options;
    let w = weights;
    let x = residual(x, [w.norm1_gamma, w.norm1_beta], options, |x| {
        let qkv = linear(x, w.qkv_weight, Some(w.qkv_bias)); // [rows, tokens, 3 · width]
        linear(attention(qkv, mask, AttentionOptions { heads, causal }), w.out_weight, Some(w.out_bias))
    });
    residual(x, [w.norm2_gamma, w.norm2_beta], options, |x| {
        let hidden = bias_activation(linear(x, w.up_weight, None), w.up_bias, activation); // [rows, tokens, hidden]
        linear(hidden, w.down_weight, Some(w.down_bias))
    })
}

/// A half of the block, added to what enters it.
fn residual(
    x: Tensor<3>,
    [gamma, beta]: [Tensor<1>; 2],
    options: BlockOptions,
    half: impl FnOnce(Tensor<3>) -> Tensor<3>,
) -> Tensor<3> {
    let norm = |x| layer_norm(x, gamma, beta, options.epsilon);
    match options.norms {
        NormPlace::Before => x.clone() + half(norm(x)),
        NormPlace::After => norm(x.clone() + half(x)),
    }
}
