use burn::{
    module::Module,
    tensor::{Bool, Device, Tensor},
};
use sensorium_contract::{Attention, Seed};
use sensorium_kernels::{BlockOptions, BlockWeights, block};

use crate::{Draw, Linear, Norm, TransformerConfig};

/// A pre-norm Transformer block (Vaswani et al. 2017; pre-norm as in GPT-2 and ViT):
/// `x + attention(norm(x))`, then `x + feed_forward(norm(x))`.
#[derive(Module, Debug)]
pub struct Block {
    /// Before attention.
    pub norm1: Norm,
    /// Queries, keys and values in one projection, `[width, 3 · width]`.
    pub qkv: Linear,
    /// After attention, `[width, width]`.
    pub out: Linear,
    /// Before the feed-forward.
    pub norm2: Norm,
    /// Into the feed-forward, `[width, hidden]`.
    pub up: Linear,
    /// Out of the feed-forward, `[hidden, width]`.
    pub down: Linear,
}

impl Block {
    /// A block of a trunk. Weights are drawn with deviation `1/√width`, those that write into the
    /// residual scaled by `1/√(2 · layers)` (as open_clip's text tower).
    pub fn new(config: &TransformerConfig, seed: Seed, device: &Device) -> Self {
        let (width, hidden) = (config.width, config.hidden());
        let into = Draw::Normal((width as f32).powf(-0.5));
        let out_of = Draw::Normal((width as f32).powf(-0.5) * (2.0 * config.layers as f32).powf(-0.5));
        let up = Draw::Normal((2.0 * width as f32).powf(-0.5));
        Self {
            norm1: Norm::new(width, config.epsilon, seed, device),
            qkv: Linear::new(width, 3 * width, into, seed.named("qkv"), device),
            out: Linear::new(width, width, out_of, seed.named("out"), device),
            norm2: Norm::new(width, config.epsilon, seed, device),
            up: Linear::new(width, hidden, up, seed.named("up"), device),
            down: Linear::new(hidden, width, out_of, seed.named("down"), device),
        }
    }

    /// `[rows, tokens, width]` → the same. `mask` is true where a token is real.
    pub fn forward(&self, x: Tensor<3>, mask: Option<&Tensor<2, Bool>>, config: &TransformerConfig) -> Tensor<3> {
        let options = BlockOptions {
            heads: config.heads,
            causal: config.attention == Attention::Causal,
            activation: config.activation,
            epsilon: config.epsilon,
        };
        block(x, mask, self.weights(), options)
    }

    fn weights(&self) -> BlockWeights {
        let bias = |linear: &Linear| match &linear.bias {
            Some(bias) => bias.val(),
            None => Tensor::zeros([linear.weight.dims()[1]], &linear.weight.device()),
        };
        BlockWeights {
            norm1_gamma: self.norm1.gamma.val(),
            norm1_beta: self.norm1.beta.val(),
            qkv_weight: self.qkv.weight.val(),
            qkv_bias: bias(&self.qkv),
            out_weight: self.out.weight.val(),
            out_bias: bias(&self.out),
            norm2_gamma: self.norm2.gamma.val(),
            norm2_beta: self.norm2.beta.val(),
            up_weight: self.up.weight.val(),
            up_bias: bias(&self.up),
            down_weight: self.down.weight.val(),
            down_bias: bias(&self.down),
        }
    }
}
