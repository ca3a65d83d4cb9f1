//! GPT (Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training"): agrees with
//! `OpenAIGPTLMHeadModel` and `OpenAIGPTModel`.
//!
//! GPT-2's tensors, but the trunk normalises after each part, as BERT's; a token's kind, if given, is a word.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use ndarray::Array2;
use sensorium_backbone::{NormPlace, Transformer, TransformerConfig};
use sensorium_contract::{Attention, Seed};
use sensorium_kernels::Activation;
use serde::Deserialize;

use crate::{
    FamilyError, Tower,
    config::{check, positive},
    generate::{Generates, Reading, last_token, no_head, of_one},
    gpt2::BLOCK,
    network::{Answers, Family, Found, Inputs, Layout, Published, Reads},
    parts::{LanguageHead, TextEmbeddings, TextIds, TextSizes},
    values::{counting, within},
};

/// A non-linearity by this family's own names.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Afn {
    /// By the tanh approximation.
    Gelu,
    Relu,
    #[serde(alias = "swish")]
    Silu,
}

/// `OpenAIGPTConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct OpenAiGptConfig {
    pub vocab_size: usize,
    pub n_positions: usize,
    pub n_embd: usize,
    pub n_layer: usize,
    pub n_head: usize,
    pub afn: Afn,
    pub layer_norm_epsilon: f64,
    pub tie_word_embeddings: bool,
}

impl Default for OpenAiGptConfig {
    fn default() -> Self {
        Self {
            vocab_size: 40_478,
            n_positions: 512,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            afn: Afn::Gelu,
            layer_norm_epsilon: 1e-5,
            tie_word_embeddings: true,
        }
    }
}

impl OpenAiGptConfig {
    fn trunk(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.n_layer,
            width: self.n_embd,
            heads: self.n_head,
            hidden_ratio: 4.0,
            attention: Attention::Causal,
            activation: match self.afn {
                Afn::Gelu => Activation::GeluTanh,
                Afn::Relu => Activation::Relu,
                Afn::Silu => Activation::Silu,
            },
            epsilon: self.layer_norm_epsilon,
            norm_place: NormPlace::After,
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
pub struct OpenAiGpt {
    embeddings: TextEmbeddings,
    trunk: Transformer,
    /// To the vocabulary.
    head: Option<LanguageHead>,
    #[module(skip)]
    vocabulary: usize,
}

impl Family for OpenAiGpt {
    type Config = OpenAiGptConfig;

    fn check(config: &OpenAiGptConfig) -> Result<(), String> {
        positive(&[("vocab_size", config.vocab_size), ("n_positions", config.n_positions)])?;
        check(&config.trunk())
    }

    fn published(config: &OpenAiGptConfig) -> Published {
        let tied = ("lm_head.weight", "transformer.tokens_embed.weight");
        Published {
            prefix: "transformer.",
            copies: if config.tie_word_embeddings { vec![tied] } else { Vec::new() },
            left_out: vec![
                ("multiple_choice_head.", "a head that chooses among answers"),
                ("score.", "a head for labels"),
            ],
            ..Published::default()
        }
    }

    fn layout(config: &OpenAiGptConfig, found: &Found) -> Layout {
        let mut layout = Layout::default();
        let names = ["transformer.tokens_embed", "transformer.positions_embed", ""];
        TextEmbeddings::layout(&mut layout, "embeddings", &config.embeddings(), names, &[]);
        layout.blocks("trunk", "transformer.h.{}", &config.trunk(), &BLOCK);
        if !config.tie_word_embeddings && config.has_head(found) {
            layout.linear("head.decoder", "lm_head", [config.n_embd, config.vocab_size], false);
        }
        layout
    }

    fn new(config: &OpenAiGptConfig, found: &Found, device: &Device) -> Self {
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
        const TYPES: &str = "token_type_ids";
        let ids = inputs.ids("input_ids", self.vocabulary)?;
        let shape = ids.dim().into();
        let mask = inputs.mask("attention_mask", shape)?;
        let positions = within("input_ids", counting(shape), self.embeddings.positions.as_ref())?;
        let ids_of = TextIds { positions: Some(inputs.tensor(&positions)), types: Vec::new() };
        let mut x = self.embeddings.forward(inputs.tensor(&ids), ids_of); // [rows, tokens, width]
        if inputs.has(TYPES) {
            let types = inputs.ids_or_zeros(TYPES, shape, self.vocabulary)?;
            x = x + self.embeddings.words.forward(inputs.tensor(&types));
        }
        let x = inputs.through(&self.trunk, x, mask.as_ref());
        let logits = self.head.as_ref().filter(|_| !inputs.are_for_vectors());
        let logits = logits.map(|head| head.forward(x.clone(), &self.embeddings.words));
        Ok(Answers::default().with_some("logits", logits).with("last_hidden_state", x))
    }
}

impl Generates for OpenAiGpt {
    fn step(&self, reading: &mut Reading, ids: &Array2<i64>) -> Result<Tensor<2>, FamilyError> {
        let head = self.head.as_ref().ok_or_else(no_head)?;
        let x = reading.embed(&self.embeddings, ids)?; // [rows, tokens, width]
        let x = self.trunk.step(x, None, None, &mut reading.cache);
        Ok(of_one(head.forward(last_token(x), &self.embeddings.words)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::tests::altered::Altered;

    #[test]
    fn a_head_may_have_a_table_of_its_own() {
        let Some(tied) = Altered::open("openai-gpt", json!({}), |_| ()) else { return };
        let untied = Altered::open("openai-gpt", json!({"tie_word_embeddings": false}), |tensors| {
            let words = tensors["transformer.tokens_embed.weight"].clone();
            tensors.insert("lm_head.weight".into(), words);
        });
        assert_eq!(untied.unwrap().answer("logits"), tied.answer("logits"));
    }

    #[test]
    fn kinds_are_words() {
        let Some(mut altered) = Altered::open("openai-gpt", json!({}), |_| ()) else { return };
        let without = altered.answer("logits");
        let kinds = altered.inputs["attention_mask"].clone();
        altered.inputs.insert("token_type_ids".into(), kinds);
        assert_ne!(altered.answer("logits"), without);
    }

    #[test]
    fn unknown_non_linearities_are_named() {
        let Some(altered) = Altered::open("openai-gpt", json!({"afn": "gelu_new"}), |_| ()) else { return };
        assert!(altered.problem().contains("`afn`"), "{}", altered.problem());
    }
}
