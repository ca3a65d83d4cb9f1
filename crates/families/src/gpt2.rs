//! GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"): agrees with
//! `GPT2LMHeadModel` and `GPT2Model`.
//!
//! The plain trunk, looking back only, over words and learned positions; matrices are published as
//! `[inputs, outputs]`, and the vocabulary's own table predicts the next word, if the configuration does not say that
//! there is another.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use ndarray::Array2;
use sensorium_backbone::{NormKind, Transformer, TransformerConfig};
use sensorium_contract::{Attention, Seed};
use serde::Deserialize;

use crate::{
    FamilyError, Tower,
    config::{Act, check, hidden_ratio, off, positive},
    generate::{Generates, Reading, last_token, no_head, of_one},
    layout::BlockNames,
    network::{Answers, Family, Found, Inputs, Layout, Published, Reads},
    parts::{LanguageHead, TextEmbeddings, TextIds, TextSizes},
    values::{counting, within},
};

/// `GPT2Config`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct Gpt2Config {
    pub vocab_size: usize,
    pub n_positions: usize,
    pub n_embd: usize,
    pub n_layer: usize,
    pub n_head: usize,
    pub n_inner: Option<usize>,
    pub activation_function: Act,
    pub layer_norm_epsilon: f64,
    pub scale_attn_weights: bool,
    pub scale_attn_by_inverse_layer_idx: bool,
    pub add_cross_attention: bool,
    pub tie_word_embeddings: bool,
}

impl Default for Gpt2Config {
    fn default() -> Self {
        Self {
            vocab_size: 50_257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: Act::GeluTanh,
            layer_norm_epsilon: 1e-5,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            add_cross_attention: false,
            tie_word_embeddings: true,
        }
    }
}

/// The names of a block in GPT and GPT-2.
pub(crate) const BLOCK: BlockNames<'_> = BlockNames {
    norm1: "ln_1",
    qkv: &["attn.c_attn"],
    out: "attn.c_proj",
    scale1: None,
    cross: None,
    norm2: "ln_2",
    up: "mlp.c_fc",
    gate: None,
    down: "mlp.c_proj",
    scale2: None,
    conv1d: true,
    no_key_bias: false,
};

impl Gpt2Config {
    pub(crate) fn check(&self) -> Result<(), String> {
        positive(&[("vocab_size", self.vocab_size), ("n_positions", self.n_positions), ("n_embd", self.n_embd)])?;
        off(&[
            ("scale_attn_by_inverse_layer_idx", self.scale_attn_by_inverse_layer_idx),
            ("add_cross_attention", self.add_cross_attention),
        ])?;
        check(&self.trunk())
    }

    pub(crate) fn trunk(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.n_layer,
            width: self.n_embd,
            heads: self.n_head,
            hidden_ratio: self.n_inner.map_or(4.0, |hidden| hidden_ratio(hidden, self.n_embd)),
            attention: Attention::Causal,
            activation: self.activation_function.into(),
            epsilon: self.layer_norm_epsilon,
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

    /// Whether there is a head: the words' own table always is there, another perhaps.
    fn has_head(&self, found: &Found) -> bool {
        self.tie_word_embeddings || found.has("lm_head.weight")
    }
}

/// Embeddings, trunk and head.
#[derive(Module, Debug)]
pub struct Gpt2 {
    embeddings: TextEmbeddings,
    trunk: Transformer,
    /// To the vocabulary.
    head: Option<LanguageHead>,
    #[module(skip)]
    vocabulary: usize,
}

impl Family for Gpt2 {
    type Config = Gpt2Config;

    fn check(config: &Gpt2Config) -> Result<(), String> {
        config.check()
    }

    fn published(config: &Gpt2Config) -> Published {
        let tied = ("lm_head.weight", "transformer.wte.weight");
        Published {
            prefix: "transformer.",
            copies: if config.tie_word_embeddings { vec![tied] } else { Vec::new() },
            left_out: vec![("score.", "a head for labels")],
            ..Published::default()
        }
    }

    fn layout(config: &Gpt2Config, found: &Found) -> Layout {
        let mut layout = Layout::default();
        TextEmbeddings::layout(
            &mut layout,
            "embeddings",
            &config.embeddings(),
            ["transformer.wte", "transformer.wpe", ""],
            &[],
        );
        layout.blocks("trunk", "transformer.h.{}", &config.trunk(), &BLOCK);
        layout.norm("trunk.norm", "transformer.ln_f", config.n_embd, NormKind::Layer);
        if !config.tie_word_embeddings && config.has_head(found) {
            layout.linear("head.decoder", "lm_head", [config.n_embd, config.vocab_size], false);
        }
        layout
    }

    fn new(config: &Gpt2Config, found: &Found, device: &Device) -> Self {
        let head = || match config.tie_word_embeddings {
            true => LanguageHead::tied(),
            false => LanguageHead::untied([config.n_embd, config.vocab_size], device),
        };
        Self {
            embeddings: TextEmbeddings::new(&config.embeddings(), device),
            trunk: Transformer::new(&config.trunk(), Seed::new(0), device),
            head: config.has_head(found).then(head),
            vocabulary: config.vocab_size,
        }
    }

    fn reads(&self) -> Vec<Reads> {
        vec![Reads::CAUSAL]
    }

    fn towers(&self, _picture: [usize; 2]) -> Vec<Tower> {
        vec![Tower::words(self.embeddings.tower(0), &self.trunk)]
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let ids = inputs.ids("input_ids", self.vocabulary)?;
        let shape = ids.dim().into();
        let mask = inputs.mask("attention_mask", shape)?;
        let positions = within("input_ids", counting(shape), self.embeddings.positions.as_ref())?;
        let ids_of = TextIds { positions: Some(inputs.tensor(&positions)), types: Vec::new() };
        let x = self.embeddings.forward(inputs.tensor(&ids), ids_of); // [rows, tokens, width]
        let x = inputs.through(&self.trunk, x, mask.as_ref());
        let logits = self.head.as_ref().filter(|_| !inputs.are_for_vectors());
        let logits = logits.map(|head| head.forward(x.clone(), &self.embeddings.words));
        Ok(Answers::default().with_some::<3>("logits", logits).with("last_hidden_state", x))
    }
}

impl Generates for Gpt2 {
    fn step(&self, reading: &mut Reading, ids: &Array2<i64>) -> Result<Tensor<2>, FamilyError> {
        let head = self.head.as_ref().ok_or_else(no_head)?;
        let x = reading.embed(&self.embeddings, ids)?; // [rows, tokens, width]
        let x = self.trunk.step(x, None, None, &mut reading.cache);
        Ok(of_one(head.forward(last_token(x), &self.embeddings.words)))
    }
}
