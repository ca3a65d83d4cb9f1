use burn::{
    module::{Module, Param},
    tensor::{Bool, Device, Tensor},
};
use sensorium_contract::{Attention, Seed};
use sensorium_kernels::{
    AttentionInputs, AttentionOptions, BlockOptions, BlockWeights, Scores, attention, attention_general,
    bias_activation, block,
};

use crate::{
    Draw, Linear, Norm, NormPlace, Rotation, TransformerConfig,
    cache::BlockCache,
    cross::{CrossAttention, Memory},
    heads::{merge_heads, split_heads},
    param,
};

/// A Transformer block (Vaswani et al. 2017): attention, then a feed-forward, each added to what
/// entered it. [`NormPlace`] says whether it normalises before or after.
#[derive(Module, Debug)]
pub struct Block {
    /// Of attention.
    pub norm1: Norm,
    /// Queries, keys and values in one projection, `[width, queries + keys + values]`.
    pub qkv: Linear,
    /// After attention, `[queries, width]`.
    pub out: Linear,
    /// Factor of what attention adds, `[width]`.
    pub scale1: Option<Param<Tensor<1>>>,
    /// Attention to another trunk's features.
    pub cross: Option<CrossAttention>,
    /// Of the feed-forward.
    pub norm2: Norm,
    /// Into the feed-forward, `[width, hidden]`.
    pub up: Linear,
    /// Into the feed-forward, `[width, hidden]`: through the activation, then times `up`.
    pub gate: Option<Linear>,
    /// Out of the feed-forward, `[hidden, width]`.
    pub down: Linear,
    /// Factor of what the feed-forward adds, `[width]`.
    pub scale2: Option<Param<Tensor<1>>>,
}

/// What a block reads beside its tokens.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    /// True where a token is real, cached ones included, `[rows, keys]`.
    pub mask: Option<&'a Tensor<2, Bool>>,
    /// Of the tokens' positions.
    pub rotation: Option<&'a Rotation>,
    /// Added to the scores, `[1, heads, queries, keys]`.
    pub bias: Option<&'a Tensor<4>>,
    /// What cross-attention reads.
    pub memory: Option<&'a Memory>,
    /// Whether what comes out at hidden tokens matters.
    pub answers_hidden: bool,
}

impl Default for Around<'_> {
    fn default() -> Self {
        Self { mask: None, rotation: None, bias: None, memory: None, answers_hidden: true }
    }
}

impl Around<'_> {
    /// Whether the fused operations serve, which leave hidden tokens out.
    fn may_fuse(&self) -> bool {
        self.mask.is_none() || !self.answers_hidden
    }
}

impl Block {
    /// A block of a trunk. Weights are drawn with deviation `1/√width`, those that write into the
    /// residual scaled by `1/√(2 · layers)` (as open_clip's text tower).
    pub fn new(config: &TransformerConfig, seed: Seed, device: &Device) -> Self {
        let (width, hidden) = (config.width, config.hidden());
        let [queries, keys, values] = config.qkv_widths();
        let into = Draw::Normal((width as f32).powf(-0.5));
        let out_of = Draw::Normal((width as f32).powf(-0.5) * (2.0 * config.layers as f32).powf(-0.5));
        let up = Draw::Normal((2.0 * width as f32).powf(-0.5));
        let linear = |name: &str, inputs, outputs, draw, bias| {
            let seed = seed.named(name);
            match bias {
                true => Linear::new(inputs, outputs, draw, seed, device),
                false => Linear::without_bias(inputs, outputs, draw, seed, device),
            }
        };
        let norm = || Norm::new(config.norm, width, config.epsilon, seed, device);
        let scale = || config.layer_scale.map(|start| param([width], Draw::Constant(start), seed, device));
        let biases = config.biases;
        Self {
            norm1: norm(),
            qkv: linear("qkv", width, queries + keys + values, into, biases.qkv),
            out: linear("out", queries, width, out_of, biases.out),
            scale1: scale(),
            cross: config.cross_attention.then(|| CrossAttention::new(config, seed.named("cross"), device)),
            norm2: norm(),
            up: linear("up", width, hidden, up, biases.feed_forward),
            gate: config.gated.then(|| linear("gate", width, hidden, up, biases.feed_forward)),
            down: linear("down", hidden, width, out_of, biases.feed_forward),
            scale2: scale(),
        }
    }

    /// The block with `change` of each matrix of attention and feed-forward, which it gets with its name.
    pub(crate) fn with_matrices(self, change: &dyn Fn(Linear, &str) -> Linear) -> Self {
        Self {
            qkv: change(self.qkv, "qkv"),
            out: change(self.out, "out"),
            up: change(self.up, "up"),
            gate: self.gate.map(|gate| change(gate, "gate")),
            down: change(self.down, "down"),
            ..self
        }
    }

    /// `[rows, tokens, width]` → the same
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        around: Around<'_>,
        cache: Option<&mut BlockCache>,
        config: &TransformerConfig,
    ) -> Tensor<3> {
        match (cache, config.is_plain() && around.may_fuse()) {
            (None, true) => self.fused(x, around.mask, config),
            (cache, _) => self.general(x, around, cache, config),
        }
    }

    /// All of it as one operation.
    fn fused(&self, x: Tensor<3>, mask: Option<&Tensor<2, Bool>>, config: &TransformerConfig) -> Tensor<3> {
        let options = BlockOptions {
            heads: config.heads,
            causal: config.attention == Attention::Causal,
            norms: config.norm_place,
            activation: config.activation,
            epsilon: config.epsilon,
        };
        block(x, mask, self.weights(), options)
    }

    fn general(
        &self,
        x: Tensor<3>,
        around: Around<'_>,
        mut cache: Option<&mut BlockCache>,
        config: &TransformerConfig,
    ) -> Tensor<3> {
        let place = config.norm_place;
        let x = residual(x, &self.norm1, place, |x| {
            scaled(self.attend(x, around, cache.as_deref_mut(), config), &self.scale1)
        });
        let x = match (&self.cross, around.memory) {
            (Some(cross), Some(memory)) => residual(x, &cross.norm, place, |x| cross.attend(x, memory, cache, config)),
            _ => x,
        };
        residual(x, &self.norm2, place, |x| scaled(self.feed_forward(x, config), &self.scale2))
    }

    fn attend(
        &self,
        x: Tensor<3>,
        around: Around<'_>,
        cache: Option<&mut BlockCache>,
        config: &TransformerConfig,
    ) -> Tensor<3> {
        let causal = config.attention == Attention::Causal;
        let qkv = self.qkv.forward(x); // [rows, tokens, queries + keys + values]
        if cache.is_none() && config.attends_plainly() && around.may_fuse() {
            let options = AttentionOptions { heads: config.heads, causal };
            return self.out.forward(attention(qkv, around.mask, options));
        }
        let [queries, keys, _] = config.qkv_widths();
        let (heads, key_heads) = (config.heads, config.key_heads());
        let turn = |x: Tensor<4>| around.rotation.map_or(x.clone(), |rotation| rotation.turn(x));
        let query = turn(split_heads(qkv.clone().narrow(2, 0, queries), heads)); // [rows, heads, tokens, head_width]
        let key = turn(split_heads(qkv.clone().narrow(2, queries, keys), key_heads));
        let value = split_heads(qkv.narrow(2, queries + keys, keys), key_heads);
        let (key, value) = match cache {
            Some(cache) => cache.extend(key, value),
            None => (key, value),
        };
        let inputs = AttentionInputs { query, key, value, mask: around.mask.cloned(), bias: around.bias.cloned() };
        let out = attention_general(inputs, Scores { causal, scale: config.score_scale() });
        self.out.forward(merge_heads(out))
    }

    fn feed_forward(&self, x: Tensor<3>, config: &TransformerConfig) -> Tensor<3> {
        let hidden = match (&self.gate, &self.up.bias) {
            (Some(gate), _) => config.activation.apply(gate.forward(x.clone())) * self.up.forward(x),
            (None, Some(bias)) => bias_activation(self.up.product(x), bias.val(), config.activation),
            (None, None) => config.activation.apply(self.up.product(x)),
        }; // [rows, tokens, hidden]
        self.down.forward(hidden)
    }

    fn weights(&self) -> BlockWeights {
        let zeros = |[outputs]: [usize; 1], like: &Tensor<2>| Tensor::zeros([outputs], &like.device());
        let bias = |linear: &Linear| match &linear.bias {
            Some(bias) => bias.val(),
            None => zeros([linear.weight.dims()[1]], &linear.weight.val()),
        };
        let shift = |norm: &Norm| match &norm.beta {
            Some(beta) => beta.val(),
            None => Tensor::zeros(norm.gamma.dims(), &norm.gamma.device()),
        };
        BlockWeights {
            norm1_gamma: self.norm1.gamma.val(),
            norm1_beta: shift(&self.norm1),
            qkv_weight: self.qkv.whole_weight(),
            qkv_bias: bias(&self.qkv),
            out_weight: self.out.whole_weight(),
            out_bias: bias(&self.out),
            norm2_gamma: self.norm2.gamma.val(),
            norm2_beta: shift(&self.norm2),
            up_weight: self.up.whole_weight(),
            up_bias: bias(&self.up),
            down_weight: self.down.whole_weight(),
            down_bias: bias(&self.down),
        }
    }
}

/// A part of a block, added to what enters it.
fn residual(x: Tensor<3>, norm: &Norm, place: NormPlace, part: impl FnOnce(Tensor<3>) -> Tensor<3>) -> Tensor<3> {
    match place {
        NormPlace::Before => x.clone() + part(norm.forward(x)),
        NormPlace::After => norm.forward(x.clone() + part(x)),
    }
}

fn scaled(x: Tensor<3>, scale: &Option<Param<Tensor<1>>>) -> Tensor<3> {
    match scale {
        Some(scale) => x * scale.val().unsqueeze(),
        None => x,
    }
}
