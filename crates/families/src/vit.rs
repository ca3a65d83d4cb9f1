//! Vision Transformer (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words"): agrees with
//! `ViTForImageClassification` and `ViTModel`.
//!
//! The plain trunk over patches after a learned token, whose feature the heads read.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use sensorium_backbone::{Biases, Draw, Linear, NormKind, Transformer, TransformerConfig};
use sensorium_contract::{Pool, Seed};
use sensorium_kernels::Activation;
use serde::Deserialize;

use crate::{
    Content, FamilyError, Tower, TowerHead,
    config::{Act, Labels, Sides, check, hidden_ratio, labels, positive},
    layout::BlockNames,
    network::{Answers, Family, Found, Inputs, Layout, Published, Reads},
    parts::{PictureEmbeddings, PictureSizes, first_token},
};

/// `ViTConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct VitConfig {
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: Act,
    pub layer_norm_eps: f64,
    pub image_size: Sides,
    pub patch_size: Sides,
    pub num_channels: usize,
    pub qkv_bias: bool,
    pub pooler_output_size: Option<usize>,
    pub pooler_act: PoolerAct,
    pub num_labels: Option<usize>,
    pub id2label: Option<Labels>,
}

/// The pooler's non-linearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum PoolerAct {
    #[serde(rename = "tanh")]
    Tanh,
    #[serde(untagged)]
    Other(Act),
}

impl Default for VitConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Act::Gelu,
            layer_norm_eps: 1e-12,
            image_size: Sides::Same(224),
            patch_size: Sides::Same(16),
            num_channels: 3,
            qkv_bias: true,
            pooler_output_size: None,
            pooler_act: PoolerAct::Tanh,
            num_labels: None,
            id2label: None,
        }
    }
}

/// The names of a block in ViT and in what was written after it.
pub(crate) const BLOCK: BlockNames<'_> = BlockNames {
    norm1: "layernorm_before",
    qkv: &["attention.attention.query", "attention.attention.key", "attention.attention.value"],
    out: "attention.output.dense",
    scale1: None,
    cross: None,
    norm2: "layernorm_after",
    up: "intermediate.dense",
    gate: None,
    down: "output.dense",
    scale2: None,
    conv1d: false,
    no_key_bias: false,
};

impl VitConfig {
    fn trunk(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            heads: self.num_attention_heads,
            hidden_ratio: hidden_ratio(self.intermediate_size, self.hidden_size),
            activation: self.hidden_act.into(),
            epsilon: self.layer_norm_eps,
            biases: Biases { qkv: self.qkv_bias, ..Biases::default() },
            ..TransformerConfig::default()
        }
    }

    fn embeddings(&self, hidden: bool) -> PictureSizes {
        PictureSizes {
            channels: self.num_channels,
            picture: self.image_size.pair(),
            patch: self.patch_size.pair(),
            stride: self.patch_size.pair(),
            width: self.hidden_size,
            first: &["cls_token"],
            bias: true,
            hidden: hidden.then(|| vec![1, 1, self.hidden_size]),
        }
    }

    fn pooled(&self) -> usize {
        self.pooler_output_size.unwrap_or(self.hidden_size)
    }

    fn labels(&self) -> usize {
        labels(self.num_labels, self.id2label.as_ref())
    }
}

/// Embeddings, trunk and the heads that its checkpoint has.
#[derive(Module, Debug)]
pub struct Vit {
    embeddings: PictureEmbeddings,
    trunk: Transformer,
    /// Of the first token, `[width, pooled]`.
    pooler: Option<Linear>,
    /// Of the first token, `[width, labels]`.
    classifier: Option<Linear>,
    #[module(skip)]
    pooler_act: PoolerAct,
}

impl Family for Vit {
    type Config = VitConfig;

    fn check(config: &VitConfig) -> Result<(), String> {
        config.embeddings(false).check()?;
        positive(&[("pooler_output_size", config.pooled())])?;
        check(&config.trunk())
    }

    fn published(_config: &VitConfig) -> Published {
        Published {
            prefix: "vit.",
            left_out: vec![("decoder.", "a head that paints hidden patches")],
            ..Published::default()
        }
    }

    fn layout(config: &VitConfig, found: &Found) -> Layout {
        let width = config.hidden_size;
        let mut layout = Layout::default();
        PictureEmbeddings::layout(&mut layout, "embeddings", "vit.embeddings", &config.embeddings(found.has(HIDDEN)));
        layout.blocks("trunk", "vit.encoder.layer.{}", &config.trunk(), &BLOCK);
        layout.norm("trunk.norm", "vit.layernorm", width, NormKind::Layer);
        if found.has(POOLER) {
            layout.linear("pooler", "vit.pooler.dense", [width, config.pooled()], true);
        }
        if found.has(CLASSIFIER) {
            layout.linear("classifier", "classifier", [width, config.labels()], true);
        }
        layout
    }

    fn new(config: &VitConfig, found: &Found, device: &Device) -> Self {
        let linear = |outputs| Linear::new(config.hidden_size, outputs, Draw::Normal(0.02), Seed::new(0), device);
        Self {
            embeddings: PictureEmbeddings::new(&config.embeddings(found.has(HIDDEN)), device),
            trunk: Transformer::new(&config.trunk(), Seed::new(0), device),
            pooler: found.has(POOLER).then(|| linear(config.pooled())),
            classifier: found.has(CLASSIFIER).then(|| linear(config.labels())),
            pooler_act: config.pooler_act,
        }
    }

    fn reads(&self) -> Vec<Reads> {
        vec![Reads::PICTURE]
    }

    fn towers(&self, _picture: [usize; 2]) -> Vec<Tower> {
        let head = match (&self.pooler, self.pooler_act) {
            (None, _) => TowerHead::None,
            (Some(pooler), PoolerAct::Tanh) => TowerHead::Tanh(pooler.clone()),
            // No checkpoint in use is known to have another one.
            (Some(_), PoolerAct::Other(_)) => return Vec::new(),
        };
        let tokens = self.embeddings.tower(self.embeddings.positions.val(), None);
        vec![Tower { content: Content::Picture, tokens, trunk: self.trunk.clone(), pool: Some(Pool::Class), head }]
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let pixels = self.embeddings.pixels_of_size(inputs)?;
        let x = self.embeddings.tokens(pixels, inputs)?; // [rows, patches, width]
        let x = self.trunk.run(self.embeddings.placed(x, self.embeddings.positions.val()), None, None);
        let first = first_token(x.clone()); // [rows, width]
        let logits = self.classifier.as_ref().map(|classifier| classifier.forward(first.clone()));
        let pooled = self.pooler.as_ref().map(|pooler| self.pooler_act.apply(pooler.forward(first)));
        let answers = Answers::default().with("last_hidden_state", x);
        Ok(answers.with_some::<2>("logits", logits).with_some::<2>("pooler_output", pooled))
    }
}

impl PoolerAct {
    fn apply(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Tanh => x.tanh(),
            Self::Other(act) => Activation::from(act).apply(x),
        }
    }
}

const HIDDEN: &str = "vit.embeddings.mask_token";
const POOLER: &str = "vit.pooler.dense.weight";
const CLASSIFIER: &str = "classifier.weight";

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: serde_json::Value) -> VitConfig {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn sizes_may_be_one_or_two_and_poolers_may_have_any_activation() {
        let two = config(serde_json::json!({ "image_size": [32, 48], "patch_size": [8, 16], "pooler_act": "relu" }));
        assert_eq!(two.embeddings(false).tokens(), 13);
        assert_eq!(two.pooler_act, PoolerAct::Other(Act::Relu));
        assert_eq!(config(serde_json::json!({})).embeddings(false).tokens(), 197);
    }

    #[test]
    fn pictures_without_a_patch_are_refused() {
        let problem = |json| Vit::check(&config(json)).unwrap_err();
        assert!(problem(serde_json::json!({ "image_size": 8 })).contains("`patch_size`"));
        assert!(problem(serde_json::json!({ "num_channels": 0 })).contains("`num_channels`"));
        assert!(problem(serde_json::json!({ "image_size": usize::MAX })).contains("`image_size`"));
    }
}
