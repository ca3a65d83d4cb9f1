//! Audio Spectrogram Transformer (Gong et al. 2021, "AST: Audio Spectrogram Transformer"): agrees with
//! `ASTForAudioClassification` and `ASTModel`.
//!
//! ViT over overlapping patches of a mel spectrogram, with a second learned token; both their features are read.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use sensorium_backbone::{Biases, Draw, Linear, Norm, NormKind, Transformer, TransformerConfig};
use sensorium_contract::{Pool, Seed};
use serde::Deserialize;

use crate::{
    FamilyError,
    config::{Act, Labels, check, hidden_ratio, labels, positive},
    network::{Answers, Content, Family, Found, Inputs, Layout, Published, Reads},
    parts::{PictureEmbeddings, PictureSizes},
    vit::BLOCK,
};

/// `ASTConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct AstConfig {
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: Act,
    pub layer_norm_eps: f64,
    pub patch_size: usize,
    pub qkv_bias: bool,
    pub frequency_stride: usize,
    pub time_stride: usize,
    pub max_length: usize,
    pub num_mel_bins: usize,
    pub num_labels: Option<usize>,
    pub id2label: Option<Labels>,
}

impl Default for AstConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Act::Gelu,
            layer_norm_eps: 1e-12,
            patch_size: 16,
            qkv_bias: true,
            frequency_stride: 10,
            time_stride: 10,
            max_length: 1024,
            num_mel_bins: 128,
            num_labels: None,
            id2label: None,
        }
    }
}

impl AstConfig {
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

    fn embeddings(&self) -> PictureSizes {
        PictureSizes {
            channels: 1,
            picture: [self.num_mel_bins, self.max_length],
            patch: [self.patch_size; 2],
            stride: [self.frequency_stride, self.time_stride],
            width: self.hidden_size,
            first: &["cls_token", "distillation_token"],
            bias: true,
            hidden: None,
        }
    }

    fn labels(&self) -> usize {
        labels(self.num_labels, self.id2label.as_ref())
    }
}

/// Embeddings, trunk and the head that its checkpoint may have.
#[derive(Module, Debug)]
pub struct Ast {
    embeddings: PictureEmbeddings,
    trunk: Transformer,
    /// Of the mean of the two learned tokens.
    norm: Option<Norm>,
    /// After `norm`, `[width, labels]`.
    classifier: Option<Linear>,
    /// Frames and mel bands.
    #[module(skip)]
    spectrogram: [usize; 2],
}

impl Family for Ast {
    type Config = AstConfig;

    fn check(config: &AstConfig) -> Result<(), String> {
        positive(&[
            ("frequency_stride", config.frequency_stride),
            ("time_stride", config.time_stride),
            ("max_length", config.max_length),
            ("num_mel_bins", config.num_mel_bins),
        ])?;
        config.embeddings().check()?;
        check(&config.trunk())
    }

    fn published(_config: &AstConfig) -> Published {
        Published { prefix: "audio_spectrogram_transformer.", ..Published::default() }
    }

    fn layout(config: &AstConfig, found: &Found) -> Layout {
        let width = config.hidden_size;
        let mut layout = Layout::default();
        let names = "audio_spectrogram_transformer.embeddings";
        PictureEmbeddings::layout(&mut layout, "embeddings", names, &config.embeddings());
        layout.blocks("trunk", "audio_spectrogram_transformer.encoder.layer.{}", &config.trunk(), &BLOCK);
        layout.norm("trunk.norm", "audio_spectrogram_transformer.layernorm", width, NormKind::Layer);
        if found.has(CLASSIFIER) {
            layout.norm("norm", "classifier.layernorm", width, NormKind::Layer);
            layout.linear("classifier", "classifier.dense", [width, config.labels()], true);
        }
        layout
    }

    fn new(config: &AstConfig, found: &Found, device: &Device) -> Self {
        let (width, seed) = (config.hidden_size, Seed::new(0));
        let head = found.has(CLASSIFIER);
        Self {
            embeddings: PictureEmbeddings::new(&config.embeddings(), device),
            trunk: Transformer::new(&config.trunk(), seed, device),
            norm: head.then(|| Norm::new(NormKind::Layer, width, config.layer_norm_eps, seed, device)),
            classifier: head.then(|| Linear::new(width, config.labels(), Draw::Normal(0.02), seed, device)),
            spectrogram: [config.max_length, config.num_mel_bins],
        }
    }

    fn reads(&self) -> Vec<Reads> {
        vec![Reads {
            content: Content::Spectrogram,
            vectors: &["pooler_output"],
            mixes_lengths: false,
            pool: Pool::Mean,
        }]
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let mels = inputs.floats::<3>(MELS)?;
        let ([rows, frames, bands], [all, each]) = (mels.dims(), self.spectrogram);
        if [frames, bands] != self.spectrogram || rows == 0 {
            let problem =
                format!("expected rows of {all} frames of {each} mel bands, found {rows} of {frames} of {bands}");
            return Err(FamilyError::input(MELS, problem));
        }
        let picture = mels.swap_dims(1, 2).unsqueeze_dim(1); // [rows, 1, bands, frames]
        let x = self.embeddings.tokens(picture, inputs)?; // [rows, patches, width]
        let x = self.trunk.run(self.embeddings.placed(x, self.embeddings.positions.val()), None, None);
        let pooled: Tensor<3> = x.clone().narrow(1, 0, 2).mean_dim(1); // [rows, 1, width]
        let answers = Answers::default().with("last_hidden_state", x);
        let logits = match (&self.norm, &self.classifier) {
            (Some(norm), Some(classifier)) => Some(classifier.forward(norm.forward(pooled.clone())).squeeze_dim(1)),
            _ => None,
        };
        let pooled: Tensor<2> = pooled.squeeze_dim(1);
        Ok(answers.with("pooler_output", pooled).with_some::<2>("logits", logits))
    }
}

/// A spectrogram, `[rows, frames, mel bands]`.
const MELS: &str = "input_values";
const CLASSIFIER: &str = "classifier.dense.weight";
