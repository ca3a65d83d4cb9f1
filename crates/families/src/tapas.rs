//! TAPAS (Herzig et al. 2020, "TAPAS: Weakly Supervised Table Parsing via Pre-training"): agrees with
//! `TapasForMaskedLM` and `TapasModel`.
//!
//! BERT's trunk over a question and a table; each token has a row, a column and ranks beside its segment, and
//! positions may start anew in each cell.

use std::collections::BTreeMap;

use burn::{module::Module, tensor::Device};
use ndarray::{Array2, Array3, Axis, Ix3};
use sensorium_backbone::{Draw, Linear, Transformer};
use sensorium_contract::Seed;
use serde::Deserialize;

use crate::{
    FamilyError,
    bert::{BLOCK, BertConfig, EMBEDDINGS},
    config::{Act, absolute, off},
    network::{Answers, Family, Found, Inputs, Layout, Published},
    parts::{LanguageHead, TextEmbeddings, TextIds, TextSizes, WordsHead, WordsNames, first_token},
    values::{check_range, counting, within},
};

/// `TapasConfig`; keys of its losses and of cell selection are left out.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct TapasConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: Act,
    pub max_position_embeddings: usize,
    pub type_vocab_sizes: Vec<usize>,
    pub layer_norm_eps: f64,
    pub reset_position_index_per_cell: bool,
    pub position_embedding_type: Option<String>,
    pub is_decoder: bool,
    pub add_cross_attention: bool,
    pub tie_word_embeddings: bool,
}

impl Default for TapasConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Act::Gelu,
            max_position_embeddings: 1024,
            type_vocab_sizes: vec![3, 256, 256, 2, 256, 256, 10],
            layer_norm_eps: 1e-12,
            reset_position_index_per_cell: true,
            position_embedding_type: None,
            is_decoder: false,
            add_cross_attention: false,
            tie_word_embeddings: true,
        }
    }
}

impl TapasConfig {
    fn bert(&self) -> BertConfig {
        BertConfig {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            intermediate_size: self.intermediate_size,
            hidden_act: self.hidden_act,
            max_position_embeddings: self.max_position_embeddings,
            layer_norm_eps: self.layer_norm_eps,
            ..BertConfig::default()
        }
    }

    fn embeddings(&self) -> TextSizes {
        TextSizes { types: self.type_vocab_sizes.clone(), ..self.bert().embeddings() }
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
}

/// Embeddings, trunk and the heads that its checkpoint has.
#[derive(Module, Debug)]
pub struct Tapas {
    embeddings: TextEmbeddings,
    trunk: Transformer,
    /// Of the first token, `[width, width]`.
    pooler: Option<Linear>,
    /// To the vocabulary.
    head: Option<LanguageHead>,
    #[module(skip)]
    vocabulary: usize,
    #[module(skip)]
    resets: bool,
}

impl Family for Tapas {
    type Config = TapasConfig;

    fn check(config: &TapasConfig) -> Result<(), String> {
        config.bert().check()?;
        absolute(config.position_embedding_type.as_deref())?;
        off(&[("is_decoder", config.is_decoder), ("add_cross_attention", config.add_cross_attention)])?;
        let kinds = &config.type_vocab_sizes;
        if kinds.contains(&0) {
            return Err("`type_vocab_sizes`: each must be above 0".into());
        }
        if config.reset_position_index_per_cell && kinds.len() <= ROW {
            return Err(format!("`type_vocab_sizes`: the third is of rows, found {} of them", kinds.len()));
        }
        Ok(())
    }

    fn published(config: &TapasConfig) -> Published {
        let mut published = Published {
            prefix: "tapas.",
            left_out: vec![
                ("output_weights", "a head that selects cells"),
                ("output_bias", "a head that selects cells"),
                ("column_output_weights", "a head that selects columns"),
                ("column_output_bias", "a head that selects columns"),
                ("aggregation_classifier.", "a head that chooses how cells are aggregated"),
                ("classifier.", "a head for labels"),
            ],
            ..Published::default()
        };
        if config.tie_word_embeddings {
            published.copies = vec![
                ("cls.predictions.decoder.weight", "tapas.embeddings.word_embeddings.weight"),
                ("cls.predictions.decoder.bias", "cls.predictions.bias"),
            ];
        } else {
            published.left_out.push(("cls.predictions.bias", "beside a decoder with a bias of its own"));
        }
        published
    }

    fn layout(config: &TapasConfig, found: &Found) -> Layout {
        let width = config.hidden_size;
        let mut layout = Layout::default();
        let names = EMBEDDINGS.map(|name| format!("tapas.{name}"));
        let types = 0..config.type_vocab_sizes.len();
        let types: Vec<String> =
            types.map(|number| format!("tapas.embeddings.token_type_embeddings_{number}")).collect();
        let types: Vec<&str> = types.iter().map(|name| &**name).collect();
        let names = names.each_ref().map(|name| &**name);
        TextEmbeddings::layout(&mut layout, "embeddings", &config.embeddings(), names, &types);
        layout.blocks("trunk", "tapas.encoder.layer.{}", &config.bert().trunk(), &BLOCK);
        if found.has(POOLER) {
            layout.linear("pooler", "tapas.pooler.dense", [width, width], true);
        }
        if WordsHead::is_there(found, HEAD) {
            config.head().layout(&mut layout, "head", HEAD, found);
        }
        layout
    }

    fn new(config: &TapasConfig, found: &Found, device: &Device) -> Self {
        let width = config.hidden_size;
        let pooler = || Linear::new(width, width, Draw::Normal(0.02), Seed::new(0), device);
        Self {
            embeddings: TextEmbeddings::new(&config.embeddings(), device),
            trunk: Transformer::new(&config.bert().trunk(), Seed::new(0), device),
            pooler: found.has(POOLER).then(pooler),
            head: WordsHead::is_there(found, HEAD).then(|| config.head().build(device)),
            vocabulary: config.vocab_size,
            resets: config.reset_position_index_per_cell,
        }
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let ids = inputs.ids("input_ids", self.vocabulary)?;
        let shape = ids.dim().into();
        let mask = inputs.mask("attention_mask", shape)?;
        let types = self.types(inputs, shape)?;
        let table = self.embeddings.positions.as_ref();
        let positions = match (self.resets, table) {
            (true, Some(table)) => within_cells(&types, table.values()),
            _ => within("input_ids", counting(shape), table)?,
        };
        let types = types.axis_iter(Axis(2)).map(|ids| inputs.tensor(&ids.to_owned())).collect();
        let ids_of = TextIds { positions: Some(inputs.tensor(&positions)), types };
        let x = self.embeddings.forward(inputs.tensor(&ids), ids_of); // [rows, tokens, width]
        let x = self.trunk.run(x, mask.as_ref(), None);
        let pooled = self.pooler.as_ref().map(|pooler| pooler.forward(first_token(x.clone())).tanh()); // [rows, width]
        let logits = self.head.as_ref().map(|head| head.forward(x.clone(), &self.embeddings.words));
        let answers = Answers::default().with_some("logits", logits).with_some("pooler_output", pooled);
        Ok(answers.with("last_hidden_state", x))
    }
}

impl Tapas {
    /// What each token is, `[rows, tokens, kinds]`; zeros if it is not given.
    fn types(&self, inputs: &Inputs<'_>, [rows, tokens]: [usize; 2]) -> Result<Array3<i64>, FamilyError> {
        const NAME: &str = "token_type_ids";
        let shape = [rows, tokens, self.embeddings.types.len()];
        if !inputs.has(NAME) {
            return Ok(Array3::zeros(shape));
        }
        let ids = inputs.integers(NAME)?;
        let found = ids.shape().to_vec();
        if found != shape {
            return Err(FamilyError::input(NAME, format!("expected shape {shape:?}, found {found:?}")));
        }
        for (ids, table) in ids.axis_iter(Axis(2)).zip(&self.embeddings.types) {
            check_range(NAME, ids.iter(), table.values())?;
        }
        let problem = |_| FamilyError::input(NAME, format!("expected shape {shape:?}, found {found:?}"));
        ids.into_dimensionality::<Ix3>().map_err(problem)
    }
}

/// Positions that count from the first token of the same cell, the last position serving all beyond it.
fn within_cells(types: &Array3<i64>, positions: usize) -> Array2<i64> {
    let (rows, tokens, _) = types.dim();
    let mut found = Array2::zeros((rows, tokens));
    for row in 0..rows {
        let mut firsts = BTreeMap::new();
        for token in 0..tokens {
            let cell = (types[[row, token, COLUMN]], types[[row, token, ROW]]);
            let first = *firsts.entry(cell).or_insert(token);
            found[[row, token]] = (token - first).min(positions - 1) as i64;
        }
    }
    found
}

/// Which kind is the column and which the row; both are 0 outside the table.
const COLUMN: usize = 1;
const ROW: usize = 2;

const POOLER: &str = "tapas.pooler.dense.weight";

const HEAD: WordsNames = WordsNames {
    transform: "cls.predictions.transform.dense",
    norm: "cls.predictions.transform.LayerNorm",
    decoder: "cls.predictions.decoder",
    bias: "cls.predictions.bias",
};

#[cfg(test)]
mod tests {
    use ndarray::Array3;
    use sensorium_contract::Array;
    use serde_json::json;

    use super::within_cells;
    use crate::tests::altered::Altered;

    #[test]
    fn positions_start_anew_in_each_cell() {
        let cells = [(0, 0), (0, 0), (1, 1), (1, 1), (1, 1), (2, 1), (1, 1), (0, 0)];
        let types = Array3::from_shape_fn((1, 8, 3), |(_, token, kind)| match kind {
            1 => cells[token].0,
            2 => cells[token].1,
            _ => 0,
        });
        assert_eq!(within_cells(&types, 6).into_raw_vec_and_offset().0, [0, 1, 0, 1, 2, 0, 4, 5]);
    }

    #[test]
    fn positions_may_count_on() {
        let Some(resets) = Altered::open("tapas", json!({}), |_| ()) else { return };
        let counts = Altered::open("tapas", json!({"reset_position_index_per_cell": false}), |_| ()).unwrap();
        assert_ne!(resets.answer("logits"), counts.answer("logits"));
    }

    #[test]
    fn kinds_are_checked() {
        let Some(mut altered) = Altered::open("tapas", json!({}), |_| ()) else { return };
        let problem =
            |altered: &Altered| altered.checkpoint.as_ref().unwrap().forward(&altered.inputs).unwrap_err().to_string();
        altered.inputs.insert("token_type_ids".into(), Array::I64(Array3::from_elem((2, 10, 7), 3).into_dyn()));
        assert!(problem(&altered).contains("ids from 0 to 2, found 3"), "{}", problem(&altered));
        altered.inputs.insert("token_type_ids".into(), Array::I64(Array3::zeros((2, 10, 6)).into_dyn()));
        assert!(problem(&altered).contains("[2, 10, 7]"), "{}", problem(&altered));
    }
}
