//! Llama (Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models", and its successors):
//! agrees with `LlamaForCausalLM` and `LlamaModel`.
//!
//! A trunk that looks back only, with RMS norms, gated feed-forwards, rotary positions and, in later versions,
//! heads that share keys and values; most have no bias.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use ndarray::Array2;
use sensorium_backbone::{Biases, Draw, Embedding, NormKind, Positions, RotaryScaling, Transformer, TransformerConfig};
use sensorium_contract::{Attention, Seed};
use serde::Deserialize;

use crate::{
    FamilyError, Tower, TowerTokens, Words,
    config::{Act, check, hidden_ratio, positive},
    generate::{Generates, Reading, last_token, no_head, of_one},
    layout::BlockNames,
    network::{Answers, Family, Found, Inputs, Layout, Published, Reads},
    parts::LanguageHead,
};

/// `LlamaConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct LlamaConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: Option<usize>,
    pub head_dim: Option<usize>,
    pub hidden_act: Act,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub tie_word_embeddings: bool,
    pub attention_bias: bool,
    pub mlp_bias: bool,
    pub partial_rotary_factor: Option<f64>,
    /// Where older versions keep it.
    pub rope_theta: Option<f64>,
    /// Where older versions keep what stretches positions.
    pub rope_scaling: Option<Rope>,
    pub rope_parameters: Option<Rope>,
}

/// `rope_parameters`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Rope {
    rope_type: Option<String>,
    /// What older versions call `rope_type`.
    #[serde(rename = "type")]
    kind: Option<String>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
}

impl Default for LlamaConfig {
    fn default() -> Self {
        Self {
            vocab_size: 32_000,
            hidden_size: 4096,
            intermediate_size: 11_008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: None,
            head_dim: None,
            hidden_act: Act::Silu,
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-6,
            tie_word_embeddings: false,
            attention_bias: false,
            mlp_bias: false,
            partial_rotary_factor: None,
            rope_theta: None,
            rope_scaling: None,
            rope_parameters: None,
        }
    }
}

/// The names of a block.
const BLOCK: BlockNames<'_> = BlockNames {
    norm1: "input_layernorm",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    out: "self_attn.o_proj",
    scale1: None,
    cross: None,
    norm2: "post_attention_layernorm",
    up: "mlp.up_proj",
    gate: Some("mlp.gate_proj"),
    down: "mlp.down_proj",
    scale2: None,
    conv1d: false,
    no_key_bias: false,
};

impl LlamaConfig {
    /// The older key rules where both are given, as in the reference implementation.
    fn rope(&self) -> Rope {
        let rope = self.rope_scaling.clone().or_else(|| self.rope_parameters.clone());
        rope.unwrap_or_default()
    }

    fn positions(&self) -> Result<Positions, String> {
        let rope = self.rope();
        let partial = rope.partial_rotary_factor.or(self.partial_rotary_factor);
        if partial.is_some_and(|factor| factor != 1.0) {
            return Err("`partial_rotary_factor`: only 1 is known here".into());
        }
        let needed = |key: &str, value: Option<f64>| value.ok_or_else(|| format!("`rope_parameters.{key}` is missing"));
        let scaling = match rope.rope_type.as_deref().or(rope.kind.as_deref()).unwrap_or("default") {
            "default" => RotaryScaling::None,
            "linear" => RotaryScaling::Linear { factor: needed("factor", rope.factor)? },
            "llama3" => RotaryScaling::Llama3 {
                factor: needed("factor", rope.factor)?,
                low: needed("low_freq_factor", rope.low_freq_factor)?,
                high: needed("high_freq_factor", rope.high_freq_factor)?,
                context: rope.original_max_position_embeddings.unwrap_or(self.max_position_embeddings),
            },
            other => {
                return Err(format!(
                    "`rope_parameters.rope_type`: default, linear and llama3 are known here, found `{other}`"
                ));
            }
        };
        Ok(Positions::Rotary { theta: rope.rope_theta.or(self.rope_theta).unwrap_or(10_000.0), scaling })
    }

    fn check(&self) -> Result<(), String> {
        positive(&[("vocab_size", self.vocab_size), ("hidden_size", self.hidden_size)])?;
        self.positions()?;
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
            epsilon: self.rms_norm_eps,
            gated: true,
            norm: NormKind::Rms,
            // Other positions than these were refused by `check`.
            positions: self.positions().unwrap_or_default(),
            biases: Biases { qkv: self.attention_bias, out: self.attention_bias, feed_forward: self.mlp_bias },
            key_heads: self.num_key_value_heads,
            head_width: self.head_dim,
            ..TransformerConfig::default()
        }
    }
}

/// Words, trunk and what predicts the next word.
#[derive(Module, Debug)]
pub struct Llama {
    words: Embedding,
    trunk: Transformer,
    /// To the vocabulary; missing in the base model's checkpoint, unless the words' own table serves.
    head: Option<LanguageHead>,
    #[module(skip)]
    vocabulary: usize,
}

impl Family for Llama {
    type Config = LlamaConfig;

    fn check(config: &LlamaConfig) -> Result<(), String> {
        config.check()
    }

    fn published(config: &LlamaConfig) -> Published {
        let copies = match config.tie_word_embeddings {
            true => vec![(HEAD, "model.embed_tokens.weight")],
            false => Vec::new(),
        };
        Published {
            prefix: "model.",
            copies,
            left_out: vec![("score.", "a head for labels"), ("qa_outputs.", "a head for answers")],
            ..Published::default()
        }
    }

    fn layout(config: &LlamaConfig, found: &Found) -> Layout {
        let (width, vocabulary) = (config.hidden_size, config.vocab_size);
        let mut layout = Layout::default();
        layout.embedding("words", "model.embed_tokens", vocabulary, width);
        layout.blocks("trunk", "model.layers.{}", &config.trunk(), &BLOCK);
        layout.norm("trunk.norm", "model.norm", width, NormKind::Rms);
        if !config.tie_word_embeddings && found.has(HEAD) {
            layout.linear("head.decoder", "lm_head", [width, vocabulary], false);
        }
        layout
    }

    fn new(config: &LlamaConfig, found: &Found, device: &Device) -> Self {
        let (width, vocabulary) = (config.hidden_size, config.vocab_size);
        Self {
            words: Embedding::new(vocabulary, width, Draw::Normal(0.02), Seed::new(0), device),
            trunk: Transformer::new(&config.trunk(), Seed::new(0), device),
            head: match config.tie_word_embeddings {
                true => Some(LanguageHead::tied()),
                false => found.has(HEAD).then(|| LanguageHead::untied([width, vocabulary], device)),
            },
            vocabulary,
        }
    }

    fn reads(&self) -> Vec<Reads> {
        vec![Reads::CAUSAL]
    }

    fn towers(&self, _picture: [usize; 2]) -> Vec<Tower> {
        vec![Tower::words(
            TowerTokens::Words(Words { words: self.words.clone(), positions: None, norm: None }),
            &self.trunk,
        )]
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let ids = inputs.ids("input_ids", self.vocabulary)?;
        let mask = inputs.mask("attention_mask", ids.dim().into())?;
        let x = self.words.forward(inputs.tensor(&ids)); // [rows, tokens, width]
        let x = inputs.through(&self.trunk, x, mask.as_ref());
        let logits = self.head.as_ref().filter(|_| !inputs.are_for_vectors());
        let logits = logits.map(|head| head.forward(x.clone(), &self.words)); // [rows, tokens, vocabulary]
        Ok(Answers::default().with_some::<3>("logits", logits).with("last_hidden_state", x))
    }
}

impl Generates for Llama {
    fn step(&self, reading: &mut Reading, ids: &Array2<i64>) -> Result<Tensor<2>, FamilyError> {
        let head = self.head.as_ref().ok_or_else(no_head)?;
        let words = reading.words(ids, self.vocabulary)?;
        let x = self.trunk.step(self.words.forward(words), None, None, &mut reading.cache); // [rows, tokens, width]
        Ok(of_one(head.forward(last_token(x), &self.words)))
    }
}

const HEAD: &str = "lm_head.weight";

#[cfg(test)]
mod tests {
    use sensorium_contract::Array;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        Checkpoint,
        tests::{case, changed, shared},
    };

    /// The case's logits under a changed configuration.
    fn logits(change: impl FnOnce(&mut Value)) -> Option<Array> {
        let from = shared()?.join("parity/llama");
        let folder = tempfile::tempdir().unwrap();
        changed(&from, folder.path(), change, |_| ());
        let [inputs, _] = case(&from);
        Checkpoint::open(folder.path(), &Device::flex()).unwrap().forward(&inputs).unwrap().remove("logits")
    }

    #[test]
    fn stretched_positions_agree_with_each_other() {
        let stretched = |rope: Value| logits(|config| config["rope_parameters"] = rope);
        let llama3 = |context: usize| {
            stretched(json!({"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": context}))
        };
        let linear = |factor: f64| stretched(json!({"rope_type": "linear", "factor": factor}));
        let plain = logits(|_| ());
        assert_eq!(linear(1.0), plain);
        // All angles turn often in a long context and never in a short one.
        assert_eq!(llama3(1 << 40), plain);
        assert_eq!(llama3(1), linear(4.0));
        assert!(shared().is_none() || linear(4.0) != plain);
    }

    #[test]
    fn the_words_serve_as_head_where_they_are_tied() {
        let Some(shared) = shared() else { return };
        let (from, folder) = (shared.join("parity/llama"), tempfile::tempdir().unwrap());
        let tied = |config: &mut Value| config["tie_word_embeddings"] = true.into();
        changed(&from, folder.path(), tied, |tensors| drop(tensors.remove(HEAD)));
        let [inputs, _] = case(&from);
        let checkpoint = Checkpoint::open(folder.path(), &Device::flex()).unwrap();
        assert_eq!(checkpoint.forward(&inputs).unwrap()["logits"].shape(), [2, 10, 98]);
        // A head that differs from the words it should copy is no copy.
        changed(&from, folder.path(), tied, |_| ());
        assert!(Checkpoint::open(folder.path(), &Device::flex()).unwrap_err().to_string().contains("copy"));
    }

    fn positions(json: &str) -> Result<Positions, String> {
        serde_json::from_str::<LlamaConfig>(json).unwrap().positions()
    }

    #[test]
    fn positions_are_read_in_old_and_new_places() {
        let plain = |theta| Ok(Positions::Rotary { theta, scaling: RotaryScaling::None });
        assert_eq!(positions("{}"), plain(10_000.0));
        assert_eq!(positions(r#"{"rope_theta": 5e5, "rope_scaling": null}"#), plain(5e5));
        assert_eq!(positions(r#"{"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}"#), plain(5e5));
        let scaling = RotaryScaling::Linear { factor: 2.0 };
        let linear = Ok(Positions::Rotary { theta: 10_000.0, scaling });
        assert_eq!(positions(r#"{"rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 2.0}}"#), linear);
        let scaling = RotaryScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, context: 8192 };
        let json = r#"{"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}"#;
        assert_eq!(positions(json), Ok(Positions::Rotary { theta: 5e5, scaling }));
    }

    #[test]
    fn other_positions_are_refused() {
        assert!(positions(r#"{"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}"#).unwrap_err().contains("yarn"));
        assert!(positions(r#"{"rope_scaling": {"rope_type": "linear"}}"#).unwrap_err().contains("factor"));
        assert!(positions(r#"{"partial_rotary_factor": 0.5}"#).unwrap_err().contains("partial"));
    }
}
