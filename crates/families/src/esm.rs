//! ESM-2 (Lin et al. 2023, "Evolutionary-scale prediction of atomic-level protein structure with a language
//! model") and ESM-1b (Rives et al. 2021): agrees with `EsmForMaskedLM` and `EsmModel`.
//!
//! The plain trunk with rotary positions, or with learned ones that count as RoBERTa's. Masked words are zero
//! and the others grow as if dropout had removed them; padding enters as zeros.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use ndarray::{Array1, Array2, Array3, ArrayD, Axis};
use sensorium_backbone::{Draw, Linear, NormKind, Positions, RotaryScaling, Transformer, TransformerConfig};
use sensorium_contract::{Seed, tensor_f32};
use sensorium_kernels::Activation;
use serde::Deserialize;

use crate::{
    FamilyError, Tower,
    bert::{self, EMBEDDINGS},
    config::{check, hidden_ratio, off, padding, positive},
    layout::BlockNames,
    network::{Answers, Family, Found, Inputs, Layout, Published, Reads},
    parts::{LanguageHead, TextEmbeddings, TextSizes, WordsHead, after_padding, first_token},
    roberta::HEAD,
    values::within,
};

/// The fraction of words that were masked in training: 0.15 were chosen, and 0.8 of these masked.
const MASKED_IN_TRAINING: f32 = 0.15 * 0.8;

/// Where positions enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PositionKind {
    Absolute,
    Rotary,
}

/// `EsmConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct EsmConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub max_position_embeddings: usize,
    pub layer_norm_eps: f64,
    pub position_embedding_type: PositionKind,
    pub rope_theta: f64,
    pub emb_layer_norm_before: Option<bool>,
    pub token_dropout: Option<bool>,
    pub mask_token_id: Option<i64>,
    pub pad_token_id: Option<i64>,
    pub is_decoder: Option<bool>,
    pub add_cross_attention: Option<bool>,
    pub is_folding_model: Option<bool>,
    pub tie_word_embeddings: bool,
}

impl Default for EsmConfig {
    fn default() -> Self {
        Self {
            vocab_size: 0,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            max_position_embeddings: 1026,
            layer_norm_eps: 1e-12,
            position_embedding_type: PositionKind::Absolute,
            rope_theta: 10_000.0,
            emb_layer_norm_before: None,
            token_dropout: None,
            mask_token_id: None,
            pad_token_id: None,
            is_decoder: None,
            add_cross_attention: None,
            is_folding_model: None,
            tie_word_embeddings: true,
        }
    }
}

const BLOCK: BlockNames<'_> = BlockNames { norm1: "attention.LayerNorm", norm2: "LayerNorm", ..bert::BLOCK };

impl EsmConfig {
    fn trunk(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            heads: self.num_attention_heads,
            hidden_ratio: hidden_ratio(self.intermediate_size, self.hidden_size),
            epsilon: self.layer_norm_eps,
            positions: match self.position_embedding_type {
                PositionKind::Absolute => Positions::None,
                PositionKind::Rotary => Positions::Rotary { theta: self.rope_theta, scaling: RotaryScaling::None },
            },
            ..TransformerConfig::default()
        }
    }

    fn embeddings(&self) -> TextSizes {
        TextSizes {
            vocabulary: self.vocab_size,
            positions: self.is_absolute().then_some(self.max_position_embeddings),
            types: Vec::new(),
            width: self.hidden_size,
            epsilon: self.emb_layer_norm_before.unwrap_or(false).then_some(self.layer_norm_eps),
        }
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

    fn is_absolute(&self) -> bool {
        self.position_embedding_type == PositionKind::Absolute
    }

    /// The word that is dropped, if any is.
    fn dropped(&self) -> Option<i64> {
        self.mask_token_id.filter(|_| self.token_dropout.unwrap_or(false))
    }
}

/// Embeddings, trunk and the heads that its checkpoint has.
#[derive(Module, Debug)]
pub struct Esm {
    embeddings: TextEmbeddings,
    trunk: Transformer,
    /// Of the first token, `[width, width]`.
    pooler: Option<Linear>,
    /// To the vocabulary.
    head: Option<LanguageHead>,
    #[module(skip)]
    vocabulary: usize,
    #[module(skip)]
    pad: i64,
    #[module(skip)]
    dropped: Option<i64>,
}

impl Family for Esm {
    type Config = EsmConfig;

    fn check(config: &EsmConfig) -> Result<(), String> {
        positive(&[("vocab_size", config.vocab_size), ("max_position_embeddings", config.max_position_embeddings)])?;
        off(&[
            ("is_decoder", config.is_decoder.unwrap_or(false)),
            ("add_cross_attention", config.add_cross_attention.unwrap_or(false)),
            ("is_folding_model", config.is_folding_model.unwrap_or(false)),
        ])?;
        if config.token_dropout.unwrap_or(false) && config.mask_token_id.is_none() {
            return Err("`mask_token_id` must be given with `token_dropout`".into());
        }
        if config.is_absolute() {
            padding(config.pad_token_id, config.vocab_size, config.max_position_embeddings)?;
        }
        check(&config.trunk())
    }

    fn published(config: &EsmConfig) -> Published {
        let tied = ("lm_head.decoder.weight", "esm.embeddings.word_embeddings.weight");
        Published {
            prefix: "esm.",
            copies: if config.tie_word_embeddings { vec![tied] } else { Vec::new() },
            left_out: vec![
                ("contact_head.", "a head for contacts, which reads attention's weights"),
                ("classifier.", "a head for labels"),
                (
                    "embeddings.position_embeddings.weight",
                    "learned positions, which a model with rotary ones does not read",
                ),
            ],
            ..Published::default()
        }
    }

    fn layout(config: &EsmConfig, found: &Found) -> Layout {
        let width = config.hidden_size;
        let mut layout = Layout::default();
        let [words, positions, _] = EMBEDDINGS.map(|name| format!("esm.{name}"));
        let names = [&words, &positions, "esm.embeddings.layer_norm"];
        TextEmbeddings::layout(&mut layout, "embeddings", &config.embeddings(), names, &[]);
        layout.blocks("trunk", "esm.encoder.layer.{}", &config.trunk(), &BLOCK);
        layout.norm("trunk.norm", "esm.encoder.emb_layer_norm_after", width, NormKind::Layer);
        if found.has(POOLER) {
            layout.linear("pooler", "esm.pooler.dense", [width, width], true);
        }
        if WordsHead::is_there(found, HEAD) {
            config.head().layout(&mut layout, "head", HEAD, found);
        }
        layout
    }

    fn new(config: &EsmConfig, found: &Found, device: &Device) -> Self {
        let width = config.hidden_size;
        let pooler = || Linear::new(width, width, Draw::Normal(0.02), Seed::new(0), device);
        Self {
            embeddings: TextEmbeddings::new(&config.embeddings(), device),
            trunk: Transformer::new(&config.trunk(), Seed::new(0), device),
            pooler: found.has(POOLER).then(pooler),
            head: WordsHead::is_there(found, HEAD).then(|| config.head().build(device)),
            vocabulary: config.vocab_size,
            pad: config.pad_token_id.unwrap_or_default(),
            dropped: config.dropped(),
        }
    }

    fn reads(&self) -> Vec<Reads> {
        vec![Reads { mixes_lengths: false, ..Reads::TOKENS }]
    }

    /// Without dropped words all others count for how many were left in training.
    fn towers(&self, _picture: [usize; 2]) -> Vec<Tower> {
        let mut embeddings = self.embeddings.clone();
        if self.dropped.is_some() {
            embeddings.words.weight = embeddings.words.weight.map(|words| words * (1.0 - MASKED_IN_TRAINING));
        }
        vec![Tower::words(embeddings.tower(self.pad as usize + 1), &self.trunk)]
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let ids = inputs.ids("input_ids", self.vocabulary)?;
        let mask = inputs.mask("attention_mask", ids.dim().into())?;
        let x = self.embed(inputs, &ids)?; // [rows, tokens, width]
        let x = match &mask {
            Some(mask) => x * mask.clone().float().unsqueeze_dim(2),
            None => x,
        };
        let x = self.trunk.run(x, mask.as_ref(), None);
        let pooled = self.pooler.as_ref().map(|pooler| pooler.forward(first_token(x.clone())).tanh()); // [rows, width]
        let logits = self.head.as_ref().map(|head| head.forward(x.clone(), &self.embeddings.words));
        let answers = Answers::default().with_some("logits", logits).with_some("pooler_output", pooled);
        Ok(answers.with("last_hidden_state", x))
    }
}

impl Esm {
    /// Words, dropped ones as zeros, with positions and norm if it has them, `[rows, tokens, width]`
    fn embed(&self, inputs: &Inputs<'_>, ids: &Array2<i64>) -> Result<Tensor<3>, FamilyError> {
        let mut x = self.embeddings.words.forward(inputs.tensor(ids)); // [rows, tokens, width]
        if let Some(dropped) = self.dropped {
            let real = inputs.truths("attention_mask", &<[usize; 2]>::from(ids.dim()))?;
            let factors = dropout(ids, dropped, real.as_ref())?;
            x = x * tensor_f32::<3>(&factors.into_dyn(), inputs.device());
        }
        if let Some(table) = &self.embeddings.positions {
            let positions = within("input_ids", after_padding(ids, self.pad), Some(table))?;
            x = x + table.forward(inputs.tensor(&positions));
        }
        Ok(match &self.embeddings.norm {
            Some(norm) => norm.forward(x),
            None => x,
        })
    }
}

/// The factor of each word, `[rows, tokens, 1]`: 0 of dropped ones; the others make up for how many more or
/// fewer than in training there are.
fn dropout(ids: &Array2<i64>, dropped: i64, real: Option<&ArrayD<bool>>) -> Result<Array3<f32>, FamilyError> {
    let count = |row: usize| match real {
        Some(real) => real.index_axis(Axis(0), row).iter().filter(|&&real| real).count(),
        None => ids.ncols(),
    };
    let mut scales = Array1::zeros(ids.nrows());
    for (number, row) in ids.rows().into_iter().enumerate() {
        let (masked, tokens) = (row.iter().filter(|&&id| id == dropped).count(), count(number));
        if masked == tokens {
            let problem = format!("row {number} has as many masked words as real ones, which leaves nothing to read");
            return Err(FamilyError::input("input_ids", problem));
        }
        scales[number] = (1.0 - MASKED_IN_TRAINING) / (1.0 - masked as f32 / tokens as f32);
    }
    let (rows, tokens) = ids.dim();
    let factor = |(row, token, _)| if ids[[row, token]] == dropped { 0.0 } else { scales[row] };
    Ok(Array3::from_shape_fn((rows, tokens, 1), factor))
}

const POOLER: &str = "esm.pooler.dense.weight";

#[cfg(test)]
mod tests {
    use ndarray::{Array2, arr2};
    use sensorium_contract::Array;
    use serde_json::json;

    use super::dropout;
    use crate::tests::altered::Altered;

    #[test]
    fn words_make_up_for_dropped_ones() {
        let ids = arr2(&[[0, 5, 32, 2], [0, 5, 2, 1]]);
        let real = arr2(&[[true, true, true, true], [true, true, true, false]]).into_dyn();
        let factors = dropout(&ids, 32, Some(&real)).unwrap();
        assert_eq!(
            factors.iter().map(|f| (f * 1e4).round()).collect::<Vec<_>>()[..4],
            [11733.0, 11733.0, 0.0, 11733.0]
        );
        assert_eq!((factors[[1, 0, 0]] * 1e4).round(), 8800.0);
        assert!(dropout(&arr2(&[[32, 32]]), 32, None).is_err());
    }

    /// ESM-1b: learned positions and a norm of the embeddings.
    fn first(position_embedding_type: &str) -> Option<Altered> {
        let config = json!({"position_embedding_type": position_embedding_type, "emb_layer_norm_before": true});
        Altered::open("esm", config, |tensors| {
            let table = Array2::from_shape_fn((26, 32), |(row, column)| ((row * 7 + column * 3) % 11) as f32 / 11.0);
            tensors.insert("esm.embeddings.position_embeddings.weight".into(), Array::F32(table.into_dyn()));
            for part in ["weight", "bias"] {
                let like = tensors[&format!("esm.encoder.emb_layer_norm_after.{part}")].clone();
                tensors.insert(format!("esm.embeddings.layer_norm.{part}"), like);
            }
        })
    }

    #[test]
    fn learned_positions_skip_padding() {
        let Some(mut altered) = first("absolute") else { return };
        let plain = altered.answer("logits");
        assert_ne!(plain, first("rotary").unwrap().answer("logits"));
        // Two words of padding before each row.
        if let Some(Array::I64(ids)) = altered.inputs.get("input_ids").cloned() {
            let padded = |values: &dyn Fn(usize, usize) -> i64, fill| {
                let at = |(row, token)| if token < 2 { fill } else { values(row, token - 2) };
                Array::I64(Array2::from_shape_fn((2, 12), at).into_dyn())
            };
            altered.inputs.insert("input_ids".into(), padded(&|row, token| ids[[row, token]], 1));
            altered.inputs.insert("attention_mask".into(), padded(&|_, _| 1, 0));
        }
        let padded = altered.answer("logits");
        for row in 0..2 {
            let (plain, padded) = (&plain[row * 330..][..330], &padded[row * 396 + 66..][..330]);
            assert!(plain.iter().zip(padded).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }

    #[test]
    fn unknown_options_are_named() {
        let options = [
            ("position_embedding_type", json!("relative_key")),
            ("is_folding_model", json!(true)),
            ("is_decoder", json!(true)),
            ("mask_token_id", json!(null)),
        ];
        for (key, value) in options {
            let Some(altered) = Altered::open("esm", json!({key: value}), |_| ()) else { return };
            assert!(altered.problem().contains(&format!("`{key}`")), "{}", altered.problem());
        }
    }
}
