//! ViLT (Kim et al. 2021, "ViLT: Vision-and-Language Transformer Without Convolution or Region Supervision"):
//! agrees with `ViltForMaskedLM`, `ViltForQuestionAnswering`, `ViltForImageAndTextRetrieval` and `ViltModel`.
//!
//! One plain trunk over the words of a text and the patches of a picture, each with a vector for its kind. Pictures
//! may have any size and fill only a part of their frame: positions are interpolated to the part that they fill.
//! The reference shuffles patches; here they stay in their order.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use ndarray::{Array2, Array3, ArrayD};
use sensorium_backbone::{Biases, Draw, Embedding, Linear, Norm, NormKind, Transformer, TransformerConfig};
use sensorium_contract::{Seed, tensor_bool, tensor_f32};
use sensorium_kernels::Activation;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    FamilyError,
    config::{Act, check, hidden_ratio, positive},
    flava::BLOCK,
    network::{Answers, Family, Found, Inputs, Layout, Published},
    parts::{
        Frame, LanguageHead, PictureEmbeddings, PictureSizes, TextEmbeddings, TextIds, TextSizes, by_patch, first_token,
    },
    values::{counting, within},
};

/// `ViltConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct ViltConfig {
    pub vocab_size: usize,
    pub type_vocab_size: usize,
    pub modality_type_vocab_size: usize,
    pub max_position_embeddings: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: Act,
    pub layer_norm_eps: f64,
    pub image_size: usize,
    pub patch_size: usize,
    pub num_channels: usize,
    pub qkv_bias: bool,
    pub max_image_length: Option<i64>,
    pub num_images: i64,
    pub tie_word_embeddings: bool,
    pub id2label: Option<Map<String, Value>>,
    pub num_labels: Option<usize>,
}

impl Default for ViltConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            type_vocab_size: 2,
            modality_type_vocab_size: 2,
            max_position_embeddings: 40,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Act::Gelu,
            layer_norm_eps: 1e-12,
            image_size: 384,
            patch_size: 32,
            num_channels: 3,
            qkv_bias: true,
            max_image_length: Some(-1),
            num_images: -1,
            tie_word_embeddings: true,
            id2label: None,
            num_labels: None,
        }
    }
}

impl ViltConfig {
    fn trunk(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            heads: self.num_attention_heads,
            hidden_ratio: hidden_ratio(self.intermediate_size, self.hidden_size),
            activation: self.hidden_act.into(),
            epsilon: self.layer_norm_eps,
            biases: Biases { qkv: self.qkv_bias, ..Biases::default() },
            ..TransformerConfig::default()
        }
    }

    fn pictures(&self) -> PictureSizes {
        PictureSizes {
            channels: self.num_channels,
            picture: [self.image_size; 2],
            patch: [self.patch_size; 2],
            stride: [self.patch_size; 2],
            width: self.hidden_size,
            first: &["cls_token"],
            bias: true,
            hidden: None,
        }
    }

    fn embeddings(&self) -> TextSizes {
        TextSizes {
            vocabulary: self.vocab_size,
            positions: Some(self.max_position_embeddings),
            types: vec![self.type_vocab_size],
            width: self.hidden_size,
            epsilon: Some(self.layer_norm_eps),
        }
    }

    /// Answers that the head for questions knows.
    fn labels(&self) -> usize {
        self.id2label.as_ref().map(Map::len).or(self.num_labels).unwrap_or(2)
    }

    /// Most patches of a picture; nothing where all are read.
    fn most_patches(&self) -> Option<usize> {
        self.max_image_length.and_then(|most| usize::try_from(most).ok())
    }
}

/// From the pooled features to answers of a question.
#[derive(Module, Debug)]
pub struct QuestionHead {
    /// `[width, 2 · width]`
    up: Linear,
    norm: Norm,
    /// `[2 · width, answers]`
    out: Linear,
}

impl QuestionHead {
    fn new(width: usize, labels: usize, device: &Device) -> Self {
        let linear = |inputs, outputs| Linear::new(inputs, outputs, Draw::Normal(0.02), Seed::new(0), device);
        let norm = Norm::new(NormKind::Layer, 2 * width, 1e-5, Seed::new(0), device);
        Self { up: linear(width, 2 * width), norm, out: linear(2 * width, labels) }
    }

    /// `[rows, width]` → `[rows, answers]`
    fn forward(&self, pooled: Tensor<2>) -> Tensor<2> {
        let hidden = self.norm.forward(self.up.forward(pooled).unsqueeze_dim(1)); // [rows, 1, 2 · width]
        self.out.forward(Activation::Gelu.apply(hidden).squeeze_dim::<2>(1))
    }
}

/// Embeddings, trunk and the heads that its checkpoint has.
#[derive(Module, Debug)]
pub struct Vilt {
    words: TextEmbeddings,
    pictures: PictureEmbeddings,
    /// Text or picture, `[kinds, width]`.
    kinds: Embedding,
    trunk: Transformer,
    /// Of the first word, `[width, width]`.
    pooler: Option<Linear>,
    /// To the vocabulary.
    predictions: Option<LanguageHead>,
    /// To answers of a question.
    answers: Option<QuestionHead>,
    /// How well text and picture fit, `[width, 1]`.
    rank: Option<Linear>,
    /// Rows and columns of the patches that have a learned position.
    #[module(skip)]
    grid: [usize; 2],
    #[module(skip)]
    most_patches: Option<usize>,
}

impl Family for Vilt {
    type Config = ViltConfig;

    fn check(config: &ViltConfig) -> Result<(), String> {
        positive(&[
            ("vocab_size", config.vocab_size),
            ("type_vocab_size", config.type_vocab_size),
            ("max_position_embeddings", config.max_position_embeddings),
            ("id2label", config.labels()),
        ])?;
        if config.modality_type_vocab_size < 2 {
            return Err("`modality_type_vocab_size`: expected 2 or more, a kind for texts and one for pictures".into());
        }
        if config.max_image_length == Some(0) {
            return Err("`max_image_length`: expected a number above 0, or below 0 for any".into());
        }
        config.pictures().check()?;
        check(&config.trunk())
    }

    fn published(config: &ViltConfig) -> Published {
        let tied = ("mlm_score.decoder.weight", "vilt.embeddings.text_embeddings.word_embeddings.weight");
        Published {
            prefix: "vilt.",
            renames: vec![("mlm_score.bias", "mlm_score.decoder.bias")],
            copies: if config.tie_word_embeddings { vec![tied] } else { Vec::new() },
            left_out: vec![("itm_score.", "a head of pretraining"), ("classifier.", "a head for labels")],
        }
    }

    fn layout(config: &ViltConfig, found: &Found) -> Layout {
        let (width, vocabulary, sizes) = (config.hidden_size, config.vocab_size, config.pictures());
        let mut layout = Layout::default();
        let names = ["word_embeddings", "position_embeddings", "LayerNorm"];
        let names = names.map(|name| format!("vilt.embeddings.text_embeddings.{name}"));
        let types = ["vilt.embeddings.text_embeddings.token_type_embeddings"];
        TextEmbeddings::layout(
            &mut layout,
            "words",
            &config.embeddings(),
            names.each_ref().map(|name| &**name),
            &types,
        );
        PictureEmbeddings::layout(&mut layout, "pictures", "vilt.embeddings", &sizes);
        layout.embedding("kinds", "vilt.embeddings.token_type_embeddings", config.modality_type_vocab_size, width);
        layout.blocks("trunk", "vilt.encoder.layer.{}", &config.trunk(), &BLOCK);
        layout.norm("trunk.norm", "vilt.layernorm", width, NormKind::Layer);
        if found.has(POOLER) {
            layout.linear("pooler", "vilt.pooler.dense", [width, width], true);
        }
        if found.has(PREDICTIONS) {
            let names = ["mlm_score.transform.dense", "mlm_score.transform.LayerNorm", PREDICTIONS];
            match config.tie_word_embeddings {
                true => LanguageHead::transformed_layout(&mut layout, "predictions", [width, vocabulary], names),
                false => {
                    layout.linear("predictions.transform", names[0], [width, width], true);
                    layout.norm("predictions.norm", names[1], width, NormKind::Layer);
                    layout.linear("predictions.decoder", "mlm_score.decoder", [width, vocabulary], true);
                }
            }
        }
        if config.answers_questions(found) {
            layout.linear("answers.up", "classifier.0", [width, 2 * width], true);
            layout.norm("answers.norm", "classifier.1", 2 * width, NormKind::Layer);
            layout.linear("answers.out", "classifier.3", [2 * width, config.labels()], true);
        }
        if found.has(RANK) {
            layout.linear("rank", "rank_output", [width, 1], true);
        }
        layout
    }

    fn new(config: &ViltConfig, found: &Found, device: &Device) -> Self {
        let (width, vocabulary, draw, seed) = (config.hidden_size, config.vocab_size, Draw::Normal(0.02), Seed::new(0));
        let linear = |outputs| Linear::new(width, outputs, draw, seed, device);
        let predictions = || {
            let tied =
                LanguageHead::transformed([width, vocabulary], config.hidden_act.into(), config.layer_norm_eps, device);
            match config.tie_word_embeddings {
                true => tied,
                false => LanguageHead { decoder: Some(linear(vocabulary)), bias: None, ..tied },
            }
        };
        Self {
            words: TextEmbeddings::new(&config.embeddings(), device),
            pictures: PictureEmbeddings::new(&config.pictures(), device),
            kinds: Embedding::new(config.modality_type_vocab_size, width, draw, seed, device),
            trunk: Transformer::new(&config.trunk(), seed, device),
            pooler: found.has(POOLER).then(|| linear(width)),
            predictions: found.has(PREDICTIONS).then(predictions),
            answers: config.answers_questions(found).then(|| QuestionHead::new(width, config.labels(), device)),
            rank: found.has(RANK).then(|| linear(1)),
            grid: config.pictures().grid(),
            most_patches: config.most_patches(),
        }
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let text = self.read(inputs)?;
        let picture = self.see(inputs)?;
        let ([rows, words, width], [pictures, ..]) = (text.values.dims(), picture.values.dims());
        if rows != pictures {
            let problem = format!("expected a picture for each of {rows} texts, found {pictures}");
            return Err(FamilyError::input("pixel_values", problem));
        }
        let x = Tensor::cat(vec![text.values, picture.values], 1); // [rows, words + patches, width]
        let mask = mask(&text.real, &picture.real).map(|real| tensor_bool(&real.into_dyn(), inputs.device()));
        let x = self.trunk.run(x, mask.as_ref(), None);
        let pooled = self.pooler.as_ref().map(|pooler| pooler.forward(first_token(x.clone())).tanh()); // [rows, width]
        let answers = match (&self.predictions, &self.answers, &self.rank, &pooled) {
            (Some(head), ..) => {
                let text = x.clone().slice([0..rows, 0..words, 0..width]);
                Answers::default().with("logits", head.forward(text, &self.words.words))
            }
            (None, Some(head), _, Some(pooled)) => Answers::default().with("logits", head.forward(pooled.clone())),
            (None, None, Some(rank), Some(pooled)) => {
                Answers::default().with("logits", rank.forward::<2>(pooled.clone()))
            }
            _ => Answers::default(),
        };
        Ok(answers.with("last_hidden_state", x).with_some("pooler_output", pooled))
    }
}

/// What enters the trunk from one side.
struct Tokens {
    /// `[rows, tokens, width]`
    values: Tensor<3>,
    /// True where a token is real, `[rows, tokens]`.
    real: ArrayD<bool>,
}

/// The masks of both sides, `[rows, words + patches]`; nothing if they hide nothing.
fn mask(words: &ArrayD<bool>, patches: &ArrayD<bool>) -> Option<Array2<bool>> {
    let ([rows, first], second) = ([words.shape()[0], words.shape()[1]], patches.shape()[1]);
    let both = Array2::from_shape_fn([rows, first + second], |(row, token)| match token.checked_sub(first) {
        None => words[[row, token]],
        Some(patch) => patches[[row, patch]],
    });
    (!both.iter().all(|&real| real)).then_some(both)
}

impl Vilt {
    fn read(&self, inputs: &Inputs<'_>) -> Result<Tokens, FamilyError> {
        let ids = inputs.ids("input_ids", self.words.words.values())?;
        let shape: [usize; 2] = ids.dim().into();
        let real = inputs.truths("attention_mask", &shape)?;
        let types = inputs.ids_or_zeros("token_type_ids", shape, self.words.types[0].values())?;
        let positions = within("input_ids", counting(shape), self.words.positions.as_ref())?;
        let ids_of = TextIds { positions: Some(inputs.tensor(&positions)), types: vec![inputs.tensor(&types)] };
        let x = self.words.forward(inputs.tensor(&ids), ids_of); // [rows, words, width]
        Ok(Tokens { values: x + self.kind(0), real: real.unwrap_or_else(|| ArrayD::from_elem(shape.to_vec(), true)) })
    }

    fn see(&self, inputs: &Inputs<'_>) -> Result<Tokens, FamilyError> {
        let pixels = self.pictures.pixels(inputs)?;
        let [rows, _, height, width] = pixels.dims();
        let frame = self.frame(inputs, [rows, height, width])?;
        let patches = self.pictures.patches.forward(pixels); // [rows, patches of the frame, width]
        let [_, _, width] = patches.dims();
        let (_, count) = frame.patches.dim();
        let chosen = inputs.tensor(&frame.patches).unsqueeze_dim::<3>(2).expand([rows, count, width]);
        let positions = self.positions(&frame, inputs.device());
        let x = self.pictures.placed(patches.gather(1, chosen), positions) + self.kind(1); // [rows, 1 + patches, width]
        Ok(Tokens { values: x, real: frame.real.into_dyn() })
    }

    /// What each picture fills of its frame: all, if `pixel_mask` does not say.
    fn frame(&self, inputs: &Inputs<'_>, [rows, height, width]: [usize; 3]) -> Result<Frame, FamilyError> {
        const MASK: &str = "pixel_mask";
        let frame = self.pictures.patches.grid([height, width]);
        let filled = match inputs.truths(MASK, &[rows, height, width])? {
            Some(pixels) => {
                by_patch(&Array3::from_shape_fn([rows, height, width], |(row, y, x)| pixels[[row, y, x]]), frame)
            }
            None => Array3::from_elem([rows, frame[0], frame[1]], true),
        };
        Frame::new(&filled, self.grid, self.most_patches).map_err(|problem| FamilyError::input(MASK, problem))
    }

    /// Learned positions, interpolated to the part that each picture fills, `[rows, 1 + patches, width]`.
    fn positions(&self, frame: &Frame, device: &Device) -> Tensor<3> {
        let learned = self.pictures.positions.val();
        let ([_, positions, width], (rows, tokens, _)) = (learned.dims(), frame.weights.dim());
        let weights: Tensor<3> = tensor_f32(&frame.weights.clone().into_dyn(), device);
        weights
            .reshape([rows * tokens, positions])
            .matmul(learned.reshape([positions, width]))
            .reshape([rows, tokens, width])
    }

    /// The vector of texts, 0, or of pictures, 1: `[1, 1, width]`.
    fn kind(&self, kind: usize) -> Tensor<3> {
        self.kinds.weight.val().narrow(0, kind, 1).unsqueeze()
    }
}

impl ViltConfig {
    /// Whether the head for questions is there; that for several pictures has the same names.
    fn answers_questions(&self, found: &Found) -> bool {
        self.num_images < 2 && found.has("classifier.3.weight")
    }
}

const POOLER: &str = "vilt.pooler.dense.weight";
const PREDICTIONS: &str = "mlm_score.decoder.bias";
const RANK: &str = "rank_output.weight";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_patches_may_be_allowed() {
        let most = |length| ViltConfig { max_image_length: length, ..ViltConfig::default() }.most_patches();
        assert_eq!([Some(-1), None, Some(40)].map(most), [None, None, Some(40)]);
    }
}
