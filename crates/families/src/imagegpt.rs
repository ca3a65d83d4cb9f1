//! Image GPT (Chen et al. 2020, "Generative Pretraining From Pixels"): agrees with
//! `ImageGPTForCausalImageModeling` and `ImageGPTModel`.
//!
//! GPT-2 with RMS norms over pixels, each one of a palette of colours, row by row. The last id of the vocabulary
//! begins a picture and is never predicted, so that the head of its own answers one class fewer.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use ndarray::Array2;
use sensorium_backbone::{NormKind, Transformer, TransformerConfig};
use sensorium_contract::{Attention, Seed};
use serde::Deserialize;

use crate::{
    FamilyError,
    config::{Act, check, hidden_ratio, positive},
    generate::{Generates, Reading, last_token, no_head, of_one},
    gpt2::BLOCK,
    network::{Answers, Family, Found, Inputs, Layout, Published},
    parts::{LanguageHead, TextEmbeddings, TextIds, TextSizes},
    values::{counting, within},
};

/// `ImageGPTConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct ImageGptConfig {
    /// Colours, and the id that begins a picture.
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: Option<usize>,
    activation_function: Act,
    layer_norm_epsilon: f64,
    scale_attn_weights: bool,
    scale_attn_by_inverse_layer_idx: bool,
    add_cross_attention: bool,
    tie_word_embeddings: bool,
}

impl Default for ImageGptConfig {
    fn default() -> Self {
        Self {
            vocab_size: 513,
            n_positions: 1024,
            n_embd: 512,
            n_layer: 24,
            n_head: 8,
            n_inner: None,
            activation_function: Act::QuickGelu,
            layer_norm_epsilon: 1e-5,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            add_cross_attention: false,
            tie_word_embeddings: false,
        }
    }
}

impl ImageGptConfig {
    fn check(&self) -> Result<(), String> {
        positive(&[("n_positions", self.n_positions), ("n_embd", self.n_embd)])?;
        if self.vocab_size < 2 {
            return Err("`vocab_size` must be above 1: the last id begins a picture".into());
        }
        let refused = [
            ("scale_attn_by_inverse_layer_idx", self.scale_attn_by_inverse_layer_idx),
            ("add_cross_attention", self.add_cross_attention),
            // The head has one class fewer than the table.
            ("tie_word_embeddings", self.tie_word_embeddings),
        ];
        if let Some((key, _)) = refused.iter().find(|(_, on)| *on) {
            return Err(format!("`{key}`: only false is known here"));
        }
        check(&self.trunk())
    }

    fn trunk(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.n_layer,
            width: self.n_embd,
            heads: self.n_head,
            hidden_ratio: self.n_inner.map_or(4.0, |hidden| hidden_ratio(hidden, self.n_embd)),
            attention: Attention::Causal,
            activation: self.activation_function.into(),
            epsilon: self.layer_norm_epsilon,
            norm: NormKind::Rms,
            score_scale: (!self.scale_attn_weights).then_some(1.0),
            ..TransformerConfig::default()
        }
    }

    fn embeddings(&self) -> TextSizes {
        TextSizes {
            vocabulary: self.vocab_size,
            positions: Some(self.n_positions),
            types: Vec::new(),
            width: self.n_embd,
            epsilon: None,
        }
    }
}

/// Embeddings, trunk and head.
#[derive(Module, Debug)]
pub struct ImageGpt {
    embeddings: TextEmbeddings,
    trunk: Transformer,
    /// To colours; missing in the base model's checkpoint.
    head: Option<LanguageHead>,
    #[module(skip)]
    vocabulary: usize,
}

impl Family for ImageGpt {
    type Config = ImageGptConfig;

    fn check(config: &ImageGptConfig) -> Result<(), String> {
        config.check()
    }

    fn published(_config: &ImageGptConfig) -> Published {
        Published { prefix: "transformer.", left_out: vec![("score.", "a head for labels")], ..Published::default() }
    }

    fn layout(config: &ImageGptConfig, found: &Found) -> Layout {
        let width = config.n_embd;
        let mut layout = Layout::default();
        TextEmbeddings::layout(
            &mut layout,
            "embeddings",
            &config.embeddings(),
            ["transformer.wte", "transformer.wpe", ""],
            &[],
        );
        layout.blocks("trunk", "transformer.h.{}", &config.trunk(), &BLOCK);
        layout.norm("trunk.norm", "transformer.ln_f", width, NormKind::Rms);
        if found.has(HEAD) {
            layout.linear("head.decoder", "lm_head", [width, config.vocab_size - 1], false);
        }
        layout
    }

    fn new(config: &ImageGptConfig, found: &Found, device: &Device) -> Self {
        let head = || LanguageHead::untied([config.n_embd, config.vocab_size - 1], device);
        Self {
            embeddings: TextEmbeddings::new(&config.embeddings(), device),
            trunk: Transformer::new(&config.trunk(), Seed::new(0), device),
            head: found.has(HEAD).then(head),
            vocabulary: config.vocab_size,
        }
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let ids = inputs.ids("input_ids", self.vocabulary)?;
        let shape = ids.dim().into();
        let mask = inputs.mask("attention_mask", shape)?;
        let positions = within("input_ids", counting(shape), self.embeddings.positions.as_ref())?;
        let ids_of = TextIds { positions: Some(inputs.tensor(&positions)), types: Vec::new() };
        let x = self.embeddings.forward(inputs.tensor(&ids), ids_of); // [rows, tokens, width]
        let x = self.trunk.run(x, mask.as_ref(), None);
        let logits = self.head.as_ref().map(|head| head.forward(x.clone(), &self.embeddings.words)); // [rows, tokens, colours]
        Ok(Answers::default().with_some::<3>("logits", logits).with("last_hidden_state", x))
    }
}

impl Generates for ImageGpt {
    fn step(&self, reading: &mut Reading, ids: &Array2<i64>) -> Result<Tensor<2>, FamilyError> {
        let head = self.head.as_ref().ok_or_else(no_head)?;
        let x = reading.embed(&self.embeddings, ids)?; // [rows, tokens, width]
        let x = self.trunk.step(x, None, None, &mut reading.cache);
        Ok(of_one(head.forward(last_token(x), &self.embeddings.words)))
    }
}

const HEAD: &str = "lm_head.weight";
