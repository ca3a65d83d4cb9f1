//! DistilBERT (Sanh et al. 2019, "DistilBERT, a distilled version of BERT: smaller, faster, cheaper and
//! lighter"): agrees with `DistilBertForMaskedLM` and `DistilBertModel`.
//!
//! BERT's trunk under other names, without segments and pooler. Sinusoidal positions
//! (`sinusoidal_pos_embds`) are in the checkpoint like learned ones.

use burn::{module::Module, tensor::Device};
use sensorium_backbone::{NormPlace, Transformer, TransformerConfig};
use sensorium_contract::Seed;
use serde::Deserialize;

use crate::{
    FamilyError, Tower,
    config::{Act, check, hidden_ratio, positive},
    layout::BlockNames,
    network::{Answers, Family, Found, Inputs, Layout, Published, Reads},
    parts::{LanguageHead, TextEmbeddings, TextIds, TextSizes, WordsHead, WordsNames},
    values::{counting, within},
};

/// Of all norms; no key of the configuration.
const EPSILON: f64 = 1e-12;

/// `DistilBertConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct DistilBertConfig {
    pub vocab_size: usize,
    pub dim: usize,
    pub n_layers: usize,
    pub n_heads: usize,
    pub hidden_dim: usize,
    pub activation: Act,
    pub max_position_embeddings: usize,
    pub tie_word_embeddings: bool,
}

impl Default for DistilBertConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            dim: 768,
            n_layers: 6,
            n_heads: 12,
            hidden_dim: 3072,
            activation: Act::Gelu,
            max_position_embeddings: 512,
            tie_word_embeddings: true,
        }
    }
}

const BLOCK: BlockNames<'_> = BlockNames {
    norm1: "sa_layer_norm",
    qkv: &["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    out: "attention.out_lin",
    scale1: None,
    cross: None,
    norm2: "output_layer_norm",
    up: "ffn.lin1",
    gate: None,
    down: "ffn.lin2",
    scale2: None,
    conv1d: false,
    no_key_bias: false,
};

const EMBEDDINGS: [&str; 3] = [
    "distilbert.embeddings.word_embeddings",
    "distilbert.embeddings.position_embeddings",
    "distilbert.embeddings.LayerNorm",
];

const HEAD: WordsNames = WordsNames {
    transform: "vocab_transform",
    norm: "vocab_layer_norm",
    decoder: "vocab_projector",
    bias: "vocab_projector.bias",
};

impl DistilBertConfig {
    fn trunk(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.n_layers,
            width: self.dim,
            heads: self.n_heads,
            hidden_ratio: hidden_ratio(self.hidden_dim, self.dim),
            activation: self.activation.into(),
            epsilon: EPSILON,
            norm_place: NormPlace::After,
            ..TransformerConfig::default()
        }
    }

    fn embeddings(&self) -> TextSizes {
        TextSizes {
            vocabulary: self.vocab_size,
            positions: Some(self.max_position_embeddings),
            types: Vec::new(),
            width: self.dim,
            epsilon: Some(EPSILON),
        }
    }

    fn head(&self) -> WordsHead {
        WordsHead {
            width: self.dim,
            vocabulary: self.vocab_size,
            activation: self.activation.into(),
            epsilon: EPSILON,
            tied: self.tie_word_embeddings,
        }
    }
}

/// Embeddings, trunk and the head that its checkpoint has.
#[derive(Module, Debug)]
pub struct DistilBert {
    embeddings: TextEmbeddings,
    trunk: Transformer,
    /// To the vocabulary.
    head: Option<LanguageHead>,
    #[module(skip)]
    vocabulary: usize,
}

impl Family for DistilBert {
    type Config = DistilBertConfig;

    fn check(config: &DistilBertConfig) -> Result<(), String> {
        positive(&[("vocab_size", config.vocab_size), ("max_position_embeddings", config.max_position_embeddings)])?;
        check(&config.trunk())
    }

    fn published(config: &DistilBertConfig) -> Published {
        let tied = ("vocab_projector.weight", "distilbert.embeddings.word_embeddings.weight");
        Published {
            prefix: "distilbert.",
            copies: if config.tie_word_embeddings { vec![tied] } else { Vec::new() },
            left_out: vec![
                ("pre_classifier.", "a head for labels"),
                ("classifier.", "a head for labels"),
                ("qa_outputs.", "a head for answers"),
            ],
            ..Published::default()
        }
    }

    fn layout(config: &DistilBertConfig, found: &Found) -> Layout {
        let mut layout = Layout::default();
        TextEmbeddings::layout(&mut layout, "embeddings", &config.embeddings(), EMBEDDINGS, &[]);
        layout.blocks("trunk", "distilbert.transformer.layer.{}", &config.trunk(), &BLOCK);
        if WordsHead::is_there(found, HEAD) {
            config.head().layout(&mut layout, "head", HEAD, found);
        }
        layout
    }

    fn new(config: &DistilBertConfig, found: &Found, device: &Device) -> Self {
        Self {
            embeddings: TextEmbeddings::new(&config.embeddings(), device),
            trunk: Transformer::new(&config.trunk(), Seed::new(0), device),
            head: WordsHead::is_there(found, HEAD).then(|| config.head().build(device)),
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
        let positions = within("input_ids", counting(shape), self.embeddings.positions.as_ref())?;
        let ids_of = TextIds { positions: Some(inputs.tensor(&positions)), types: Vec::new() };
        let x = self.embeddings.forward(inputs.tensor(&ids), ids_of); // [rows, tokens, width]
        let x = inputs.through(&self.trunk, x, mask.as_ref());
        let logits = inputs.scores(self.head.as_ref(), &x, &self.embeddings.words)?;
        Ok(Answers::default().with_some("logits", logits).with("last_hidden_state", x))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::tests::altered::Altered;

    #[test]
    fn a_head_may_have_a_table_of_its_own() {
        let Some(tied) = Altered::open("distilbert", json!({}), |_| ()) else { return };
        let untied = Altered::open("distilbert", json!({"tie_word_embeddings": false}), |tensors| {
            let words = tensors["distilbert.embeddings.word_embeddings.weight"].clone();
            tensors.insert("vocab_projector.weight".into(), words);
        });
        let distance = untied.unwrap().distance(&tied, "logits");
        assert!(distance < 1e-5, "{distance}");
    }
}
