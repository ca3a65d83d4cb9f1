//! BERT (Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers"): agrees with
//! `BertForPreTraining`, `BertForMaskedLM` and `BertModel`.
//!
//! A trunk that normalises after each part, over words, positions and segments; the heads read the
//! vocabulary's own table, and the first token through a pooler.

use burn::{module::Module, tensor::Device};
use sensorium_backbone::{Draw, Linear, NormPlace, Transformer, TransformerConfig};
use sensorium_contract::{Attention, Seed};
use serde::Deserialize;

use crate::{
    FamilyError, Tower,
    config::{Act, absolute, check, hidden_ratio, off, positive},
    layout::BlockNames,
    network::{Answers, Family, Found, Inputs, Layout, Published, Reads},
    parts::{LanguageHead, TextEmbeddings, TextIds, TextSizes, WordsHead, WordsNames, first_token},
    values::{counting, within},
};

/// `BertConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct BertConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: Act,
    pub max_position_embeddings: usize,
    pub type_vocab_size: usize,
    pub layer_norm_eps: f64,
    pub is_decoder: bool,
    pub add_cross_attention: bool,
    pub position_embedding_type: Option<String>,
    pub tie_word_embeddings: bool,
}

impl Default for BertConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Act::Gelu,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            is_decoder: false,
            add_cross_attention: false,
            position_embedding_type: None,
            tie_word_embeddings: true,
        }
    }
}

/// The names of a block in BERT and all that was written after it.
pub(crate) const BLOCK: BlockNames<'_> = BlockNames {
    norm1: "attention.output.LayerNorm",
    qkv: &["attention.self.query", "attention.self.key", "attention.self.value"],
    out: "attention.output.dense",
    scale1: None,
    cross: None,
    norm2: "output.LayerNorm",
    up: "intermediate.dense",
    gate: None,
    down: "output.dense",
    scale2: None,
    conv1d: false,
    no_key_bias: false,
};

/// Names below `embeddings`: words, positions, norm.
pub(crate) const EMBEDDINGS: [&str; 3] =
    ["embeddings.word_embeddings", "embeddings.position_embeddings", "embeddings.LayerNorm"];

impl BertConfig {
    pub(crate) fn check(&self) -> Result<(), String> {
        positive(&[
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ])?;
        off(&[("add_cross_attention", self.add_cross_attention)])?;
        absolute(self.position_embedding_type.as_deref())?;
        check(&self.trunk())
    }

    pub(crate) fn trunk(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            heads: self.num_attention_heads,
            hidden_ratio: hidden_ratio(self.intermediate_size, self.hidden_size),
            attention: if self.is_decoder { Attention::Causal } else { Attention::Bidirectional },
            activation: self.hidden_act.into(),
            epsilon: self.layer_norm_eps,
            norm_place: NormPlace::After,
            ..TransformerConfig::default()
        }
    }

    fn head(&self) -> WordsHead {
        WordsHead {
            width: self.hidden_size,
            vocabulary: self.vocab_size,
            activation: self.hidden_act.into(),
            epsilon: self.layer_norm_eps,
            tied: self.tie_word_embeddings,
        }
    }

    pub(crate) fn embeddings(&self) -> TextSizes {
        TextSizes {
            vocabulary: self.vocab_size,
            positions: Some(self.max_position_embeddings),
            types: vec![self.type_vocab_size],
            width: self.hidden_size,
            epsilon: Some(self.layer_norm_eps),
        }
    }
}

/// Embeddings, trunk and the heads that its checkpoint has.
#[derive(Module, Debug)]
pub struct Bert {
    embeddings: TextEmbeddings,
    trunk: Transformer,
    /// Of the first token, `[width, width]`.
    pooler: Option<Linear>,
    /// To the vocabulary.
    predictions: Option<LanguageHead>,
    /// Whether the second sentence follows the first, `[width, 2]`.
    next_sentence: Option<Linear>,
    #[module(skip)]
    vocabulary: usize,
}

impl Family for Bert {
    type Config = BertConfig;

    fn check(config: &BertConfig) -> Result<(), String> {
        config.check()
    }

    fn published(config: &BertConfig) -> Published {
        let tied = [
            ("cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
            ("cls.predictions.decoder.bias", "cls.predictions.bias"),
        ];
        let mut published = Published {
            prefix: "bert.",
            left_out: vec![("classifier.", "a head for labels"), ("qa_outputs.", "a head for answers")],
            ..Published::default()
        };
        match config.tie_word_embeddings {
            true => published.copies = tied.to_vec(),
            false => published.left_out.push(("cls.predictions.bias", "beside a decoder with a bias of its own")),
        }
        published
    }

    fn layout(config: &BertConfig, found: &Found) -> Layout {
        let width = config.hidden_size;
        let mut layout = Layout::default();
        let names = EMBEDDINGS.map(|name| format!("bert.{name}"));
        let types = ["bert.embeddings.token_type_embeddings"];
        TextEmbeddings::layout(
            &mut layout,
            "embeddings",
            &config.embeddings(),
            names.each_ref().map(|name| &**name),
            &types,
        );
        layout.blocks("trunk", "bert.encoder.layer.{}", &config.trunk(), &BLOCK);
        if found.has(POOLER) {
            layout.linear("pooler", "bert.pooler.dense", [width, width], true);
        }
        if WordsHead::is_there(found, HEAD) {
            config.head().layout(&mut layout, "predictions", HEAD, found);
        }
        if found.has(NEXT_SENTENCE) {
            layout.linear("next_sentence", "cls.seq_relationship", [width, 2], true);
        }
        layout
    }

    fn new(config: &BertConfig, found: &Found, device: &Device) -> Self {
        let width = config.hidden_size;
        let linear = |outputs| Linear::new(width, outputs, Draw::Normal(0.02), Seed::new(0), device);
        Self {
            embeddings: TextEmbeddings::new(&config.embeddings(), device),
            trunk: Transformer::new(&config.trunk(), Seed::new(0), device),
            pooler: found.has(POOLER).then(|| linear(width)),
            predictions: WordsHead::is_there(found, HEAD).then(|| config.head().build(device)),
            next_sentence: found.has(NEXT_SENTENCE).then(|| linear(2)),
            vocabulary: config.vocab_size,
        }
    }

    fn reads(&self) -> Vec<Reads> {
        vec![Reads::TOKENS]
    }

    fn towers(&self, _picture: [usize; 2]) -> Vec<Tower> {
        vec![Tower::words(self.embeddings.tower(0), &self.trunk)]
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let ids = inputs.ids("input_ids", self.vocabulary)?;
        let shape = ids.dim().into();
        let mask = inputs.mask("attention_mask", shape)?;
        let types = inputs.ids_or_zeros("token_type_ids", shape, self.embeddings.types[0].values())?;
        let positions = within("input_ids", counting(shape), self.embeddings.positions.as_ref())?;
        let ids_of = TextIds { positions: Some(inputs.tensor(&positions)), types: vec![inputs.tensor(&types)] };
        let x = self.embeddings.forward(inputs.tensor(&ids), ids_of); // [rows, tokens, width]
        let x = inputs.through(&self.trunk, x, mask.as_ref());
        let pooled = self.pooler.as_ref().map(|pooler| pooler.forward(first_token(x.clone())).tanh()); // [rows, width]
        let scores = inputs.scores(self.predictions.as_ref(), &x, &self.embeddings.words)?;
        let answers = match (scores, &self.next_sentence, &pooled) {
            (Some(scores), Some(next), Some(pooled)) => Answers::default()
                .with("prediction_logits", scores)
                .with("seq_relationship_logits", next.forward::<2>(pooled.clone())),
            (scores, ..) => Answers::default().with_some("logits", scores),
        };
        Ok(answers.with("last_hidden_state", x).with_some::<2>("pooler_output", pooled))
    }
}

const POOLER: &str = "bert.pooler.dense.weight";
const NEXT_SENTENCE: &str = "cls.seq_relationship.weight";
const HEAD: WordsNames = WordsNames {
    transform: "cls.predictions.transform.dense",
    norm: "cls.predictions.transform.LayerNorm",
    decoder: "cls.predictions.decoder",
    bias: "cls.predictions.bias",
};
