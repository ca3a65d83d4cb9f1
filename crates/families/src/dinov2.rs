//! DINOv2 (Oquab et al. 2023, "DINOv2: Learning Robust Visual Features without Supervision"): agrees with
//! `Dinov2Model`, `Dinov2ForImageClassification` and the weights of `Dinov2Backbone`.
//!
//! ViT whose blocks scale what they add, in the largest with a gated feed-forward; positions are resampled
//! for pictures of any size.

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
    config::{Act, Labels, Sides, check, hidden_ratio, labels},
    layout::BlockNames,
    network::{Answers, Family, Found, Inputs, Layout, Published, Reads},
    parts::{PictureEmbeddings, PictureSizes, first_token},
    vit,
};

/// `Dinov2Config`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct Dinov2Config {
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub mlp_ratio: f64,
    pub hidden_act: Act,
    pub layer_norm_eps: f64,
    pub image_size: Sides,
    pub patch_size: Sides,
    pub num_channels: usize,
    pub qkv_bias: bool,
    pub layerscale_value: f32,
    pub use_swiglu_ffn: bool,
    pub num_labels: Option<usize>,
    pub id2label: Option<Labels>,
}

impl Default for Dinov2Config {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            mlp_ratio: 4.0,
            hidden_act: Act::Gelu,
            layer_norm_eps: 1e-6,
            image_size: Sides::Same(224),
            patch_size: Sides::Same(14),
            num_channels: 3,
            qkv_bias: true,
            layerscale_value: 1.0,
            use_swiglu_ffn: false,
            num_labels: None,
            id2label: None,
        }
    }
}

/// The names of a block with a plain feed-forward.
const BLOCK: BlockNames<'_> = BlockNames {
    norm1: "norm1",
    scale1: Some("layer_scale1.lambda1"),
    norm2: "norm2",
    up: "mlp.fc1",
    down: "mlp.fc2",
    scale2: Some("layer_scale2.lambda1"),
    ..vit::BLOCK
};

/// With a gated one: gate and what it multiplies are one tensor.
const GATED: BlockNames<'_> =
    BlockNames { up: "mlp.weights_in", gate: Some("mlp.weights_in"), down: "mlp.weights_out", ..BLOCK };

impl Dinov2Config {
    /// Features inside the feed-forward; a gated one has two thirds, rounded up to a multiple of 8.
    fn hidden(&self) -> usize {
        let hidden = (self.hidden_size as f64 * self.mlp_ratio) as usize;
        match self.use_swiglu_ffn {
            true => ((hidden as f64 * 2.0 / 3.0) as usize).div_ceil(8) * 8,
            false => hidden,
        }
    }

    fn trunk(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            heads: self.num_attention_heads,
            hidden_ratio: hidden_ratio(self.hidden(), self.hidden_size),
            activation: if self.use_swiglu_ffn { Activation::Silu } else { self.hidden_act.into() },
            gated: self.use_swiglu_ffn,
            epsilon: self.layer_norm_eps,
            biases: Biases { qkv: self.qkv_bias, ..Biases::default() },
            layer_scale: Some(self.layerscale_value),
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
            hidden: hidden.then(|| vec![1, self.hidden_size]),
        }
    }

    fn labels(&self) -> usize {
        labels(self.num_labels, self.id2label.as_ref())
    }
}

/// Embeddings, trunk and the head that its checkpoint may have.
#[derive(Module, Debug)]
pub struct Dinov2 {
    embeddings: PictureEmbeddings,
    trunk: Transformer,
    /// Of the first token and the mean of the patches, `[2 · width, labels]`.
    classifier: Option<Linear>,
}

impl Family for Dinov2 {
    type Config = Dinov2Config;

    fn check(config: &Dinov2Config) -> Result<(), String> {
        let sizes = config.embeddings(false);
        sizes.check()?;
        if !(0.0..=4096.0).contains(&config.mlp_ratio) {
            return Err(format!("`mlp_ratio`: expected 0 to 4096, found {}", config.mlp_ratio));
        }
        if sizes.patches().isqrt().pow(2) != sizes.patches() {
            return Err("`image_size`: only as many rows of patches as columns are known here".into());
        }
        check(&config.trunk())
    }

    fn published(_config: &Dinov2Config) -> Published {
        Published { prefix: "dinov2.", ..Published::default() }
    }

    fn layout(config: &Dinov2Config, found: &Found) -> Layout {
        let width = config.hidden_size;
        let mut layout = Layout::default();
        PictureEmbeddings::layout(
            &mut layout,
            "embeddings",
            "dinov2.embeddings",
            &config.embeddings(found.has(HIDDEN)),
        );
        let names = if config.use_swiglu_ffn { &GATED } else { &BLOCK };
        layout.blocks("trunk", "dinov2.encoder.layer.{}", &config.trunk(), names);
        layout.norm("trunk.norm", "dinov2.layernorm", width, NormKind::Layer);
        if found.has(CLASSIFIER) {
            layout.linear("classifier", "classifier", [2 * width, config.labels()], true);
        }
        layout
    }

    fn new(config: &Dinov2Config, found: &Found, device: &Device) -> Self {
        let seed = Seed::new(0);
        let classifier = || Linear::new(2 * config.hidden_size, config.labels(), Draw::Normal(0.02), seed, device);
        Self {
            embeddings: PictureEmbeddings::new(&config.embeddings(found.has(HIDDEN)), device),
            trunk: Transformer::new(&config.trunk(), seed, device),
            classifier: found.has(CLASSIFIER).then(classifier),
        }
    }

    fn reads(&self) -> Vec<Reads> {
        vec![Reads::PICTURE]
    }

    fn towers(&self, picture: [usize; 2]) -> Vec<Tower> {
        if self.embeddings.patches.grid(picture).contains(&0) {
            return Vec::new();
        }
        let tokens = self.embeddings.tower(self.embeddings.positions_for(picture), None);
        let (trunk, pool, head) = (self.trunk.clone(), Some(Pool::Class), TowerHead::None);
        vec![Tower { content: Content::Picture, tokens, trunk, pool, head }]
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let pixels = self.embeddings.pixels(inputs)?;
        let [_, _, height, width] = pixels.dims();
        let positions = self.embeddings.positions_for([height, width]);
        let x = self.embeddings.tokens(pixels, inputs)?; // [rows, patches, width]
        let x = self.trunk.run(self.embeddings.placed(x, positions), None, None);
        let first = first_token(x.clone()); // [rows, width]
        let classify = |classifier: &Linear| {
            let [_, tokens, _] = x.dims();
            let patches: Tensor<2> = x.clone().narrow(1, 1, tokens - 1).mean_dim(1).squeeze_dim(1); // [rows, width]
            classifier.forward(Tensor::cat(vec![first.clone(), patches], 1))
        };
        let logits = self.classifier.as_ref().map(classify);
        let answers = Answers::default().with("last_hidden_state", x).with("pooler_output", first);
        Ok(answers.with_some::<2>("logits", logits))
    }
}

const HIDDEN: &str = "dinov2.embeddings.mask_token";
const CLASSIFIER: &str = "classifier.weight";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Network, weights};

    fn gated() -> Dinov2Config {
        let config = serde_json::json!({
            "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8, "patch_size": 4,
            "num_channels": 1, "use_swiglu_ffn": true,
        });
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn a_gated_feed_forward_has_two_thirds_in_steps_of_eight() {
        assert_eq!(gated().hidden(), 32);
        assert_eq!(Dinov2Config { hidden_size: 1536, use_swiglu_ffn: true, ..Dinov2Config::default() }.hidden(), 4096);
        assert_eq!(Dinov2Config { hidden_size: 15, use_swiglu_ffn: true, ..Dinov2Config::default() }.hidden(), 40);
    }

    #[test]
    fn gate_and_value_come_from_one_tensor_and_go_back_into_it() {
        let (config, found, device) = (gated(), Found::default(), Device::flex());
        let layout = Dinov2::layout(&config, &found);
        let sizes: BTreeMap<_, _> = layout.pieces().map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
        assert_eq!(sizes["dinov2.encoder.layer.0.mlp.weights_in.weight"], [64, 12]);
        let mut counting =
            |name: &str| Ok((0..sizes[name].iter().product()).map(|value: usize| value as f32).collect());
        let network = weights::load(Dinov2::new(&config, &found, &device), &layout, &mut counting).unwrap();
        let block = &network.trunk.blocks[0];
        let of = |linear: &Linear| linear.bias.as_ref().unwrap().val().into_data().iter::<f32>().collect::<Vec<_>>();
        assert_eq!([of(block.gate.as_ref().unwrap())[0], of(&block.up)[0]], [0.0, 32.0]);
        let tensors = weights::export(&Network::Dinov2(network), &layout);
        assert_eq!(tensors.len(), sizes.len());
        for tensor in tensors {
            assert_eq!(tensor.shape, sizes[&tensor.name]);
            assert!(tensor.values.iter().enumerate().all(|(at, &value)| value == at as f32), "{}", tensor.name);
        }
    }
}
