use burn::{
    module::Module,
    tensor::{Bool, Device, Tensor},
};
use sensorium_contract::Seed;
use sensorium_kernels::{AttentionInputs, Scores, attention_general};

use crate::{
    Draw, Linear, Norm, TransformerConfig,
    cache::BlockCache,
    heads::{merge_heads, split_heads},
};

/// What a decoder's cross-attention reads: the features of an encoder.
#[derive(Clone, Debug)]
pub struct Memory {
    /// `[rows, keys, width]`
    pub values: Tensor<3>,
    /// `[rows, keys]`, true where a feature is of a real token; nothing if all are.
    pub mask: Option<Tensor<2, Bool>>,
}

/// Attention from a decoder's tokens to an encoder's features (Vaswani et al. 2017, section 3.2.3).
#[derive(Module, Debug)]
pub struct CrossAttention {
    /// Of what attends.
    pub norm: Norm,
    /// `[width, queries]`
    pub query: Linear,
    /// Keys and values in one projection of the encoder's features, `[width, keys + values]`.
    pub key_value: Linear,
    /// `[queries, width]`
    pub out: Linear,
}

impl CrossAttention {
    pub(crate) fn new(config: &TransformerConfig, seed: Seed, device: &Device) -> Self {
        let width = config.width;
        let [queries, keys, values] = config.qkv_widths();
        let draw = Draw::Normal((width as f32).powf(-0.5));
        let linear = |name: &str, inputs, outputs, bias| {
            let seed = seed.named(name);
            match bias {
                true => Linear::new(inputs, outputs, draw, seed, device),
                false => Linear::without_bias(inputs, outputs, draw, seed, device),
            }
        };
        Self {
            norm: Norm::new(config.norm, width, config.epsilon, seed, device),
            query: linear("query", width, queries, config.biases.qkv),
            key_value: linear("key_value", width, keys + values, config.biases.qkv),
            out: linear("out", queries, width, config.biases.out),
        }
    }

    /// `[rows, tokens, width]` → the same
    pub(crate) fn attend(
        &self,
        x: Tensor<3>,
        memory: &Memory,
        cache: Option<&mut BlockCache>,
        config: &TransformerConfig,
    ) -> Tensor<3> {
        let query = split_heads(self.query.forward(x), config.heads); // [rows, heads, tokens, head_width]
        let (key, value) = match cache {
            Some(cache) => cache.memory(|| self.read(memory, config)),
            None => self.read(memory, config),
        };
        let inputs = AttentionInputs { query, key, value, mask: memory.mask.clone(), bias: None };
        let out = attention_general(inputs, Scores { causal: false, scale: config.score_scale() });
        self.out.forward(merge_heads(out))
    }

    /// Keys and values, each `[rows, key_heads, keys, head_width]`.
    fn read(&self, memory: &Memory, config: &TransformerConfig) -> (Tensor<4>, Tensor<4>) {
        let [_, keys, values] = config.qkv_widths();
        let both = self.key_value.forward(memory.values.clone()); // [rows, keys, keys + values]
        let heads = |x| split_heads(x, config.key_heads());
        (heads(both.clone().narrow(2, 0, keys)), heads(both.narrow(2, keys, values)))
    }
}
