use burn::{
    module::{Module, Param},
    tensor::{Bool, Device, Tensor},
};
use sensorium_contract::{Pooled, Seed, Tokens};
use sensorium_kernels::{Activation, AttentionInputs, Scores, attention_general};

use crate::{Draw, Linear, Norm, NormKind, TransformerConfig, heads::split_heads, param};

/// A learned probe that reads the features of a trunk, then a feed-forward: a block without its first norm, whose only
/// token is the probe (Lee et al. 2019, "Set Transformer", section 3.2; as in SigLIP).
#[derive(Module, Debug)]
pub struct Probe {
    /// `[width]`
    pub probe: Param<Tensor<1>>,
    /// To queries, keys and values, `[3 · width, width]`.
    pub into: Param<Tensor<2>>,
    /// `[3 · width]`
    pub into_bias: Param<Tensor<1>>,
    /// `[width, width]`
    pub out: Linear,
    /// Of what attention read.
    pub norm: Norm,
    /// `[width, hidden]`
    pub up: Linear,
    /// `[hidden, width]`
    pub down: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    activation: Activation,
}

impl Probe {
    pub(crate) fn new(config: &TransformerConfig, seed: Seed, device: &Device) -> Self {
        let (width, hidden) = (config.width, config.hidden());
        let draw = |inputs: usize| Draw::Normal((inputs as f32).powf(-0.5));
        let linear = |name: &str, inputs, outputs| Linear::new(inputs, outputs, draw(inputs), seed.named(name), device);
        Self {
            probe: param([width], Draw::Normal(0.02), seed.named("probe"), device),
            into: param([3 * width, width], draw(width), seed.named("into"), device),
            into_bias: param([3 * width], Draw::Constant(0.0), seed, device),
            out: linear("out", width, width),
            norm: Norm::new(NormKind::Layer, width, config.epsilon, seed, device),
            up: linear("up", width, hidden),
            down: linear("down", hidden, width),
            heads: config.heads,
            activation: config.activation,
        }
    }

    /// `[rows, tokens, width]` → `[rows, width]`; `mask` `[rows, tokens]` is true where a token is real.
    pub fn forward(&self, x: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Tensor<2> {
        let [rows, _, width] = x.dims();
        let probe = self.probe.val().reshape([1, 1, width]);
        let query = self.part(probe, 0).expand([rows, self.heads, 1, width / self.heads]);
        let inputs = AttentionInputs { query, key: self.part(x.clone(), 1), value: self.part(x, 2), mask, bias: None };
        let scale = ((width / self.heads) as f64).powf(-0.5);
        let read = attention_general(inputs, Scores { causal: false, scale }); // [rows, heads, 1, head_width]
        let x = self.out.forward(read.reshape([rows, 1, width]));
        let hidden = self.activation.apply(self.up.forward(self.norm.forward(x.clone()))); // [rows, 1, hidden]
        (x + self.down.forward(hidden)).reshape([rows, width])
    }

    /// One vector for each segment, read from it alone.
    pub(crate) fn pool(&self, tokens: &Tokens) -> Vec<Pooled> {
        let [rows, _, width] = tokens.values.dims();
        let read = |segment: &sensorium_contract::Segment| {
            let range = segment.range.clone();
            let values = tokens.values.clone().slice([0..rows, range.clone(), 0..width]);
            let mask = tokens.mask.clone().map(|mask| mask.slice([0..rows, range]));
            Pooled { name: segment.name.clone(), vector: self.forward(values, mask) }
        };
        tokens.segments.iter().map(read).collect()
    }

    /// Queries, keys or values, `[rows, tokens, width]` → `[rows, heads, tokens, head_width]`
    fn part(&self, x: Tensor<3>, index: usize) -> Tensor<4> {
        let [rows, tokens, width] = x.dims();
        let weight = self.into.val().narrow(0, index * width, width).transpose(); // [width, width]
        let bias = self.into_bias.val().narrow(0, index * width, width);
        let part = x.reshape([rows * tokens, width]).matmul(weight) + bias.unsqueeze();
        split_heads(part.reshape([rows, tokens, width]), self.heads)
    }
}

#[cfg(test)]
mod tests {
    use sensorium_contract::{Name, Pool};

    use super::*;

    fn trunk(device: &Device) -> crate::Transformer {
        let config = TransformerConfig { layers: 1, width: 8, heads: 2, probe: true, ..TransformerConfig::default() };
        crate::Transformer::new(&config, Seed::new(3), device)
    }

    fn vectors(tokens: Tokens) -> Vec<Vec<f32>> {
        let pooled = trunk(&tokens.values.device()).forward(tokens).pooled;
        pooled.into_iter().map(|pooled| pooled.vector.into_data().iter().collect()).collect()
    }

    fn close(a: &[f32], b: &[f32]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
    }

    #[test]
    fn hidden_tokens_are_not_read_and_segments_are_read_apart() {
        let device = Device::flex();
        let values = |count: usize| {
            let numbers: Vec<f32> = (0..5 * 8).map(|at| (at * 7 % 11) as f32 / 5.0 - 1.0).collect();
            Tensor::<1>::from_data(&numbers[..count * 8], &device).reshape([1, count, 8])
        };
        let mask = Tensor::<1, burn::tensor::Int>::from_data([1, 1, 1, 0, 0], &device).reshape([1, 5]).equal_scalar(1);
        let name = Name::new("image");
        let short = vectors(Tokens::new(&name, Pool::Mean, values(3), None));
        let padded = vectors(Tokens::new(&name, Pool::Mean, values(5), Some(mask)));
        assert!(close(&short[0], &padded[0]), "{short:?} {padded:?}");
        let other = Tokens::new(&Name::new("other"), Pool::Mean, values(2), None);
        let both = vectors(Tokens::concat(vec![Tokens::new(&name, Pool::Mean, values(3), None), other]));
        assert_eq!(both.len(), 2);
        // Of the same features, what two segments say differs, as each reads its own alone.
        assert!(!close(&both[0], &both[1]));
    }
}
