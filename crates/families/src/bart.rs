//! BART (Lewis et al. 2020, "BART: Denoising Sequence-to-Sequence Pre-training for Natural Language Generation,
//! Translation, and Comprehension") and mBART (Liu et al. 2020): agrees with `BartForConditionalGeneration`,
//! `BartForSequenceClassification`, `BartModel` and the first and last one's mBART namesakes.
//!
//! Encoder and decoder over one table of words, which predicts the next word too; positions count from 2, and the
//! sum of words and positions is normalised. BART normalises after each part of a block, mBART before it.

use std::collections::BTreeMap;

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor},
};
use ndarray::Array2;
use sensorium_backbone::{
    Draw, Embedding, Linear, Memory, Norm, NormKind, NormPlace, Transformer, TransformerConfig, param,
};
use sensorium_contract::{Attention, Seed};
use serde::Deserialize;

use crate::{
    FamilyError,
    config::{Act, check, hidden_ratio, positive},
    generate::{Generates, Reading, last_token, of_one, same_rows},
    layout::BlockNames,
    network::{Answers, Family, Found, Inputs, Layout, Published},
    values::{check_range, counting, within},
};

/// `BartConfig` and `MBartConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct BartConfig {
    model_type: String,
    vocab_size: usize,
    d_model: usize,
    encoder_layers: usize,
    encoder_attention_heads: usize,
    encoder_ffn_dim: usize,
    decoder_layers: usize,
    decoder_attention_heads: usize,
    decoder_ffn_dim: usize,
    max_position_embeddings: usize,
    activation_function: Act,
    scale_embedding: bool,
    tie_word_embeddings: bool,
    decoder_start_token_id: Option<i64>,
    eos_token_id: Option<i64>,
    num_labels: Option<usize>,
    id2label: Option<BTreeMap<String, String>>,
}

impl Default for BartConfig {
    fn default() -> Self {
        Self {
            model_type: "bart".into(),
            vocab_size: 50_265,
            d_model: 1024,
            encoder_layers: 12,
            encoder_attention_heads: 16,
            encoder_ffn_dim: 4096,
            decoder_layers: 12,
            decoder_attention_heads: 16,
            decoder_ffn_dim: 4096,
            max_position_embeddings: 1024,
            activation_function: Act::Gelu,
            scale_embedding: false,
            tie_word_embeddings: true,
            decoder_start_token_id: Some(2),
            eos_token_id: Some(2),
            num_labels: None,
            id2label: None,
        }
    }
}

/// The names of an encoder's block in BART, mBART and Whisper.
pub(crate) const ENCODER_BLOCK: BlockNames<'_> = BlockNames {
    norm1: "self_attn_layer_norm",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    out: "self_attn.out_proj",
    scale1: None,
    cross: None,
    norm2: "final_layer_norm",
    up: "fc1",
    gate: None,
    down: "fc2",
    scale2: None,
    conv1d: false,
    no_key_bias: false,
};

/// The names of a decoder's block.
pub(crate) const DECODER_BLOCK: BlockNames<'_> = BlockNames {
    cross: Some([
        "encoder_attn_layer_norm",
        "encoder_attn.q_proj",
        "encoder_attn.k_proj",
        "encoder_attn.v_proj",
        "encoder_attn.out_proj",
    ]),
    ..ENCODER_BLOCK
};

/// Rows of a table of positions before the first one.
const BEFORE: usize = 2;

impl BartConfig {
    fn check(&self) -> Result<(), String> {
        positive(&[
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("max_position_embeddings", self.max_position_embeddings),
        ])?;
        if !self.tie_word_embeddings {
            return Err("`tie_word_embeddings`: only true is known here".into());
        }
        check(&self.encoder())?;
        check(&self.decoder())
    }

    fn normalises_before(&self) -> bool {
        self.model_type == "mbart"
    }

    fn encoder(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.encoder_layers,
            width: self.d_model,
            heads: self.encoder_attention_heads,
            hidden_ratio: hidden_ratio(self.encoder_ffn_dim, self.d_model),
            activation: self.activation_function.into(),
            norm_place: if self.normalises_before() { NormPlace::Before } else { NormPlace::After },
            ..TransformerConfig::default()
        }
    }

    fn decoder(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.decoder_layers,
            heads: self.decoder_attention_heads,
            hidden_ratio: hidden_ratio(self.decoder_ffn_dim, self.d_model),
            attention: Attention::Causal,
            cross_attention: true,
            ..self.encoder()
        }
    }

    /// Of the head for labels.
    fn labels(&self) -> usize {
        let default = if self.normalises_before() { 2 } else { 3 };
        self.id2label.as_ref().map(BTreeMap::len).or(self.num_labels).unwrap_or(default)
    }
}

/// Positions, norm and trunk of the encoder or the decoder.
#[derive(Module, Debug)]
pub struct Side {
    /// Its first two rows are no positions, `[2 + positions, width]`.
    positions: Embedding,
    /// Of the sum of words and positions.
    norm: Norm,
    trunk: Transformer,
}

impl Side {
    fn new(config: &BartConfig, trunk: &TransformerConfig, device: &Device) -> Self {
        let (positions, seed) = (config.max_position_embeddings + BEFORE, Seed::new(0));
        Self {
            positions: Embedding::new(positions, config.d_model, Draw::Normal(0.02), seed, device),
            norm: Norm::new(NormKind::Layer, config.d_model, trunk.epsilon, seed, device),
            trunk: Transformer::new(trunk, seed, device),
        }
    }

    /// `own` is `encoder` or `decoder`.
    fn layout(layout: &mut Layout, own: &str, config: &BartConfig, trunk: &TransformerConfig, names: &BlockNames<'_>) {
        let width = config.d_model;
        let theirs = |name: &str| format!("model.{own}.{name}");
        let positions = config.max_position_embeddings + BEFORE;
        layout.embedding(&format!("{own}.positions"), &theirs("embed_positions"), positions, width);
        layout.norm(&format!("{own}.norm"), &theirs("layernorm_embedding"), width, NormKind::Layer);
        layout.blocks(&format!("{own}.trunk"), &theirs("layers.{}"), trunk, names);
        if config.normalises_before() {
            layout.norm(&format!("{own}.trunk.norm"), &theirs("layer_norm"), width, NormKind::Layer);
        }
    }

    /// Words `[rows, tokens, width]` and the rows of their positions `[rows, tokens]` → what enters the trunk
    fn embed(&self, words: Tensor<3>, positions: Tensor<2, Int>) -> Tensor<3> {
        self.norm.forward(words + self.positions.forward(positions))
    }
}

/// From one token's features to labels.
#[derive(Module, Debug)]
pub struct LabelHead {
    /// `[width, width]`
    dense: Linear,
    /// `[width, labels]`
    out: Linear,
}

/// Words, encoder, decoder and the head that its checkpoint has.
#[derive(Module, Debug)]
pub struct Bart {
    words: Embedding,
    encoder: Side,
    decoder: Side,
    /// Of the words' scores, `[1, vocabulary]`; published as a buffer, which training leaves as it is.
    bias: Option<Param<Tensor<2>>>,
    labels: Option<LabelHead>,
    /// Of words before positions are added.
    #[module(skip)]
    scale: f64,
    #[module(skip)]
    vocabulary: usize,
    /// What the decoder reads first where it reads the encoder's ids; nothing if that is not its way.
    #[module(skip)]
    first: Option<i64>,
    /// The token whose features are classified.
    #[module(skip)]
    end: Option<i64>,
}

impl Bart {
    /// Ids `[rows, tokens]` → `[rows, tokens, width]`
    fn embed(&self, words: Tensor<2, Int>) -> Tensor<3> {
        self.words.forward(words).mul_scalar(self.scale)
    }

    /// What enters a side's trunk.
    fn tokens(
        &self,
        inputs: &Inputs<'_>,
        name: &str,
        ids: &Array2<i64>,
        side: &Side,
    ) -> Result<Tensor<3>, FamilyError> {
        let positions = within(name, counting(ids.dim().into()) + BEFORE as i64, Some(&side.positions))?;
        Ok(side.embed(self.embed(inputs.tensor(ids)), inputs.tensor(&positions)))
    }

    /// What the encoder answers, `[rows, tokens, width]`, and which of it is real.
    fn encode(&self, inputs: &Inputs<'_>) -> Result<Memory, FamilyError> {
        let ids = inputs.ids("input_ids", self.vocabulary)?;
        let mask = inputs.mask("attention_mask", ids.dim().into())?;
        let x = self.tokens(inputs, "input_ids", &ids, &self.encoder)?;
        Ok(Memory { values: self.encoder.trunk.run(x, mask.as_ref(), None), mask })
    }

    /// The decoder's ids; the encoder's, one later, if there are none.
    fn decoder_ids(&self, inputs: &Inputs<'_>) -> Result<Array2<i64>, FamilyError> {
        match self.first {
            Some(first) if !inputs.has("decoder_input_ids") => {
                check_range("decoder_start_token_id", [first].iter(), self.vocabulary)?;
                let ids = inputs.ids("input_ids", self.vocabulary)?;
                let later = |(row, token)| if token == 0 { first } else { ids[[row, token - 1]] };
                Ok(Array2::from_shape_fn(ids.dim(), later))
            }
            _ => inputs.ids("decoder_input_ids", self.vocabulary),
        }
    }

    /// `[rows, tokens, width]` → `[rows, tokens, vocabulary]`
    fn logits(&self, x: Tensor<3>) -> Tensor<3> {
        self.words.logits(x, self.bias.as_ref().map(|bias| bias.val().reshape([self.vocabulary])))
    }

    /// The scores of labels from where the encoder read the last end token, `[rows, tokens, width]` → `[rows, labels]`
    fn label_logits(&self, head: &LabelHead, x: Tensor<3>, inputs: &Inputs<'_>) -> Result<Tensor<2>, FamilyError> {
        let [_, tokens, width] = x.dims();
        let ids = inputs.ids("input_ids", self.vocabulary)?;
        let mut ends = Vec::new();
        for (row, ids) in ids.rows().into_iter().enumerate() {
            match ids.iter().rposition(|&id| Some(id) == self.end) {
                Some(at) if at < tokens => ends.push(x.clone().slice([row..row + 1, at..at + 1]).reshape([1, width])),
                _ => {
                    return Err(FamilyError::input(
                        "input_ids",
                        format!("row {row} has no end token that the decoder reads too"),
                    ));
                }
            }
        }
        let x = head.dense.forward(Tensor::cat(ends, 0)).tanh(); // [rows, width]
        Ok(head.out.forward(x))
    }
}

impl Family for Bart {
    type Config = BartConfig;

    fn check(config: &BartConfig) -> Result<(), String> {
        config.check()
    }

    fn published(_config: &BartConfig) -> Published {
        Published {
            prefix: "model.",
            copies: vec![
                ("model.encoder.embed_tokens.weight", "model.shared.weight"),
                ("model.decoder.embed_tokens.weight", "model.shared.weight"),
                ("lm_head.weight", "model.shared.weight"),
            ],
            left_out: vec![("qa_outputs.", "a head for answers"), (".version", "a buffer of the first library")],
            ..Published::default()
        }
    }

    fn layout(config: &BartConfig, found: &Found) -> Layout {
        let (width, vocabulary) = (config.d_model, config.vocab_size);
        let mut layout = Layout::default();
        layout.embedding("words", "model.shared", vocabulary, width);
        Side::layout(&mut layout, "encoder", config, &config.encoder(), &ENCODER_BLOCK);
        Side::layout(&mut layout, "decoder", config, &config.decoder(), &DECODER_BLOCK);
        if found.has(BIAS) {
            layout.tensor("bias", BIAS, &[1, vocabulary]);
        }
        if found.has(LABELS) {
            layout.linear("labels.dense", "classification_head.dense", [width, width], true);
            layout.linear("labels.out", "classification_head.out_proj", [width, config.labels()], true);
        }
        layout
    }

    fn new(config: &BartConfig, found: &Found, device: &Device) -> Self {
        let (width, vocabulary, seed) = (config.d_model, config.vocab_size, Seed::new(0));
        let linear = |outputs| Linear::new(width, outputs, Draw::Normal(0.02), seed, device);
        let bias = || param([1, vocabulary], Draw::Constant(0.0), seed, device).set_require_grad(false);
        Self {
            words: Embedding::new(vocabulary, width, Draw::Normal(0.02), seed, device),
            encoder: Side::new(config, &config.encoder(), device),
            decoder: Side::new(config, &config.decoder(), device),
            bias: found.has(BIAS).then(bias),
            labels: found.has(LABELS).then(|| LabelHead { dense: linear(width), out: linear(config.labels()) }),
            scale: if config.scale_embedding { (width as f64).sqrt() } else { 1.0 },
            vocabulary,
            first: config.decoder_start_token_id.filter(|_| !config.normalises_before()),
            end: config.eos_token_id,
        }
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let memory = self.encode(inputs)?;
        let ids = self.decoder_ids(inputs)?;
        same_rows(&memory, &ids)?;
        let mask = inputs.mask("decoder_attention_mask", ids.dim().into())?;
        let x = self.tokens(inputs, "decoder_input_ids", &ids, &self.decoder)?; // [rows, tokens, width]
        let x = self.decoder.trunk.run(x, mask.as_ref(), Some(&memory));
        let answers = match &self.labels {
            Some(head) => Answers::default().with("logits", self.label_logits(head, x.clone(), inputs)?),
            None => Answers::default().with("logits", self.logits(x.clone())),
        };
        Ok(answers.with("last_hidden_state", x).with("encoder_last_hidden_state", memory.values))
    }
}

impl Generates for Bart {
    fn start(&self, inputs: &Inputs<'_>) -> Result<Reading, FamilyError> {
        Ok(Reading::new(inputs, Some(self.encode(inputs)?)))
    }

    fn step(&self, reading: &mut Reading, ids: &Array2<i64>) -> Result<Tensor<2>, FamilyError> {
        let positions = reading.positions(ids, &self.decoder.positions, BEFORE)?;
        let x = self.decoder.embed(self.embed(reading.words(ids, self.vocabulary)?), positions); // [rows, tokens, width]
        let x = self.decoder.trunk.step(x, None, reading.memory.as_ref(), &mut reading.cache);
        Ok(of_one(self.logits(last_token(x))))
    }
}

const BIAS: &str = "final_logits_bias";
const LABELS: &str = "classification_head.dense.weight";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sensorium_contract::Array;

    use super::*;
    use crate::{
        Checkpoint,
        tests::{case, changed, shared},
    };

    fn floats(shape: &[usize]) -> Array {
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|at| (at % 7) as f32 * 0.1).collect();
        Array::F32(ndarray::ArrayD::from_shape_vec(shape.to_vec(), values).unwrap())
    }

    fn open(folder: &Path) -> Checkpoint {
        Checkpoint::open(folder, &Device::flex()).unwrap()
    }

    #[test]
    fn the_decoder_reads_the_encoders_ids_one_later() {
        let Some(shared) = shared() else { return };
        let checkpoint = open(&shared.join("parity/bart"));
        let [mut inputs, _] = case(&shared.join("parity/bart"));
        inputs.remove("decoder_input_ids");
        let found = checkpoint.forward(&inputs).unwrap();
        let Array::I64(ids) = &inputs["input_ids"] else { panic!() };
        let mut later = ids.clone();
        for mut row in later.rows_mut() {
            let ids = row.to_vec();
            row[0] = 2;
            row.iter_mut().skip(1).zip(ids).for_each(|(to, from)| *to = from);
        }
        inputs.insert("decoder_input_ids".into(), Array::I64(later));
        assert_eq!(found["logits"], checkpoint.forward(&inputs).unwrap()["logits"]);
    }

    #[test]
    fn labels_are_read_where_the_text_ends() {
        let (Some(shared), folder) = (shared(), tempfile::tempdir().unwrap()) else { return };
        changed(
            &shared.join("parity/bart"),
            folder.path(),
            |_| (),
            |tensors| {
                tensors.remove(BIAS);
                tensors.insert(LABELS.into(), floats(&[32, 32]));
                tensors.insert("classification_head.dense.bias".into(), floats(&[32]));
                tensors.insert("classification_head.out_proj.weight".into(), floats(&[3, 32]));
                tensors.insert("classification_head.out_proj.bias".into(), floats(&[3]));
            },
        );
        let ids = |ids: [i64; 8]| {
            let ids = Array::I64(ndarray::ArrayD::from_shape_vec(vec![2, 4], ids.to_vec()).unwrap());
            std::collections::BTreeMap::from([("input_ids".to_owned(), ids)])
        };
        let checkpoint = open(folder.path());
        let answers = checkpoint.forward(&ids([0, 7, 8, 2, 0, 7, 2, 2])).unwrap();
        assert_eq!(answers["logits"].shape(), [2, 3]);
        let error = checkpoint.forward(&ids([0, 7, 8, 2, 0, 7, 8, 9])).unwrap_err().to_string();
        assert!(error.contains("row 1 has no end token"), "{error}");
    }

    #[test]
    fn mbart_normalises_before_and_at_the_end() {
        let (Some(shared), folder) = (shared(), tempfile::tempdir().unwrap()) else { return };
        let from = shared.join("parity/bart");
        changed(
            &from,
            folder.path(),
            |config| config["model_type"] = "mbart".into(),
            |tensors| {
                for name in [
                    "encoder.layer_norm.weight",
                    "encoder.layer_norm.bias",
                    "decoder.layer_norm.weight",
                    "decoder.layer_norm.bias",
                ] {
                    tensors.insert(format!("model.{name}"), floats(&[32]));
                }
            },
        );
        let [mut inputs, _] = case(&from);
        assert_eq!(open(folder.path()).forward(&inputs).unwrap()["logits"].shape(), [2, 8, 98]);
        inputs.remove("decoder_input_ids");
        assert!(open(folder.path()).forward(&inputs).is_err());
    }
}
