//! T5 (Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer"),
//! its version 1.1 and mT5 (Xue et al. 2021): agrees with `T5ForConditionalGeneration`, `T5Model`,
//! `T5EncoderModel` and their mT5 namesakes.
//!
//! Encoder and decoder with RMS norms, relative positions, unscaled scores and no bias anywhere, over one table
//! of words. In the first version that table predicts the next word too, after a scale; later ones have a head
//! of its own and gated feed-forwards.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use ndarray::Array2;
use sensorium_backbone::{Biases, Draw, Embedding, Memory, NormKind, Positions, Transformer, TransformerConfig};
use sensorium_contract::{Attention, Seed};
use serde::{Deserialize, de::IntoDeserializer};

use crate::{
    FamilyError, Tower, TowerTokens, Words,
    config::{Act, check, hidden_ratio, positive},
    generate::{Generates, Reading, last_token, no_head, of_one, same_rows},
    layout::BlockNames,
    network::{Answers, Family, Found, Inputs, Layout, Published, Reads},
    parts::LanguageHead,
};

/// `T5Config` and `MT5Config`.
#[derive(Debug, Deserialize)]
#[serde(from = "Keys")]
pub(crate) struct T5Config {
    vocab_size: usize,
    d_model: usize,
    d_kv: usize,
    d_ff: usize,
    num_layers: usize,
    num_decoder_layers: usize,
    num_heads: usize,
    relative_attention_num_buckets: usize,
    relative_attention_max_distance: usize,
    layer_norm_epsilon: f64,
    feed_forward_proj: FeedForward,
    /// Whether features are scaled before the head.
    scale_decoder_outputs: bool,
}

/// The keys as they are written; what is missing differs between T5 and mT5.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Keys {
    model_type: String,
    vocab_size: Option<usize>,
    d_model: Option<usize>,
    d_kv: Option<usize>,
    d_ff: Option<usize>,
    num_layers: Option<usize>,
    num_decoder_layers: Option<usize>,
    num_heads: Option<usize>,
    relative_attention_num_buckets: Option<usize>,
    relative_attention_max_distance: Option<usize>,
    layer_norm_epsilon: Option<f64>,
    feed_forward_proj: Option<FeedForward>,
    tie_word_embeddings: Option<bool>,
    scale_decoder_outputs: Option<bool>,
}

impl From<Keys> for T5Config {
    fn from(keys: Keys) -> Self {
        let multilingual = keys.model_type == "mt5";
        let either = |t5, mt5| if multilingual { mt5 } else { t5 };
        let gated = FeedForward { gated: true, act: Act::GeluTanh };
        let plain = FeedForward { gated: false, act: Act::Relu };
        let num_layers = keys.num_layers.unwrap_or(either(6, 8));
        // Older versions write no `scale_decoder_outputs`; in them, a head of its own means no scale.
        let scaled = keys.scale_decoder_outputs.unwrap_or(keys.tie_word_embeddings != Some(false));
        Self {
            vocab_size: keys.vocab_size.unwrap_or(either(32_128, 250_112)),
            d_model: keys.d_model.unwrap_or(512),
            d_kv: keys.d_kv.unwrap_or(64),
            d_ff: keys.d_ff.unwrap_or(either(2048, 1024)),
            num_layers,
            num_decoder_layers: keys.num_decoder_layers.unwrap_or(num_layers),
            num_heads: keys.num_heads.unwrap_or(either(8, 6)),
            relative_attention_num_buckets: keys.relative_attention_num_buckets.unwrap_or(32),
            relative_attention_max_distance: keys.relative_attention_max_distance.unwrap_or(128),
            layer_norm_epsilon: keys.layer_norm_epsilon.unwrap_or(1e-6),
            feed_forward_proj: keys.feed_forward_proj.unwrap_or(if multilingual { gated } else { plain }),
            scale_decoder_outputs: scaled && !multilingual,
        }
    }
}

/// `relu`, `gated-gelu` …
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct FeedForward {
    gated: bool,
    act: Act,
}

impl TryFrom<String> for FeedForward {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let (gated, act) = match name.strip_prefix("gated-") {
            // So named by version 1.1, which computes the tanh approximation.
            Some("gelu") => return Ok(Self { gated: true, act: Act::GeluTanh }),
            Some(act) => (true, act),
            None => (false, name.as_str()),
        };
        let act: Result<Act, serde::de::value::Error> = Act::deserialize(act.into_deserializer());
        act.map(|act| Self { gated, act }).map_err(|error| error.to_string())
    }
}

/// The names of a block; the feed-forward is the last of its layers.
fn names(cross: bool, gated: bool) -> BlockNames<'static> {
    let mut names = BlockNames {
        norm1: "layer.0.layer_norm",
        qkv: &["layer.0.SelfAttention.q", "layer.0.SelfAttention.k", "layer.0.SelfAttention.v"],
        out: "layer.0.SelfAttention.o",
        norm2: "layer.1.layer_norm",
        up: "layer.1.DenseReluDense.wi",
        down: "layer.1.DenseReluDense.wo",
        ..BlockNames::default()
    };
    if gated {
        (names.up, names.gate) = ("layer.1.DenseReluDense.wi_1", Some("layer.1.DenseReluDense.wi_0"));
    }
    if cross {
        names.cross = Some([
            "layer.1.layer_norm",
            "layer.1.EncDecAttention.q",
            "layer.1.EncDecAttention.k",
            "layer.1.EncDecAttention.v",
            "layer.1.EncDecAttention.o",
        ]);
        names.norm2 = "layer.2.layer_norm";
        names.down = "layer.2.DenseReluDense.wo";
        names.up = if gated { "layer.2.DenseReluDense.wi_1" } else { "layer.2.DenseReluDense.wi" };
        names.gate = names.gate.map(|_| "layer.2.DenseReluDense.wi_0");
    }
    names
}

impl T5Config {
    fn check(&self) -> Result<(), String> {
        positive(&[("vocab_size", self.vocab_size), ("d_model", self.d_model)])?;
        check(&self.encoder())?;
        check(&self.decoder())
    }

    fn encoder(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.num_layers,
            width: self.d_model,
            heads: self.num_heads,
            hidden_ratio: hidden_ratio(self.d_ff, self.d_model),
            activation: self.feed_forward_proj.act.into(),
            epsilon: self.layer_norm_epsilon,
            gated: self.feed_forward_proj.gated,
            norm: NormKind::Rms,
            positions: Positions::Relative {
                buckets: self.relative_attention_num_buckets,
                max_distance: self.relative_attention_max_distance,
            },
            biases: Biases::NONE,
            head_width: Some(self.d_kv),
            score_scale: Some(1.0),
            ..TransformerConfig::default()
        }
    }

    fn decoder(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.num_decoder_layers,
            attention: Attention::Causal,
            cross_attention: true,
            ..self.encoder()
        }
    }

    /// Names of a stack, `encoder` or `decoder`.
    fn stack(&self, layout: &mut Layout, name: &str, trunk: &TransformerConfig) {
        let names = names(trunk.cross_attention, trunk.gated);
        layout.blocks(name, &format!("{name}.block.{{}}"), trunk, &names);
        let relative = format!("{name}.block.0.layer.0.SelfAttention.relative_attention_bias");
        layout.embedding(&format!("{name}.relative"), &relative, self.relative_attention_num_buckets, self.num_heads);
        layout.norm(&format!("{name}.norm"), &format!("{name}.final_layer_norm"), self.d_model, NormKind::Rms);
    }

    /// Whether the head is a layer of its own; before version 1.1, one in the file is a copy of the words.
    fn own_head(&self, found: &Found) -> bool {
        !self.scale_decoder_outputs && found.has(HEAD)
    }
}

/// Words, encoder, and decoder with its head.
#[derive(Module, Debug)]
pub struct T5 {
    words: Embedding,
    encoder: Transformer,
    /// Missing where only the encoder is published.
    decoder: Option<Transformer>,
    head: LanguageHead,
    /// Of features before the head.
    #[module(skip)]
    scale: f64,
    #[module(skip)]
    vocabulary: usize,
}

impl T5 {
    /// `[rows, tokens, width]` → `[rows, tokens, vocabulary]`
    fn logits(&self, x: Tensor<3>) -> Tensor<3> {
        self.head.forward(x.mul_scalar(self.scale), &self.words)
    }

    /// What the encoder answers, `[rows, tokens, width]`, and which of it is real.
    fn encode(&self, inputs: &Inputs<'_>) -> Result<Memory, FamilyError> {
        let ids = inputs.ids("input_ids", self.vocabulary)?;
        let mask = inputs.mask("attention_mask", ids.dim().into())?;
        let x = self.words.forward(inputs.tensor(&ids)); // [rows, tokens, width]
        Ok(Memory { values: inputs.through(&self.encoder, x, mask.as_ref()), mask })
    }
}

impl Family for T5 {
    type Config = T5Config;

    fn check(config: &T5Config) -> Result<(), String> {
        config.check()
    }

    fn published(config: &T5Config) -> Published {
        let [_, encoder, decoder] = TABLES;
        let mut copies = vec![(encoder, WORDS), (decoder, WORDS), (decoder, encoder)];
        if config.scale_decoder_outputs {
            copies.push((HEAD, WORDS));
        }
        Published {
            copies,
            left_out: vec![
                ("EncDecAttention.relative_attention_bias.weight", "a table of positions that nothing reads"),
                ("classifier.", "a head for labels"),
                ("classification_head.", "a head for labels"),
                ("qa_outputs.", "a head for answers"),
            ],
            ..Published::default()
        }
    }

    fn layout(config: &T5Config, found: &Found) -> Layout {
        let (width, vocabulary) = (config.d_model, config.vocab_size);
        let mut layout = Layout::default();
        let words = TABLES.into_iter().find(|name| found.has(name)).unwrap_or(WORDS);
        layout.tensor("words.weight", words, &[vocabulary, width]);
        config.stack(&mut layout, "encoder", &config.encoder());
        if found.has(DECODER) {
            config.stack(&mut layout, "decoder", &config.decoder());
        }
        if config.own_head(found) {
            layout.linear("head.decoder", "lm_head", [width, vocabulary], false);
        }
        layout
    }

    fn new(config: &T5Config, found: &Found, device: &Device) -> Self {
        let (width, vocabulary) = (config.d_model, config.vocab_size);
        let decoder = || Transformer::new(&config.decoder(), Seed::new(0), device);
        Self {
            words: Embedding::new(vocabulary, width, Draw::Normal(1.0), Seed::new(0), device),
            encoder: Transformer::new(&config.encoder(), Seed::new(0), device),
            decoder: found.has(DECODER).then(decoder),
            head: match config.own_head(found) {
                true => LanguageHead::untied([width, vocabulary], device),
                false => LanguageHead::tied(),
            },
            scale: if config.scale_decoder_outputs { (width as f64).powf(-0.5) } else { 1.0 },
            vocabulary,
        }
    }

    fn reads(&self) -> Vec<Reads> {
        vec![Reads::TOKENS]
    }

    fn towers(&self, _picture: [usize; 2]) -> Vec<Tower> {
        let words = Words { words: self.words.clone(), positions: None, norm: None };
        vec![Tower::words(TowerTokens::Words(words), &self.encoder)]
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let memory = self.encode(inputs)?;
        let Some(decoder) = self.decoder.as_ref().filter(|_| !inputs.are_for_vectors()) else {
            return Ok(Answers::default().with("last_hidden_state", memory.values));
        };
        let ids = inputs.ids("decoder_input_ids", self.vocabulary)?;
        same_rows(&memory, &ids)?;
        let mask = inputs.mask("decoder_attention_mask", ids.dim().into())?;
        let x = self.words.forward(inputs.tensor(&ids)); // [rows, tokens, width]
        let x = decoder.run(x, mask.as_ref(), Some(&memory));
        Ok(Answers::default()
            .with("logits", self.logits(x.clone()))
            .with("last_hidden_state", x)
            .with("encoder_last_hidden_state", memory.values))
    }
}

impl Generates for T5 {
    fn start(&self, inputs: &Inputs<'_>) -> Result<Reading, FamilyError> {
        Ok(Reading::new(inputs, Some(self.encode(inputs)?)))
    }

    fn step(&self, reading: &mut Reading, ids: &Array2<i64>) -> Result<Tensor<2>, FamilyError> {
        let decoder = self.decoder.as_ref().ok_or_else(no_head)?;
        let x = self.words.forward(reading.words(ids, self.vocabulary)?); // [rows, tokens, width]
        let x = decoder.step(x, None, reading.memory.as_ref(), &mut reading.cache);
        Ok(of_one(self.logits(last_token(x))))
    }
}

const WORDS: &str = "shared.weight";
/// The one table of words is published under any of these names.
const TABLES: [&str; 3] = [WORDS, "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"];
const HEAD: &str = "lm_head.weight";
const DECODER: &str = "decoder.final_layer_norm.weight";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sensorium_contract::Array;

    use super::*;
    use crate::{
        Checkpoint,
        tests::{case, changed, shared},
    };

    fn config(json: &str) -> T5Config {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn feed_forwards_are_read_as_named() {
        let of = |name: &str| FeedForward::try_from(name.to_owned());
        assert_eq!(of("relu"), Ok(FeedForward { gated: false, act: Act::Relu }));
        assert_eq!(of("gelu"), Ok(FeedForward { gated: false, act: Act::Gelu }));
        assert_eq!(of("gated-gelu"), Ok(FeedForward { gated: true, act: Act::GeluTanh }));
        assert_eq!(of("gated-silu"), Ok(FeedForward { gated: true, act: Act::Silu }));
        assert!(of("gated-x-gelu").is_err() && of("x").is_err());
    }

    #[test]
    fn the_table_has_several_names_and_the_encoder_may_be_alone() {
        let Some(shared) = shared() else { return };
        let from = shared.join("parity/t5");
        let [inputs, _] = case(&from);
        let answers = |change: fn(&mut BTreeMap<String, Array>)| {
            let folder = tempfile::tempdir().unwrap();
            changed(&from, folder.path(), |_| (), change);
            Checkpoint::open(folder.path(), &Device::flex()).unwrap().forward(&inputs).unwrap()
        };
        let whole = answers(|_| ());
        let renamed = answers(|tensors| {
            let words = tensors.remove(WORDS).unwrap();
            tensors.insert("decoder.embed_tokens.weight".into(), words.clone());
            tensors.insert("encoder.embed_tokens.weight".into(), words);
        });
        assert_eq!(whole, renamed);
        let alone = answers(|tensors| tensors.retain(|name, _| !name.starts_with("decoder.")));
        assert_eq!(alone["last_hidden_state"], whole["encoder_last_hidden_state"]);
        assert!(!alone.contains_key("logits"));
    }

    #[test]
    fn only_the_first_version_scales() {
        assert!(config("{}").scale_decoder_outputs);
        assert!(!config(r#"{"tie_word_embeddings": false}"#).scale_decoder_outputs);
        assert!(!config(r#"{"tie_word_embeddings": true, "scale_decoder_outputs": false}"#).scale_decoder_outputs);
        assert!(!config(r#"{"model_type": "mt5"}"#).scale_decoder_outputs);
    }

    #[test]
    fn what_a_configuration_omits_differs_between_t5_and_mt5() {
        assert_eq!((config("{}").vocab_size, config("{}").num_decoder_layers), (32_128, 6));
        let mt5 = config(r#"{"model_type": "mt5", "num_layers": 3}"#);
        assert_eq!((mt5.vocab_size, mt5.num_decoder_layers, mt5.feed_forward_proj.gated), (250_112, 3, true));
    }
}
