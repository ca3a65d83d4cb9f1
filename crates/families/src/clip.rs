//! CLIP (Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision"): agrees
//! with `CLIPModel`, and with `CLIPTextModel` and `CLIPVisionModel` with their projections or without.
//!
//! Two plain trunks, that of texts looking back only. A text is what stands at its end token, a picture what
//! stands at a token before its patches; both go through a projection without a bias.

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor},
};
use ndarray::Array2;
use sensorium_backbone::{Draw, Linear, Norm, NormKind, Transformer, TransformerConfig, param};
use sensorium_contract::{Attention, Pool, Seed};
use sensorium_objectives::ObjectiveConfig;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Content, FamilyError, Tower, TowerHead,
    config::{Act, check, hidden_ratio, nested, positive, read},
    layout::BlockNames,
    network::{Answers, Family, Found, Inputs, Layout, Published, Reads},
    parts::{PictureEmbeddings, PictureSizes, TextEmbeddings, TextIds, TextSizes, contrastive, similarities, unit},
    values::{counting, within},
};

/// `CLIPConfig`, or that of one side alone.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) struct ClipConfig {
    text: Option<ClipTextConfig>,
    vision: Option<ClipVisionConfig>,
    projection: usize,
}

/// `CLIPTextConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct ClipTextConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub projection_dim: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub max_position_embeddings: usize,
    pub hidden_act: Act,
    pub layer_norm_eps: f64,
    pub eos_token_id: i64,
}

/// `CLIPVisionConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct ClipVisionConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub projection_dim: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_channels: usize,
    pub image_size: usize,
    pub patch_size: usize,
    pub hidden_act: Act,
    pub layer_norm_eps: f64,
}

/// What `CLIPConfig` has beside its sides.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Joint {
    projection_dim: usize,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49_408,
            hidden_size: 512,
            intermediate_size: 2048,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Act::QuickGelu,
            layer_norm_eps: 1e-5,
            eos_token_id: 49_407,
        }
    }
}

impl Default for ClipVisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: Act::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

impl Default for Joint {
    fn default() -> Self {
        Self { projection_dim: 512 }
    }
}

impl TryFrom<Value> for ClipConfig {
    type Error = String;

    fn try_from(config: Value) -> Result<Self, String> {
        match config["model_type"].as_str() {
            Some(TEXT_MODEL) => {
                let text: ClipTextConfig = read(&config)?;
                Ok(Self { projection: text.projection_dim, text: Some(text), vision: None })
            }
            Some(VISION_MODEL) => {
                let vision: ClipVisionConfig = read(&config)?;
                Ok(Self { projection: vision.projection_dim, text: None, vision: Some(vision) })
            }
            _ => Ok(Self {
                text: Some(nested(&config, "text_config")?),
                vision: Some(nested(&config, "vision_config")?),
                projection: read::<Joint>(&config)?.projection_dim,
            }),
        }
    }
}

/// The names of a block in CLIP and what was written after it.
pub(crate) const BLOCK: BlockNames<'_> = BlockNames {
    norm1: "layer_norm1",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    out: "self_attn.out_proj",
    scale1: None,
    cross: None,
    norm2: "layer_norm2",
    up: "mlp.fc1",
    gate: None,
    down: "mlp.fc2",
    scale2: None,
    conv1d: false,
    no_key_bias: false,
};

impl ClipTextConfig {
    fn check(&self) -> Result<(), String> {
        positive(&[("vocab_size", self.vocab_size), ("max_position_embeddings", self.max_position_embeddings)])?;
        check(&self.trunk())
    }

    fn trunk(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            heads: self.num_attention_heads,
            hidden_ratio: hidden_ratio(self.intermediate_size, self.hidden_size),
            attention: Attention::Causal,
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

impl ClipVisionConfig {
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
            first: &["class_embedding"],
            bias: false,
            hidden: None,
        }
    }
}

/// What a side says of its rows.
struct Side {
    /// `[rows, tokens, width]`
    hidden: Tensor<3>,
    /// `[rows, width]`
    pooled: Tensor<2>,
}

/// The side of texts.
#[derive(Module, Debug)]
pub struct ClipText {
    embeddings: TextEmbeddings,
    trunk: Transformer,
    /// The end token; nothing where the highest id is it.
    #[module(skip)]
    end: Option<i64>,
}

impl ClipText {
    fn new(config: &ClipTextConfig, device: &Device) -> Self {
        Self {
            embeddings: TextEmbeddings::new(&config.embeddings(), device),
            trunk: Transformer::new(&config.trunk(), Seed::new(0), device),
            end: (config.eos_token_id != OLD_END).then_some(config.eos_token_id),
        }
    }

    fn layout(layout: &mut Layout, config: &ClipTextConfig) {
        let names = ["text_model.embeddings.token_embedding", "text_model.embeddings.position_embedding", ""];
        TextEmbeddings::layout(layout, "text.embeddings", &config.embeddings(), names, &[]);
        layout.blocks("text.trunk", "text_model.encoder.layers.{}", &config.trunk(), &BLOCK);
        layout.norm("text.trunk.norm", "text_model.final_layer_norm", config.hidden_size, NormKind::Layer);
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Side, FamilyError> {
        let ids = inputs.ids("input_ids", self.embeddings.words.values())?;
        let shape = ids.dim().into();
        let mask = inputs.mask("attention_mask", shape)?;
        let positions = within("input_ids", counting(shape), self.embeddings.positions.as_ref())?;
        let ids_of = TextIds { positions: Some(inputs.tensor(&positions)), types: Vec::new() };
        let x = self.embeddings.forward(inputs.tensor(&ids), ids_of); // [rows, tokens, width]
        let hidden = inputs.through(&self.trunk, x, mask.as_ref());
        let ends = inputs.tensor(&ends(&ids, self.end));
        Ok(Side { pooled: at(hidden.clone(), ends), hidden })
    }
}

/// Where each text ends, `[rows, 1]`: at its first end token, or at its first token where it has none. Without
/// an end token, at the first of its highest ids.
fn ends(ids: &Array2<i64>, end: Option<i64>) -> Array2<i64> {
    let score = |id: i64| end.map_or(id, |end| i64::from(id == end));
    Array2::from_shape_fn([ids.nrows(), 1], |(row, _)| {
        let scores = ids.row(row).mapv(score);
        let best = scores.iter().max();
        scores.iter().position(|score| Some(score) == best).unwrap_or(0) as i64
    })
}

/// One token of each row, `[rows, tokens, width]` and `[rows, 1]` → `[rows, width]`
fn at(x: Tensor<3>, tokens: Tensor<2, Int>) -> Tensor<2> {
    let [rows, _, width] = x.dims();
    x.gather(1, tokens.unsqueeze_dim::<3>(2).expand([rows, 1, width])).reshape([rows, width])
}

/// The side of pictures.
#[derive(Module, Debug)]
pub struct ClipVision {
    pictures: PictureEmbeddings,
    /// Before the trunk.
    before: Norm,
    /// Without its last norm.
    trunk: Transformer,
    /// Of the first token alone.
    after: Norm,
}

impl ClipVision {
    fn new(config: &ClipVisionConfig, device: &Device) -> Self {
        let norm = || Norm::new(NormKind::Layer, config.hidden_size, config.layer_norm_eps, Seed::new(0), device);
        let mut trunk = Transformer::new(&config.trunk(), Seed::new(0), device);
        trunk.norm = None;
        Self { pictures: PictureEmbeddings::new(&config.pictures(), device), before: norm(), trunk, after: norm() }
    }

    fn layout(layout: &mut Layout, config: &ClipVisionConfig) {
        let (width, sizes) = (config.hidden_size, config.pictures());
        let patches = "vision_model.embeddings.patch_embedding";
        layout.patches("vision.pictures.patches.projection", patches, sizes.convolution(), sizes.bias);
        layout.tensor("vision.pictures.first.0", "vision_model.embeddings.class_embedding", &[width]);
        let positions = "vision_model.embeddings.position_embedding.weight";
        layout.tensor("vision.pictures.positions", positions, &[sizes.tokens(), width]);
        layout.norm("vision.before", "vision_model.pre_layrnorm", width, NormKind::Layer);
        layout.blocks("vision.trunk", "vision_model.encoder.layers.{}", &config.trunk(), &BLOCK);
        layout.norm("vision.after", "vision_model.post_layernorm", width, NormKind::Layer);
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Side, FamilyError> {
        let pixels = self.pictures.pixels_of_size(inputs)?;
        let x = self.before.forward(self.pictures.forward(pixels)); // [rows, tokens, width]
        let hidden = self.trunk.run(x, None, None);
        let [rows, _, width] = hidden.dims();
        let first = self.after.forward(hidden.clone().slice([0..rows, 0..1])); // [rows, 1, width]
        Ok(Side { pooled: first.reshape([rows, width]), hidden })
    }
}

/// Both sides, or one of them.
#[derive(Module, Debug)]
pub struct Clip {
    text: Option<ClipText>,
    vision: Option<ClipVision>,
    /// `[width, projection]`
    text_projection: Option<Linear>,
    /// `[width, projection]`
    visual_projection: Option<Linear>,
    /// A logarithm, `[1]`; where both sides are.
    logit_scale: Option<Param<Tensor<1>>>,
}

impl Family for Clip {
    type Config = ClipConfig;

    fn check(config: &ClipConfig) -> Result<(), String> {
        positive(&[("projection_dim", config.projection)])?;
        let side = |name| move |problem| format!("side of {name}: {problem}");
        config.text.as_ref().map_or(Ok(()), ClipTextConfig::check).map_err(side("texts"))?;
        config.vision.as_ref().map_or(Ok(()), ClipVisionConfig::check).map_err(side("pictures"))
    }

    fn published(config: &ClipConfig) -> Published {
        let prefix = match (&config.text, &config.vision) {
            (Some(_), None) => "text_model.",
            (None, Some(_)) => "vision_model.",
            _ => "",
        };
        Published { prefix, ..Published::default() }
    }

    fn layout(config: &ClipConfig, found: &Found) -> Layout {
        let mut layout = Layout::default();
        if let Some(text) = &config.text {
            ClipText::layout(&mut layout, text);
            if config.has_projection(found, "text_projection.weight") {
                layout.linear("text_projection", "text_projection", [text.hidden_size, config.projection], false);
            }
        }
        if let Some(vision) = &config.vision {
            ClipVision::layout(&mut layout, vision);
            if config.has_projection(found, "visual_projection.weight") {
                layout.linear("visual_projection", "visual_projection", [vision.hidden_size, config.projection], false);
            }
        }
        if config.is_joint() {
            layout.tensor("logit_scale", "logit_scale", &[]);
        }
        layout
    }

    fn new(config: &ClipConfig, found: &Found, device: &Device) -> Self {
        let seed = Seed::new(0);
        let projection = |name, width| {
            let linear = || Linear::without_bias(width, config.projection, Draw::Normal(0.02), seed, device);
            config.has_projection(found, name).then(linear)
        };
        let (text, vision) = (config.text.as_ref(), config.vision.as_ref());
        Self {
            text_projection: text.and_then(|text| projection("text_projection.weight", text.hidden_size)),
            visual_projection: vision.and_then(|vision| projection("visual_projection.weight", vision.hidden_size)),
            text: text.map(|text| ClipText::new(text, device)),
            vision: vision.map(|vision| ClipVision::new(vision, device)),
            logit_scale: config.is_joint().then(|| param([1], Draw::Constant(2.6592), seed, device)),
        }
    }

    fn reads(&self) -> Vec<Reads> {
        sides([(self.text.is_some(), Reads::TEXT), (self.vision.is_some(), Reads::PICTURE)])
    }

    fn towers(&self, _picture: [usize; 2]) -> Vec<Tower> {
        let head = |projection: &Option<Linear>| projection.clone().map_or(TowerHead::None, TowerHead::Linear);
        let text = self.text.as_ref().map(|text| Tower {
            content: Content::Text,
            tokens: text.embeddings.tower(0),
            trunk: text.trunk.clone(),
            pool: Some(Pool::Last),
            head: head(&self.text_projection),
        });
        let vision = self.vision.as_ref().map(|vision| {
            let mut trunk = vision.trunk.clone();
            // Of all tokens the first alone is pooled.
            trunk.norm = Some(vision.after.clone());
            let tokens = vision.pictures.tower(vision.pictures.positions.val(), Some(vision.before.clone()));
            let head = head(&self.visual_projection);
            Tower { content: Content::Picture, tokens, trunk, pool: Some(Pool::Class), head }
        });
        text.into_iter().chain(vision).collect()
    }

    fn objective(&self) -> Option<ObjectiveConfig> {
        self.logit_scale.as_ref().map(contrastive)
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let [texts, pictures] = asked(inputs, [self.text.is_some(), self.vision.is_some()]);
        let text = self.text.as_ref().filter(|_| texts).map(|text| text.forward(inputs)).transpose()?;
        let picture = self.vision.as_ref().filter(|_| pictures).map(|vision| vision.forward(inputs)).transpose()?;
        let projected = |side: &Option<Side>, projection: &Option<Linear>| {
            Some(projection.as_ref()?.forward(side.as_ref()?.pooled.clone())) // [rows, projection]
        };
        let text_embeds = projected(&text, &self.text_projection);
        let image_embeds = projected(&picture, &self.visual_projection);
        let Some(scale) = &self.logit_scale else {
            let answers =
                Answers::default().with_some("text_embeds", text_embeds).with_some("image_embeds", image_embeds);
            let side = text.or(picture);
            let pooled = side.as_ref().map(|side| side.pooled.clone());
            return Ok(answers
                .with_some("last_hidden_state", side.map(|side| side.hidden))
                .with_some("pooler_output", pooled));
        };
        let (texts, pictures) = (text_embeds.map(unit), image_embeds.map(unit));
        let logits =
            texts.clone().zip(pictures.clone()).map(|(texts, pictures)| similarities(texts, pictures, scale.val()));
        Ok(Answers::default()
            .with_some("text_embeds", texts)
            .with_some("image_embeds", pictures)
            .with_some("logits_per_image", logits.clone().map(Tensor::transpose))
            .with_some("logits_per_text", logits))
    }
}

impl ClipConfig {
    fn is_joint(&self) -> bool {
        self.text.is_some() && self.vision.is_some()
    }

    /// Whether a side has its projection: always beside the other.
    fn has_projection(&self, found: &Found, name: &str) -> bool {
        self.is_joint() || found.has(name)
    }
}

/// Which of the sides of texts and pictures answer: those whose input is given, and those that are alone.
pub(crate) fn asked(inputs: &Inputs<'_>, [texts, pictures]: [bool; 2]) -> [bool; 2] {
    let (ids, pixels) = (inputs.has("input_ids"), inputs.has("pixel_values"));
    [texts && (ids || !pixels || !pictures), pictures && (pixels || !texts)]
}

/// What those sides that are there read.
pub(crate) fn sides(sides: [(bool, Reads); 2]) -> Vec<Reads> {
    sides.into_iter().filter_map(|(there, reads)| there.then_some(reads)).collect()
}

/// `model_type` of texts alone.
const TEXT_MODEL: &str = "clip_text_model";
/// `model_type` of pictures alone.
const VISION_MODEL: &str = "clip_vision_model";
/// The end token of configurations that do not know it.
const OLD_END: i64 = 2;

#[cfg(test)]
mod tests {
    use ndarray::array;
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_end_at_the_first_end_token_or_the_highest_id() {
        let ids = array![[5, 7, 3, 7], [1, 9, 4, 2]];
        assert_eq!(ends(&ids, Some(7)), array![[1], [0]]);
        assert_eq!(ends(&ids, None), array![[1], [1]]);
    }

    #[test]
    fn older_configurations_of_a_side_count() {
        let text = json!({"vocab_size": 7, "eos_token_id": 2});
        let config = json!({"model_type": "clip", "text_config": text, "text_config_dict": {"vocab_size": 9}});
        let config = ClipConfig::try_from(config).unwrap();
        let text = config.text.unwrap();
        assert_eq!((text.vocab_size, text.eos_token_id, config.vision.unwrap().patch_size), (9, 49_407, 32));
        let wrong = json!({"model_type": "clip", "vision_config": {"patch_size": -1}});
        assert!(ClipConfig::try_from(wrong).unwrap_err().contains("`vision_config.patch_size`"));
    }
}
