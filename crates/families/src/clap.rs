//! CLAP's text side (Wu et al. 2023, "Large-scale Contrastive Language-Audio Pretraining with Feature Fusion
//! and Keyword-to-Caption Augmentation"): agrees with `ClapTextModelWithProjection` and `ClapTextModel`.
//!
//! RoBERTa's trunk with a pooler; two layers bring the first token's features to the space shared with sound.

use burn::{module::Module, tensor::Device};
use sensorium_backbone::{Draw, Linear, Transformer};
use sensorium_contract::Seed;
use sensorium_kernels::Activation;
use serde::Deserialize;

use crate::{
    FamilyError,
    bert::{BLOCK, BertConfig, EMBEDDINGS},
    config::{Act, absolute, padding, positive},
    network::{Answers, Family, Found, Inputs, Layout, Published, Reads},
    parts::{TextEmbeddings, first_token},
    roberta::features,
};

/// `ClapTextConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct ClapConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: Act,
    pub max_position_embeddings: usize,
    pub type_vocab_size: usize,
    pub layer_norm_eps: f64,
    pub pad_token_id: Option<i64>,
    pub position_embedding_type: Option<String>,
    pub projection_dim: usize,
    pub projection_hidden_act: Act,
}

impl Default for ClapConfig {
    fn default() -> Self {
        Self {
            vocab_size: 50_265,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Act::Gelu,
            max_position_embeddings: 514,
            type_vocab_size: 1,
            layer_norm_eps: 1e-12,
            pad_token_id: Some(1),
            position_embedding_type: None,
            projection_dim: 512,
            projection_hidden_act: Act::Relu,
        }
    }
}

impl ClapConfig {
    fn bert(&self) -> BertConfig {
        BertConfig {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            intermediate_size: self.intermediate_size,
            hidden_act: self.hidden_act,
            max_position_embeddings: self.max_position_embeddings,
            type_vocab_size: self.type_vocab_size,
            layer_norm_eps: self.layer_norm_eps,
            ..BertConfig::default()
        }
    }
}

/// Embeddings, trunk and the heads that its checkpoint has.
#[derive(Module, Debug)]
pub struct Clap {
    embeddings: TextEmbeddings,
    trunk: Transformer,
    /// Of the first token, `[width, width]`.
    pooler: Option<Linear>,
    /// Of the pooled features, `[width, projection]` and `[projection, projection]`.
    projection: Vec<Linear>,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    pad: i64,
}

impl Family for Clap {
    type Config = ClapConfig;

    fn check(config: &ClapConfig) -> Result<(), String> {
        config.bert().check()?;
        positive(&[("projection_dim", config.projection_dim)])?;
        padding(config.pad_token_id, config.vocab_size, config.max_position_embeddings)?;
        absolute(config.position_embedding_type.as_deref())
    }

    fn published(_config: &ClapConfig) -> Published {
        Published { prefix: "text_model.", ..Published::default() }
    }

    fn layout(config: &ClapConfig, found: &Found) -> Layout {
        let (width, projection) = (config.hidden_size, config.projection_dim);
        let mut layout = Layout::default();
        let names = EMBEDDINGS.map(|name| format!("text_model.{name}"));
        let types = ["text_model.embeddings.token_type_embeddings"];
        let embeddings = config.bert().embeddings();
        TextEmbeddings::layout(&mut layout, "embeddings", &embeddings, names.each_ref().map(|name| &**name), &types);
        layout.blocks("trunk", "text_model.encoder.layer.{}", &config.bert().trunk(), &BLOCK);
        if has_pooler(found) {
            layout.linear("pooler", "text_model.pooler.dense", [width, width], true);
        }
        if found.has(PROJECTION) {
            layout.linear("projection.0", "text_projection.linear1", [width, projection], true);
            layout.linear("projection.1", "text_projection.linear2", [projection, projection], true);
        }
        layout
    }

    fn new(config: &ClapConfig, found: &Found, device: &Device) -> Self {
        let (width, projection) = (config.hidden_size, config.projection_dim);
        let linear = |inputs, outputs| Linear::new(inputs, outputs, Draw::Normal(0.02), Seed::new(0), device);
        Self {
            embeddings: TextEmbeddings::new(&config.bert().embeddings(), device),
            trunk: Transformer::new(&config.bert().trunk(), Seed::new(0), device),
            pooler: has_pooler(found).then(|| linear(width, width)),
            projection: match found.has(PROJECTION) {
                true => vec![linear(width, projection), linear(projection, projection)],
                false => Vec::new(),
            },
            activation: config.projection_hidden_act.into(),
            pad: config.pad_token_id.unwrap_or_default(),
        }
    }

    fn reads(&self) -> Vec<Reads> {
        vec![Reads::TEXT]
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let x = features(inputs, &self.embeddings, &self.trunk, self.pad)?; // [rows, tokens, width]
        let pooled = self.pooler.as_ref().map(|pooler| pooler.forward(first_token(x.clone())).tanh()); // [rows, width]
        let embeds = match (&pooled, &self.projection[..]) {
            (Some(pooled), [first, second]) => {
                Some(second.forward(self.activation.apply(first.forward(pooled.clone())))) // [rows, projection]
            }
            _ => None,
        };
        let answers = Answers::default().with_some("text_embeds", embeds).with_some("pooler_output", pooled);
        Ok(answers.with("last_hidden_state", x))
    }
}

/// The projection reads the pooler: a checkpoint with the one must have the other.
fn has_pooler(found: &Found) -> bool {
    found.has("text_model.pooler.dense.weight") || found.has(PROJECTION)
}

const PROJECTION: &str = "text_projection.linear1.weight";
