//! SigLIP (Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training"): agrees with `SiglipModel`,
//! `SiglipTextModel` and `SiglipVisionModel`.
//!
//! Two plain trunks that look both ways. A text is what stands at its last token, through a linear layer; a
//! picture is what a learned probe reads from its patches.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use sensorium_backbone::{Draw, Linear, NormKind, Transformer, TransformerConfig, param};
use sensorium_contract::{Pool, Seed};
use sensorium_objectives::{ObjectiveConfig, PairwiseSigmoidConfig};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    FamilyError, Tower, TowerHead,
    clip::{BLOCK, asked, sides},
    config::{Act, check, hidden_ratio, nested, positive, read},
    network::{Answers, Content, Family, Found, Inputs, Layout, Published, Reads},
    parts::{PictureEmbeddings, PictureSizes, TextEmbeddings, TextIds, TextSizes, number, similarities, unit},
    values::{counting, within},
};

/// `SiglipConfig`, or that of one side alone.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) struct SiglipConfig {
    text: Option<SiglipTextConfig>,
    vision: Option<SiglipVisionConfig>,
}

/// `SiglipTextConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct SiglipTextConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub max_position_embeddings: usize,
    pub hidden_act: Act,
    pub layer_norm_eps: f64,
    pub projection_size: Option<usize>,
}

/// `SiglipVisionConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct SiglipVisionConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_channels: usize,
    pub image_size: usize,
    pub patch_size: usize,
    pub hidden_act: Act,
    pub layer_norm_eps: f64,
    pub vision_use_head: bool,
}

impl Default for SiglipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 32_000,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            max_position_embeddings: 64,
            hidden_act: Act::GeluTanh,
            layer_norm_eps: 1e-6,
            projection_size: None,
        }
    }
}

impl Default for SiglipVisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 16,
            hidden_act: Act::GeluTanh,
            layer_norm_eps: 1e-6,
            vision_use_head: true,
        }
    }
}

impl TryFrom<Value> for SiglipConfig {
    type Error = String;

    fn try_from(config: Value) -> Result<Self, String> {
        match config["model_type"].as_str() {
            Some(TEXT_MODEL) => Ok(Self { text: Some(read(&config)?), vision: None }),
            Some(VISION_MODEL) => Ok(Self { text: None, vision: Some(read(&config)?) }),
            _ => {
                let (text, vision) = (nested(&config, "text_config")?, nested(&config, "vision_config")?);
                Ok(Self { text: Some(text), vision: Some(vision) })
            }
        }
    }
}

impl SiglipConfig {
    fn is_joint(&self) -> bool {
        self.text.is_some() && self.vision.is_some()
    }
}

impl SiglipTextConfig {
    fn check(&self) -> Result<(), String> {
        positive(&[
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("projection_size", self.projection()),
        ])?;
        check(&self.trunk())
    }

    fn projection(&self) -> usize {
        self.projection_size.unwrap_or(self.hidden_size)
    }

    fn trunk(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            heads: self.num_attention_heads,
            hidden_ratio: hidden_ratio(self.intermediate_size, self.hidden_size),
            activation: self.hidden_act.into(),
            epsilon: self.layer_norm_eps,
            ..TransformerConfig::default()
        }
    }

    fn embeddings(&self) -> TextSizes {
        TextSizes {
            vocabulary: self.vocab_size,
            positions: Some(self.max_position_embeddings),
            types: Vec::new(),
            width: self.hidden_size,
            epsilon: None,
        }
    }
}

impl SiglipVisionConfig {
    fn check(&self) -> Result<(), String> {
        self.pictures().check()?;
        check(&self.trunk())
    }

    fn trunk(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            heads: self.num_attention_heads,
            hidden_ratio: hidden_ratio(self.intermediate_size, self.hidden_size),
            activation: self.hidden_act.into(),
            epsilon: self.layer_norm_eps,
            probe: self.vision_use_head,
            ..TransformerConfig::default()
        }
    }

    fn pictures(&self) -> PictureSizes {
        PictureSizes {
            channels: self.num_channels,
            picture: [self.image_size; 2],
            patch: [self.patch_size; 2],
            stride: [self.patch_size; 2],
            width: self.hidden_size,
            first: &[],
            bias: true,
            hidden: None,
        }
    }
}

/// What a side says of its rows.
struct Side {
    /// `[rows, tokens, width]`
    hidden: Tensor<3>,
    /// `[rows, width]`, where there is a head.
    pooled: Option<Tensor<2>>,
}

/// The side of texts.
#[derive(Module, Debug)]
pub struct SiglipText {
    embeddings: TextEmbeddings,
    trunk: Transformer,
    /// Of the last token, `[width, projection]`.
    head: Linear,
}

impl SiglipText {
    fn new(config: &SiglipTextConfig, device: &Device) -> Self {
        let seed = Seed::new(0);
        Self {
            embeddings: TextEmbeddings::new(&config.embeddings(), device),
            trunk: Transformer::new(&config.trunk(), seed, device),
            head: Linear::new(config.hidden_size, config.projection(), Draw::Normal(0.02), seed, device),
        }
    }

    fn layout(layout: &mut Layout, config: &SiglipTextConfig) {
        let names = ["text_model.embeddings.token_embedding", "text_model.embeddings.position_embedding", ""];
        TextEmbeddings::layout(layout, "text.embeddings", &config.embeddings(), names, &[]);
        layout.blocks("text.trunk", "text_model.encoder.layers.{}", &config.trunk(), &BLOCK);
        layout.norm("text.trunk.norm", "text_model.final_layer_norm", config.hidden_size, NormKind::Layer);
        layout.linear("text.head", "text_model.head", [config.hidden_size, config.projection()], true);
    }

    /// Texts are trained without a mask, padded to one length; one that is given counts.
    fn forward(&self, inputs: &Inputs<'_>) -> Result<Side, FamilyError> {
        let ids = inputs.ids("input_ids", self.embeddings.words.values())?;
        let shape = ids.dim().into();
        let mask = inputs.mask("attention_mask", shape)?;
        let positions = within("input_ids", counting(shape), self.embeddings.positions.as_ref())?;
        let ids_of = TextIds { positions: Some(inputs.tensor(&positions)), types: Vec::new() };
        let x = self.embeddings.forward(inputs.tensor(&ids), ids_of); // [rows, tokens, width]
        let hidden = self.trunk.run(x, mask.as_ref(), None);
        let [rows, tokens, width] = hidden.dims();
        let last = hidden.clone().slice([0..rows, tokens - 1..tokens]).reshape([rows, width]);
        Ok(Side { pooled: Some(self.head.forward(last)), hidden })
    }
}

/// The side of pictures.
#[derive(Module, Debug)]
pub struct SiglipVision {
    pictures: PictureEmbeddings,
    trunk: Transformer,
}

impl SiglipVision {
    fn new(config: &SiglipVisionConfig, device: &Device) -> Self {
        Self {
            pictures: PictureEmbeddings::new(&config.pictures(), device),
            trunk: Transformer::new(&config.trunk(), Seed::new(0), device),
        }
    }

    fn layout(layout: &mut Layout, config: &SiglipVisionConfig) {
        let (width, sizes) = (config.hidden_size, config.pictures());
        let patches = "vision_model.embeddings.patch_embedding";
        layout.patches("vision.pictures.patches.projection", patches, sizes.convolution(), sizes.bias);
        let positions = "vision_model.embeddings.position_embedding.weight";
        layout.tensor("vision.pictures.positions", positions, &[sizes.tokens(), width]);
        layout.blocks("vision.trunk", "vision_model.encoder.layers.{}", &config.trunk(), &BLOCK);
        layout.norm("vision.trunk.norm", "vision_model.post_layernorm", width, NormKind::Layer);
        if config.vision_use_head {
            probe(layout, "vision.trunk.probe", "vision_model.head", &config.trunk());
        }
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Side, FamilyError> {
        let pixels = self.pictures.pixels_of_size(inputs)?;
        let hidden = self.trunk.run(self.pictures.forward(pixels), None, None); // [rows, patches, width]
        Ok(Side { pooled: self.trunk.probe.as_ref().map(|probe| probe.forward(hidden.clone(), None)), hidden })
    }
}

/// The names of a trunk's probe.
fn probe(layout: &mut Layout, own: &str, theirs: &str, config: &TransformerConfig) {
    let (width, hidden) = (config.width, config.hidden());
    let (own, theirs) = (|name: &str| format!("{own}.{name}"), |name: &str| format!("{theirs}.{name}"));
    layout.tensor(own("probe"), theirs("probe"), &[1, 1, width]);
    layout.tensor(own("into"), theirs("attention.in_proj_weight"), &[3 * width, width]);
    layout.tensor(own("into_bias"), theirs("attention.in_proj_bias"), &[3 * width]);
    layout.linear(&own("out"), &theirs("attention.out_proj"), [width, width], true);
    layout.norm(&own("norm"), &theirs("layernorm"), width, NormKind::Layer);
    layout.linear(&own("up"), &theirs("mlp.fc1"), [width, hidden], true);
    layout.linear(&own("down"), &theirs("mlp.fc2"), [hidden, width], true);
}

/// Both sides, or one of them.
#[derive(Module, Debug)]
pub struct Siglip {
    text: Option<SiglipText>,
    vision: Option<SiglipVision>,
    /// A logarithm, `[1]`; where both sides are.
    logit_scale: Option<Param<Tensor<1>>>,
    /// `[1]`; where both sides are.
    logit_bias: Option<Param<Tensor<1>>>,
}

impl Family for Siglip {
    type Config = SiglipConfig;

    fn check(config: &SiglipConfig) -> Result<(), String> {
        let side = |name| move |problem| format!("side of {name}: {problem}");
        config.text.as_ref().map_or(Ok(()), SiglipTextConfig::check).map_err(side("texts"))?;
        config.vision.as_ref().map_or(Ok(()), SiglipVisionConfig::check).map_err(side("pictures"))?;
        let (Some(text), Some(vision)) = (&config.text, &config.vision) else { return Ok(()) };
        if !vision.vision_use_head {
            return Err("`vision_config.vision_use_head`: only true is known beside texts".into());
        }
        match text.projection() == vision.hidden_size {
            true => Ok(()),
            false => Err(format!(
                "`text_config.projection_size` is {}, expected `vision_config.hidden_size` {}",
                text.projection(),
                vision.hidden_size
            )),
        }
    }

    fn published(config: &SiglipConfig) -> Published {
        let prefix = match (&config.text, &config.vision) {
            (Some(_), None) => "text_model.",
            (None, Some(_)) => "vision_model.",
            _ => "",
        };
        Published { prefix, ..Published::default() }
    }

    fn layout(config: &SiglipConfig, _found: &Found) -> Layout {
        let mut layout = Layout::default();
        if let Some(text) = &config.text {
            SiglipText::layout(&mut layout, text);
        }
        if let Some(vision) = &config.vision {
            SiglipVision::layout(&mut layout, vision);
        }
        if config.is_joint() {
            layout.tensor("logit_scale", "logit_scale", &[1]);
            layout.tensor("logit_bias", "logit_bias", &[1]);
        }
        layout
    }

    fn new(config: &SiglipConfig, _found: &Found, device: &Device) -> Self {
        let scalar = || config.is_joint().then(|| param([1], Draw::Constant(0.0), Seed::new(0), device));
        Self {
            text: config.text.as_ref().map(|text| SiglipText::new(text, device)),
            vision: config.vision.as_ref().map(|vision| SiglipVision::new(vision, device)),
            logit_scale: scalar(),
            logit_bias: scalar(),
        }
    }

    fn reads(&self) -> Vec<Reads> {
        let texts = Reads { content: Content::FilledText, ..Reads::TEXT };
        let pictures = Reads { pool: Pool::Mean, ..Reads::PICTURE };
        sides([(self.text.is_some(), texts), (self.vision.is_some(), pictures)])
    }

    fn towers(&self, _picture: [usize; 2]) -> Vec<Tower> {
        let text = |text: &SiglipText| Tower {
            content: Content::FilledText,
            pool: Some(Pool::Last),
            head: TowerHead::Linear(text.head.clone()),
            ..Tower::words(text.embeddings.tower(0), &text.trunk)
        };
        let picture = |vision: &SiglipVision| Tower {
            content: Content::Picture,
            tokens: vision.pictures.tower(vision.pictures.positions.val(), None),
            trunk: vision.trunk.clone(),
            // The probe reads the patches, but for a checkpoint without one.
            pool: Some(Pool::Mean),
            head: TowerHead::None,
        };
        self.text.iter().map(text).chain(self.vision.iter().map(picture)).collect()
    }

    fn objective(&self) -> Option<ObjectiveConfig> {
        let (scale, bias) = (self.logit_scale.as_ref()?, self.logit_bias.as_ref()?);
        let (scale, bias) = (number(scale).exp(), number(bias));
        Some(ObjectiveConfig::PairwiseSigmoid(PairwiseSigmoidConfig { scale, bias, ..Default::default() }))
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let [texts, pictures] = asked(inputs, [self.text.is_some(), self.vision.is_some()]);
        let text = self.text.as_ref().filter(|_| texts).map(|text| text.forward(inputs)).transpose()?;
        let picture = self.vision.as_ref().filter(|_| pictures).map(|vision| vision.forward(inputs)).transpose()?;
        let (Some(scale), Some(bias)) = (&self.logit_scale, &self.logit_bias) else {
            let side = text.or(picture);
            let pooled = side.as_ref().and_then(|side| side.pooled.clone());
            let hidden = side.map(|side| side.hidden);
            return Ok(Answers::default().with_some("last_hidden_state", hidden).with_some("pooler_output", pooled));
        };
        let embeds = |side: Option<Side>| side.and_then(|side| side.pooled).map(unit); // [rows, width]
        let (texts, pictures) = (embeds(text), embeds(picture));
        let logits = texts.clone().zip(pictures.clone()).map(|(texts, pictures)| {
            similarities(texts, pictures, scale.val()) + bias.val().unsqueeze() // [texts, pictures]
        });
        Ok(Answers::default()
            .with_some("text_embeds", texts)
            .with_some("image_embeds", pictures)
            .with_some("logits_per_image", logits.clone().map(Tensor::transpose))
            .with_some("logits_per_text", logits))
    }
}

/// `model_type` of texts alone.
const TEXT_MODEL: &str = "siglip_text_model";
/// `model_type` of pictures alone.
const VISION_MODEL: &str = "siglip_vision_model";
