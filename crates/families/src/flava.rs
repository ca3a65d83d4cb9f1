//! FLAVA (Singh et al. 2022, "FLAVA: A Foundational Language And Vision Alignment Model"): agrees with
//! `FlavaModel`, and with the base model inside `FlavaForPreTraining`.
//!
//! Three plain trunks: of pictures, of texts, and of both after it, which reads the features of the first two as
//! they are before their last norm. The heads of pretraining are left out, but for the contrastive one.

use burn::{
    module::{Module, Param},
    tensor::{Bool, Device, Tensor},
};
use ndarray::ArrayD;
use sensorium_backbone::{Biases, Draw, Linear, Norm, NormKind, Transformer, TransformerConfig, param};
use sensorium_contract::{Pool, Seed, tensor_bool};
use sensorium_objectives::ObjectiveConfig;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    Content, FamilyError, Tower, TowerHead, TowerTokens,
    config::{Act, Sides, check, hidden_ratio, nested, positive, read},
    layout::BlockNames,
    network::{Answers, Family, Found, Inputs, Layout, Published, Reads},
    parts::{
        PictureEmbeddings, PictureSizes, TextEmbeddings, TextIds, TextSizes, contrastive, first_token, similarities,
        unit, with_first,
    },
    values::{counting, within},
};

/// `FlavaConfig`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Value")]
pub(crate) struct FlavaConfig {
    image: FlavaPart,
    text: FlavaPart,
    multimodal: FlavaPart,
    projection: usize,
}

/// `FlavaImageConfig`, `FlavaTextConfig` and `FlavaMultimodalConfig`: a part reads the keys that it has.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct FlavaPart {
    hidden_size: usize,
    /// 12, and 6 where both meet.
    num_hidden_layers: Option<usize>,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: Act,
    layer_norm_eps: f64,
    qkv_bias: bool,
    image_size: Sides,
    patch_size: Sides,
    num_channels: usize,
    mask_token: bool,
    vocab_size: usize,
    type_vocab_size: usize,
    max_position_embeddings: usize,
    position_embedding_type: String,
    use_cls_token: bool,
}

/// What `FlavaConfig` has beside its parts.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Joint {
    projection_dim: usize,
}

impl Default for FlavaPart {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: None,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Act::Gelu,
            layer_norm_eps: 1e-12,
            qkv_bias: true,
            image_size: Sides::Same(224),
            patch_size: Sides::Same(16),
            num_channels: 3,
            mask_token: true,
            vocab_size: 30_522,
            type_vocab_size: 2,
            max_position_embeddings: 512,
            position_embedding_type: "absolute".into(),
            use_cls_token: true,
        }
    }
}

impl Default for Joint {
    fn default() -> Self {
        Self { projection_dim: 768 }
    }
}

impl TryFrom<Value> for FlavaConfig {
    type Error = String;

    fn try_from(config: Value) -> Result<Self, String> {
        let part = |key, layers| {
            let part: FlavaPart = nested(&config, key)?;
            Ok::<_, String>(FlavaPart { num_hidden_layers: part.num_hidden_layers.or(Some(layers)), ..part })
        };
        Ok(Self {
            image: part("image_config", 12)?,
            text: part("text_config", 12)?,
            multimodal: part("multimodal_config", 6)?,
            projection: read::<Joint>(&config)?.projection_dim,
        })
    }
}

/// The names of a block in ViT and what was written after it.
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

impl FlavaPart {
    fn trunk(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.num_hidden_layers.unwrap_or(12),
            width: self.hidden_size,
            heads: self.num_attention_heads,
            hidden_ratio: hidden_ratio(self.intermediate_size, self.hidden_size),
            activation: self.hidden_act.into(),
            epsilon: self.layer_norm_eps,
            biases: Biases { qkv: self.qkv_bias, ..Biases::default() },
            ..TransformerConfig::default()
        }
    }

    fn pictures(&self) -> PictureSizes {
        PictureSizes {
            channels: self.num_channels,
            picture: self.image_size.pair(),
            patch: self.patch_size.pair(),
            stride: self.patch_size.pair(),
            width: self.hidden_size,
            first: &["cls_token"],
            bias: true,
            hidden: self.mask_token.then(|| vec![1, 1, self.hidden_size]),
        }
    }

    fn embeddings(&self) -> TextSizes {
        TextSizes {
            vocabulary: self.vocab_size,
            positions: Some(self.max_position_embeddings),
            types: vec![self.type_vocab_size],
            width: self.hidden_size,
            epsilon: Some(self.layer_norm_eps),
        }
    }
}

/// A trunk whose features are read before its last norm and after it.
#[derive(Module, Debug)]
pub struct FlavaTrunk {
    /// Without its last norm.
    trunk: Transformer,
    norm: Norm,
    /// Of the first token, `[width, width]`.
    pooler: Option<Linear>,
}

/// What a trunk says.
struct Features {
    /// Before the last norm, `[rows, tokens, width]`.
    raw: Tensor<3>,
    /// After it, `[rows, tokens, width]`.
    normed: Tensor<3>,
    /// `[rows, width]`
    pooled: Option<Tensor<2>>,
}

impl FlavaTrunk {
    fn new(config: &FlavaPart, pooler: bool, device: &Device) -> Self {
        let (width, seed) = (config.hidden_size, Seed::new(0));
        let mut trunk = Transformer::new(&config.trunk(), seed, device);
        trunk.norm = None;
        Self {
            trunk,
            norm: Norm::new(NormKind::Layer, width, config.layer_norm_eps, seed, device),
            pooler: pooler.then(|| Linear::new(width, width, Draw::Normal(0.02), seed, device)),
        }
    }

    fn layout(layout: &mut Layout, [own, theirs]: [&str; 2], config: &FlavaPart, pooler: bool) {
        let width = config.hidden_size;
        layout.blocks(&format!("{own}.trunk"), &format!("{theirs}.encoder.layer.{{}}"), &config.trunk(), &BLOCK);
        layout.norm(&format!("{own}.norm"), &format!("{theirs}.layernorm"), width, NormKind::Layer);
        if pooler {
            layout.linear(&format!("{own}.pooler"), &format!("{theirs}.pooler.dense"), [width, width], true);
        }
    }

    /// The trunk with its last norm, as a tower whose first token is projected by `head`.
    fn tower(&self, content: Content, tokens: TowerTokens, head: &Linear) -> Tower {
        let mut trunk = self.trunk.clone();
        trunk.norm = Some(self.norm.clone());
        Tower { content, tokens, trunk, pool: Some(Pool::Class), head: TowerHead::Linear(head.clone()) }
    }

    /// `[rows, tokens, width]`, and a mask `[rows, tokens]` that is true where a token is real.
    fn forward(&self, inputs: &Inputs<'_>, x: Tensor<3>, mask: Option<&Tensor<2, Bool>>) -> Features {
        let raw = inputs.through(&self.trunk, x, mask);
        let normed = self.norm.forward(raw.clone());
        let pooled = self.pooler.as_ref().map(|pooler| pooler.forward(first_token(normed.clone())).tanh());
        Features { raw, normed, pooled }
    }
}

/// Three trunks and the ways between them.
#[derive(Module, Debug)]
pub struct Flava {
    pictures: PictureEmbeddings,
    image: FlavaTrunk,
    words: TextEmbeddings,
    text: FlavaTrunk,
    /// Before all features of both, `[1, width]`.
    class: Option<Param<Tensor<2>>>,
    multimodal: FlavaTrunk,
    image_to_multimodal: Linear,
    text_to_multimodal: Linear,
    /// To contrast, `[width, projection]`.
    image_projection: Linear,
    /// To contrast, `[width, projection]`.
    text_projection: Linear,
    /// A logarithm, `[1]`.
    logit_scale: Param<Tensor<1>>,
}

impl Family for Flava {
    type Config = FlavaConfig;

    fn check(config: &FlavaConfig) -> Result<(), String> {
        let FlavaConfig { image, text, multimodal, projection } = config;
        positive(&[
            ("projection_dim", *projection),
            ("text_config.vocab_size", text.vocab_size),
            ("text_config.type_vocab_size", text.type_vocab_size),
            ("text_config.max_position_embeddings", text.max_position_embeddings),
        ])?;
        if text.position_embedding_type != "absolute" {
            return Err("`text_config.position_embedding_type`: only \"absolute\" is known here".into());
        }
        image.pictures().check().map_err(|problem| format!("`image_config`: {problem}"))?;
        let parts = [("image_config", image), ("text_config", text), ("multimodal_config", multimodal)];
        parts
            .into_iter()
            .try_for_each(|(key, part)| check(&part.trunk()).map_err(|problem| format!("`{key}`: {problem}")))
    }

    fn published(_config: &FlavaConfig) -> Published {
        Published {
            prefix: "flava.",
            left_out: vec![
                ("image_codebook.", "the codes of pictures that pretraining predicts"),
                ("mim_head.", "a head of pretraining"),
                ("mlm_head.", "a head of pretraining"),
                ("itm_head.", "a head of pretraining"),
                ("mmm_image_head.", "a head of pretraining"),
                ("mmm_text_head.", "a head of pretraining"),
            ],
            ..Published::default()
        }
    }

    fn layout(config: &FlavaConfig, found: &Found) -> Layout {
        let FlavaConfig { image, text, multimodal, projection } = config;
        let mut layout = Layout::default();
        let sizes = image.pictures();
        let at = "flava.image_model.embeddings";
        PictureEmbeddings::layout(&mut layout, "pictures", at, &sizes);
        FlavaTrunk::layout(&mut layout, ["image", "flava.image_model"], image, found.has(IMAGE_POOLER));
        let names = ["word_embeddings", "position_embeddings", "LayerNorm"];
        let names = names.map(|name| format!("flava.text_model.embeddings.{name}"));
        let types = ["flava.text_model.embeddings.token_type_embeddings"];
        TextEmbeddings::layout(&mut layout, "words", &text.embeddings(), names.each_ref().map(|name| &**name), &types);
        FlavaTrunk::layout(&mut layout, ["text", "flava.text_model"], text, found.has(TEXT_POOLER));
        if multimodal.use_cls_token {
            layout.tensor("class", "flava.multimodal_model.cls_token", &[1, 1, multimodal.hidden_size]);
        }
        let pooler = found.has(MULTIMODAL_POOLER);
        FlavaTrunk::layout(&mut layout, ["multimodal", "flava.multimodal_model"], multimodal, pooler);
        for (own, theirs, inputs, outputs) in [
            ("image_to_multimodal", "flava.image_to_mm_projection", image.hidden_size, multimodal.hidden_size),
            ("text_to_multimodal", "flava.text_to_mm_projection", text.hidden_size, multimodal.hidden_size),
            ("image_projection", "flava.image_projection", image.hidden_size, *projection),
            ("text_projection", "flava.text_projection", text.hidden_size, *projection),
        ] {
            layout.linear(own, theirs, [inputs, outputs], true);
        }
        layout.tensor("logit_scale", "flava.logit_scale", &[]);
        layout
    }

    fn new(config: &FlavaConfig, found: &Found, device: &Device) -> Self {
        let FlavaConfig { image, text, multimodal, projection } = config;
        let (draw, seed) = (Draw::Normal(0.02), Seed::new(0));
        let linear = |inputs: &FlavaPart, outputs| Linear::new(inputs.hidden_size, outputs, draw, seed, device);
        let token = |part: &FlavaPart| param([1, part.hidden_size], draw, seed, device);
        Self {
            pictures: PictureEmbeddings::new(&image.pictures(), device),
            image: FlavaTrunk::new(image, found.has(IMAGE_POOLER), device),
            words: TextEmbeddings::new(&text.embeddings(), device),
            text: FlavaTrunk::new(text, found.has(TEXT_POOLER), device),
            class: multimodal.use_cls_token.then(|| token(multimodal)),
            multimodal: FlavaTrunk::new(multimodal, found.has(MULTIMODAL_POOLER), device),
            image_to_multimodal: linear(image, multimodal.hidden_size),
            text_to_multimodal: linear(text, multimodal.hidden_size),
            image_projection: linear(image, *projection),
            text_projection: linear(text, *projection),
            logit_scale: param([1], Draw::Constant(2.6592), seed, device),
        }
    }

    fn reads(&self) -> Vec<Reads> {
        vec![Reads::TEXT, Reads::PICTURE]
    }

    fn towers(&self, _picture: [usize; 2]) -> Vec<Tower> {
        let pictures = self.pictures.tower(self.pictures.positions.val(), None);
        vec![
            self.text.tower(Content::Text, self.words.tower(0), &self.text_projection),
            self.image.tower(Content::Picture, pictures, &self.image_projection),
        ]
    }

    fn objective(&self) -> Option<ObjectiveConfig> {
        Some(contrastive(&self.logit_scale))
    }

    /// Of a picture, of a text, or of both.
    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let image = inputs.has("pixel_values").then(|| self.see(inputs)).transpose()?;
        let text = (inputs.has("input_ids") || image.is_none()).then(|| self.read(inputs)).transpose()?;
        if inputs.are_for_vectors() {
            return Ok(self.vectors(image, text));
        }
        let mut answers = Answers::default();
        if let (Some(image), Some(text)) = (&image, &text) {
            answers = self.meet(answers, inputs, image, text)?;
        }
        if let Some(Features { normed, pooled, .. }) = image {
            answers = answers.with("image_embeddings", normed).with_some("image_output.pooler_output", pooled);
        }
        if let Some(Features { normed, pooled, .. }) = text {
            answers = answers.with("text_embeddings", normed).with_some("text_output.pooler_output", pooled);
        }
        Ok(answers)
    }
}

impl Flava {
    /// Each side's first token in the space of contrast, `[rows, projection]`.
    fn vectors(&self, image: Option<Features>, text: Option<Features>) -> Answers {
        let vector = |side: Option<Features>, head: &Linear| side.map(|side| head.forward(first_token(side.normed)));
        Answers::default()
            .with_some("image_embeds", vector(image, &self.image_projection))
            .with_some("text_embeds", vector(text, &self.text_projection))
    }

    fn see(&self, inputs: &Inputs<'_>) -> Result<Features, FamilyError> {
        let pixels = self.pictures.pixels_of_size(inputs)?;
        let patches = self.pictures.tokens(pixels, inputs)?; // [rows, patches, width]
        let [rows, count, _] = patches.dims();
        let mask = inputs.mask("image_attention_mask", [rows, count + 1])?;
        Ok(self.image.forward(inputs, self.pictures.placed(patches, self.pictures.positions.val()), mask.as_ref()))
    }

    fn read(&self, inputs: &Inputs<'_>) -> Result<Features, FamilyError> {
        let ids = inputs.ids("input_ids", self.words.words.values())?;
        let shape = ids.dim().into();
        let mask = inputs.mask("attention_mask", shape)?;
        let types = inputs.ids_or_zeros("token_type_ids", shape, self.words.types[0].values())?;
        let positions = within("input_ids", counting(shape), self.words.positions.as_ref())?;
        let ids_of = TextIds { positions: Some(inputs.tensor(&positions)), types: vec![inputs.tensor(&types)] };
        let x = self.words.forward(inputs.tensor(&ids), ids_of); // [rows, tokens, width]
        Ok(self.text.forward(inputs, x, mask.as_ref()))
    }

    /// What pictures and texts say together, and how well they fit.
    fn meet(
        &self,
        answers: Answers,
        inputs: &Inputs<'_>,
        image: &Features,
        text: &Features,
    ) -> Result<Answers, FamilyError> {
        let ([rows, patches, _], [texts, words, _]) = (image.raw.dims(), text.raw.dims());
        if rows != texts {
            return Err(FamilyError::input(
                "input_ids",
                format!("expected a text for each of {rows} pictures, found {texts}"),
            ));
        }
        let mask = inputs.mask("attention_mask", [rows, words])?.map(|mask| {
            let before = patches + usize::from(self.class.is_some());
            let seen = ArrayD::from_elem(vec![rows, before], true);
            Tensor::cat(vec![tensor_bool(&seen, inputs.device()), mask], 1) // [rows, tokens]
        });
        let image_raw = self.image_to_multimodal.forward(image.raw.clone());
        let text_raw = self.text_to_multimodal.forward(text.raw.clone());
        let x = Tensor::cat(vec![image_raw, text_raw], 1); // [rows, patches + words, width]
        let x = match &self.class {
            Some(class) => with_first(class, x),
            None => x,
        };
        let Features { normed, pooled, .. } = self.multimodal.forward(inputs, x, mask.as_ref());
        let texts = unit(self.text_projection.forward(first_token(text.normed.clone()))); // [rows, projection]
        let pictures = unit(self.image_projection.forward(first_token(image.normed.clone())));
        let scale = self.logit_scale.val().clamp(0.0, LARGEST_SCALE);
        let logits = similarities(texts, pictures, scale); // [texts, pictures]
        Ok(answers
            .with("multimodal_embeddings", normed)
            .with_some("multimodal_output.pooler_output", pooled)
            .with("contrastive_logits_per_image", logits.clone().transpose())
            .with("contrastive_logits_per_text", logits))
    }
}

const IMAGE_POOLER: &str = "flava.image_model.pooler.dense.weight";
const TEXT_POOLER: &str = "flava.text_model.pooler.dense.weight";
const MULTIMODAL_POOLER: &str = "flava.multimodal_model.pooler.dense.weight";
/// Of the logarithm that scales contrasts.
const LARGEST_SCALE: f64 = 4.6052;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_part_where_both_meet_has_fewer_layers() {
        let config =
            FlavaConfig::try_from(json!({"text_config": {"hidden_size": 24, "num_hidden_layers": 3}})).unwrap();
        let layers = [&config.image, &config.text, &config.multimodal].map(|part| part.trunk().layers);
        assert_eq!((layers, config.text.trunk().width), ([12, 3, 6], 24));
    }

    #[test]
    fn pictures_need_not_be_square() {
        let part: FlavaPart = serde_json::from_value(json!({"image_size": [32, 48], "patch_size": 16})).unwrap();
        assert_eq!((part.pictures().grid(), part.pictures().tokens()), ([2, 3], 7));
    }
}
