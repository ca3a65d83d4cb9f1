//! RoBERTa (Liu et al. 2019, "RoBERTa: A Robustly Optimized BERT Pretraining Approach"), and with it XLM-R
//! (Conneau et al. 2019) and CamemBERT (Martin et al. 2019): agrees with `RobertaForMaskedLM`,
//! `RobertaForCausalLM` and `RobertaModel`, and those of the other two.
//!
//! BERT's trunk; positions count real words from the one after the padding's id, and the head has other names.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use sensorium_backbone::{Draw, Linear, Transformer, TransformerConfig};
use sensorium_contract::{Attention, Seed};
use sensorium_kernels::Activation;
use serde::Deserialize;

use crate::{
    FamilyError, Tower,
    bert::{BLOCK, BertConfig, EMBEDDINGS},
    config::{Act, absolute, off, padding},
    network::{Answers, Family, Found, Inputs, Layout, Published, Reads},
    parts::{LanguageHead, TextEmbeddings, TextIds, WordsHead, WordsNames, after_padding, first_token},
    values::within,
};

/// `RobertaConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct RobertaConfig {
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
    pub is_decoder: bool,
    pub add_cross_attention: bool,
    pub tie_word_embeddings: bool,
}

impl Default for RobertaConfig {
    fn default() -> Self {
        Self {
            vocab_size: 50_265,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Act::Gelu,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            pad_token_id: Some(1),
            position_embedding_type: None,
            is_decoder: false,
            add_cross_attention: false,
            tie_word_embeddings: true,
        }
    }
}

impl RobertaConfig {
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

    fn trunk(&self) -> TransformerConfig {
        let attention = if self.is_decoder { Attention::Causal } else { Attention::Bidirectional };
        TransformerConfig { attention, ..self.bert().trunk() }
    }

    fn head(&self) -> WordsHead {
        WordsHead {
            width: self.hidden_size,
            vocabulary: self.vocab_size,
            activation: Activation::Gelu,
            epsilon: self.layer_norm_eps,
            tied: self.tie_word_embeddings,
        }
    }
}

/// Embeddings, trunk and the heads that its checkpoint has.
#[derive(Module, Debug)]
pub struct Roberta {
    embeddings: TextEmbeddings,
    trunk: Transformer,
    /// Of the first token, `[width, width]`.
    pooler: Option<Linear>,
    /// To the vocabulary.
    head: Option<LanguageHead>,
    #[module(skip)]
    pad: i64,
}

impl Family for Roberta {
    type Config = RobertaConfig;

    fn check(config: &RobertaConfig) -> Result<(), String> {
        config.bert().check()?;
        padding(config.pad_token_id, config.vocab_size, config.max_position_embeddings)?;
        absolute(config.position_embedding_type.as_deref())?;
        off(&[("add_cross_attention", config.add_cross_attention)])
    }

    fn published(config: &RobertaConfig) -> Published {
        let mut published = Published {
            prefix: "roberta.",
            left_out: vec![("classifier.", "a head for labels"), ("qa_outputs.", "a head for answers")],
            ..Published::default()
        };
        if config.tie_word_embeddings {
            published.copies = vec![
                ("lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight"),
                ("lm_head.decoder.bias", "lm_head.bias"),
            ];
        } else {
            published.left_out.push(("lm_head.bias", "beside a decoder with a bias of its own"));
        }
        published
    }

    fn layout(config: &RobertaConfig, found: &Found) -> Layout {
        let width = config.hidden_size;
        let mut layout = Layout::default();
        let names = EMBEDDINGS.map(|name| format!("roberta.{name}"));
        let types = ["roberta.embeddings.token_type_embeddings"];
        let embeddings = config.bert().embeddings();
        TextEmbeddings::layout(&mut layout, "embeddings", &embeddings, names.each_ref().map(|name| &**name), &types);
        layout.blocks("trunk", "roberta.encoder.layer.{}", &config.trunk(), &BLOCK);
        if found.has(POOLER) {
            layout.linear("pooler", "roberta.pooler.dense", [width, width], true);
        }
        if WordsHead::is_there(found, HEAD) {
            config.head().layout(&mut layout, "head", HEAD, found);
        }
        layout
    }

    fn new(config: &RobertaConfig, found: &Found, device: &Device) -> Self {
        let width = config.hidden_size;
        let pooler = || Linear::new(width, width, Draw::Normal(0.02), Seed::new(0), device);
        Self {
            embeddings: TextEmbeddings::new(&config.bert().embeddings(), device),
            trunk: Transformer::new(&config.trunk(), Seed::new(0), device),
            pooler: found.has(POOLER).then(pooler),
            head: WordsHead::is_there(found, HEAD).then(|| config.head().build(device)),
            pad: config.pad_token_id.unwrap_or_default(),
        }
    }

    fn reads(&self) -> Vec<Reads> {
        vec![Reads::TOKENS]
    }

    fn towers(&self, _picture: [usize; 2]) -> Vec<Tower> {
        vec![Tower::words(self.embeddings.tower(self.pad as usize + 1), &self.trunk)]
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let x = features(inputs, &self.embeddings, &self.trunk, self.pad)?; // [rows, tokens, width]
        let pooled = self.pooler.as_ref().map(|pooler| pooler.forward(first_token(x.clone())).tanh()); // [rows, width]
        let logits = inputs.scores(self.head.as_ref(), &x, &self.embeddings.words)?;
        let answers = Answers::default().with_some("logits", logits).with_some("pooler_output", pooled);
        Ok(answers.with("last_hidden_state", x))
    }
}

/// Words to the features of a trunk like RoBERTa's, `[rows, tokens, width]`; `pad` is the padding's id.
pub(crate) fn features(
    inputs: &Inputs<'_>,
    embeddings: &TextEmbeddings,
    trunk: &Transformer,
    pad: i64,
) -> Result<Tensor<3>, FamilyError> {
    let ids = inputs.ids("input_ids", embeddings.words.values())?;
    let shape = ids.dim().into();
    let mask = inputs.mask("attention_mask", shape)?;
    let types = inputs.ids_or_zeros("token_type_ids", shape, embeddings.types[0].values())?;
    let positions = within("input_ids", after_padding(&ids, pad), embeddings.positions.as_ref())?;
    let ids_of = TextIds { positions: Some(inputs.tensor(&positions)), types: vec![inputs.tensor(&types)] };
    let x = embeddings.forward(inputs.tensor(&ids), ids_of); // [rows, tokens, width]
    Ok(inputs.through(trunk, x, mask.as_ref()))
}

const POOLER: &str = "roberta.pooler.dense.weight";

/// The head of RoBERTa and ESM.
pub(crate) const HEAD: WordsNames = WordsNames {
    transform: "lm_head.dense",
    norm: "lm_head.layer_norm",
    decoder: "lm_head.decoder",
    bias: "lm_head.bias",
};

#[cfg(test)]
mod tests {
    use sensorium_contract::Array;
    use serde_json::json;

    use crate::tests::altered::Altered;

    #[test]
    fn a_head_may_have_a_table_of_its_own() {
        let Some(tied) = Altered::open("roberta", json!({}), |_| ()) else { return };
        let untied = Altered::open("roberta", json!({"tie_word_embeddings": false}), |tensors| {
            let words = tensors["roberta.embeddings.word_embeddings.weight"].clone();
            let bias = tensors["lm_head.bias"].clone();
            tensors.insert("lm_head.decoder.weight".into(), words);
            tensors.insert("lm_head.decoder.bias".into(), bias);
        });
        let distance = untied.unwrap().distance(&tied, "logits");
        assert!(distance < 1e-5, "{distance}");
        let missing = Altered::open("roberta", json!({"tie_word_embeddings": false}), |_| ()).unwrap();
        assert!(missing.problem().contains("tensor `lm_head.decoder.weight` is missing"), "{}", missing.problem());
    }

    #[test]
    fn names_may_lack_the_prefix_and_the_head() {
        let Some(whole) = Altered::open("roberta", json!({}), |_| ()) else { return };
        let base = Altered::open("roberta", json!({"model_type": "xlm-roberta"}), |tensors| {
            let bare = |(name, tensor): (String, _)| Some((name.strip_prefix("roberta.")?.to_owned(), tensor));
            *tensors = std::mem::take(tensors).into_iter().filter_map(bare).collect();
        });
        assert_eq!(base.unwrap().answer("last_hidden_state"), whole.answer("last_hidden_state"));
    }

    #[test]
    fn a_decoder_looks_back_only() {
        let Some(mut decoder) = Altered::open("roberta", json!({"is_decoder": true}), |_| ()) else { return };
        let before = decoder.answer("last_hidden_state");
        if let Some(Array::I64(ids)) = decoder.inputs.get_mut("input_ids") {
            ids[[0, 9]] = (ids[[0, 9]] + 1) % 90 + 2;
        }
        let after = decoder.answer("last_hidden_state");
        assert_eq!(before[..9 * 32], after[..9 * 32]);
        assert_ne!(before[9 * 32..10 * 32], after[9 * 32..10 * 32]);
    }

    #[test]
    fn unknown_options_are_named() {
        let options = [
            ("position_embedding_type", json!("relative_key")),
            ("add_cross_attention", json!(true)),
            ("pad_token_id", json!(null)),
            ("pad_token_id", json!(98)),
            ("hidden_act", json!("tanh")),
        ];
        for (key, value) in options {
            let Some(altered) = Altered::open("roberta", json!({key: value}), |_| ()) else { return };
            assert!(altered.problem().contains(&format!("`{key}`")), "{}", altered.problem());
        }
    }
}
