//! Whisper (Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision"): agrees with
//! `WhisperForConditionalGeneration` and `WhisperModel`.
//!
//! Two convolutions over the frames of a mel spectrogram, the second halving their number, then encoder and
//! decoder that normalise before each part; keys have no bias. The encoder's positions are sinusoidal and lie in
//! the file; the words' own table predicts the next word.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, module::conv1d, ops::ConvOptions},
};
use ndarray::Array2;
use sensorium_backbone::{Draw, Embedding, Memory, NormKind, Transformer, TransformerConfig, param};
use sensorium_contract::{Attention, Seed};
use sensorium_kernels::Activation;
use serde::Deserialize;

use crate::{
    FamilyError,
    bart::{DECODER_BLOCK, ENCODER_BLOCK},
    config::{Act, check, hidden_ratio, positive},
    generate::{Generates, Reading, last_token, no_head, of_one, same_rows},
    layout::BlockNames,
    network::{Answers, Family, Found, Inputs, Layout, Published},
    parts::{TextEmbeddings, TextIds, TextSizes},
    values::{counting, within},
};

/// `WhisperConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct WhisperConfig {
    vocab_size: usize,
    num_mel_bins: usize,
    d_model: usize,
    encoder_layers: usize,
    encoder_attention_heads: usize,
    encoder_ffn_dim: usize,
    decoder_layers: usize,
    decoder_attention_heads: usize,
    decoder_ffn_dim: usize,
    max_source_positions: usize,
    max_target_positions: usize,
    activation_function: Act,
    tie_word_embeddings: bool,
}

impl Default for WhisperConfig {
    fn default() -> Self {
        Self {
            vocab_size: 51_865,
            num_mel_bins: 80,
            d_model: 384,
            encoder_layers: 4,
            encoder_attention_heads: 6,
            encoder_ffn_dim: 1536,
            decoder_layers: 4,
            decoder_attention_heads: 6,
            decoder_ffn_dim: 1536,
            max_source_positions: 1500,
            max_target_positions: 448,
            activation_function: Act::Gelu,
            tie_word_embeddings: true,
        }
    }
}

/// Frames that a convolution reads at once.
const KERNEL: usize = 3;
/// Frames for each of the encoder's tokens.
const FRAMES: usize = 2;

impl WhisperConfig {
    fn check(&self) -> Result<(), String> {
        positive(&[
            ("vocab_size", self.vocab_size),
            ("num_mel_bins", self.num_mel_bins),
            ("d_model", self.d_model),
            ("max_source_positions", self.max_source_positions),
            ("max_target_positions", self.max_target_positions),
        ])?;
        if !self.tie_word_embeddings {
            return Err("`tie_word_embeddings`: only true is known here".into());
        }
        check(&self.encoder())?;
        check(&self.decoder())
    }

    fn encoder(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.encoder_layers,
            width: self.d_model,
            heads: self.encoder_attention_heads,
            hidden_ratio: hidden_ratio(self.encoder_ffn_dim, self.d_model),
            activation: self.activation_function.into(),
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

    fn embeddings(&self) -> TextSizes {
        TextSizes {
            vocabulary: self.vocab_size,
            positions: Some(self.max_target_positions),
            types: Vec::new(),
            width: self.d_model,
            epsilon: None,
        }
    }
}

/// A convolution over frames, followed by a GELU.
#[derive(Module, Debug)]
pub struct Convolution {
    /// `[outputs, inputs, KERNEL]`
    weight: Param<Tensor<3>>,
    /// `[outputs]`
    bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
}

impl Convolution {
    fn new(inputs: usize, outputs: usize, stride: usize, device: &Device) -> Self {
        let seed = Seed::new(0);
        Self {
            weight: param([outputs, inputs, KERNEL], Draw::Normal(0.02), seed, device),
            bias: param([outputs], Draw::Constant(0.0), seed, device),
            stride,
        }
    }

    fn layout(layout: &mut Layout, own: &str, theirs: &str, [inputs, outputs]: [usize; 2]) {
        layout.tensor(format!("{own}.weight"), format!("{theirs}.weight"), &[outputs, inputs, KERNEL]);
        layout.tensor(format!("{own}.bias"), format!("{theirs}.bias"), &[outputs]);
    }

    /// `[rows, inputs, frames]` → `[rows, outputs, frames / stride]`
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let options = ConvOptions::new([self.stride], [KERNEL / 2], [1], 1);
        Activation::Gelu.apply(conv1d(x, self.weight.val(), Some(self.bias.val()), options))
    }
}

/// Words and their trunk.
#[derive(Module, Debug)]
pub struct Decoder {
    embeddings: TextEmbeddings,
    trunk: Transformer,
}

/// Convolutions and trunk of the encoder, and the decoder.
#[derive(Module, Debug)]
pub struct Whisper {
    convolution1: Convolution,
    convolution2: Convolution,
    /// Of the encoder's tokens, `[positions, width]`; training leaves them as they are.
    positions: Embedding,
    encoder: Transformer,
    /// Missing where only the encoder is published.
    decoder: Option<Decoder>,
    #[module(skip)]
    vocabulary: usize,
}

impl Whisper {
    /// What the encoder answers to mel frames `[rows, mels, frames]`, `[rows, tokens, width]`
    fn encode(&self, inputs: &Inputs<'_>) -> Result<Memory, FamilyError> {
        let features = inputs.floats::<3>("input_features")?;
        let [rows, mels, frames] = features.dims();
        let [_, expected_mels, _] = self.convolution1.weight.dims();
        let expected = FRAMES * self.positions.values();
        if rows == 0 || [mels, frames] != [expected_mels, expected] {
            let problem =
                format!("expected shape [rows, {expected_mels}, {expected}], found [{rows}, {mels}, {frames}]");
            return Err(FamilyError::input("input_features", problem));
        }
        let x = self.convolution2.forward(self.convolution1.forward(features)); // [rows, width, tokens]
        let x = x.swap_dims(1, 2) + self.positions.weight.val().unsqueeze(); // [rows, tokens, width]
        Ok(Memory { values: self.encoder.run(x, None, None), mask: None })
    }
}

impl Family for Whisper {
    type Config = WhisperConfig;

    fn check(config: &WhisperConfig) -> Result<(), String> {
        config.check()
    }

    fn published(_config: &WhisperConfig) -> Published {
        Published {
            prefix: "model.",
            copies: vec![("proj_out.weight", "model.decoder.embed_tokens.weight")],
            left_out: vec![
                ("projector.", "a head for labels"),
                ("classifier.", "a head for labels"),
                ("layer_weights", "a head for labels"),
            ],
            ..Published::default()
        }
    }

    fn layout(config: &WhisperConfig, found: &Found) -> Layout {
        let width = config.d_model;
        let mut layout = Layout::default();
        Convolution::layout(&mut layout, "convolution1", "model.encoder.conv1", [config.num_mel_bins, width]);
        Convolution::layout(&mut layout, "convolution2", "model.encoder.conv2", [width, width]);
        layout.embedding("positions", "model.encoder.embed_positions", config.max_source_positions, width);
        let names = BlockNames { no_key_bias: true, ..ENCODER_BLOCK };
        layout.blocks("encoder", "model.encoder.layers.{}", &config.encoder(), &names);
        layout.norm("encoder.norm", "model.encoder.layer_norm", width, NormKind::Layer);
        if found.has(DECODER) {
            let embeddings = ["model.decoder.embed_tokens", "model.decoder.embed_positions", ""];
            TextEmbeddings::layout(&mut layout, "decoder.embeddings", &config.embeddings(), embeddings, &[]);
            let names = BlockNames { no_key_bias: true, ..DECODER_BLOCK };
            layout.blocks("decoder.trunk", "model.decoder.layers.{}", &config.decoder(), &names);
            layout.norm("decoder.trunk.norm", "model.decoder.layer_norm", width, NormKind::Layer);
        }
        layout
    }

    fn new(config: &WhisperConfig, found: &Found, device: &Device) -> Self {
        let (width, seed) = (config.d_model, Seed::new(0));
        let sinusoids = param([config.max_source_positions, width], Draw::Constant(0.0), seed, device);
        let decoder = || Decoder {
            embeddings: TextEmbeddings::new(&config.embeddings(), device),
            trunk: Transformer::new(&config.decoder(), seed, device),
        };
        Self {
            convolution1: Convolution::new(config.num_mel_bins, width, 1, device),
            convolution2: Convolution::new(width, width, FRAMES, device),
            positions: Embedding { weight: sinusoids.set_require_grad(false) },
            encoder: Transformer::new(&config.encoder(), seed, device),
            decoder: found.has(DECODER).then(decoder),
            vocabulary: config.vocab_size,
        }
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let memory = self.encode(inputs)?;
        let Some(Decoder { embeddings, trunk }) = &self.decoder else {
            return Ok(Answers::default().with("last_hidden_state", memory.values));
        };
        let ids = inputs.ids("decoder_input_ids", self.vocabulary)?;
        same_rows(&memory, &ids)?;
        let mask = inputs.mask("decoder_attention_mask", ids.dim().into())?;
        let positions = within("decoder_input_ids", counting(ids.dim().into()), embeddings.positions.as_ref())?;
        let ids_of = TextIds { positions: Some(inputs.tensor(&positions)), types: Vec::new() };
        let x = embeddings.forward(inputs.tensor(&ids), ids_of); // [rows, tokens, width]
        let x = trunk.run(x, mask.as_ref(), Some(&memory));
        Ok(Answers::default()
            .with("logits", embeddings.words.logits(x.clone(), None))
            .with("last_hidden_state", x)
            .with("encoder_last_hidden_state", memory.values))
    }
}

impl Generates for Whisper {
    fn start(&self, inputs: &Inputs<'_>) -> Result<Reading, FamilyError> {
        Ok(Reading::new(inputs, Some(self.encode(inputs)?)))
    }

    fn step(&self, reading: &mut Reading, ids: &Array2<i64>) -> Result<Tensor<2>, FamilyError> {
        let Decoder { embeddings, trunk } = self.decoder.as_ref().ok_or_else(no_head)?;
        let x = reading.embed(embeddings, ids)?; // [rows, tokens, width]
        let x = trunk.step(x, None, reading.memory.as_ref(), &mut reading.cache);
        Ok(of_one(embeddings.words.logits(last_token(x), None)))
    }
}

const DECODER: &str = "model.decoder.layer_norm.weight";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Checkpoint,
        tests::{case, changed, shared},
    };

    #[test]
    fn the_encoder_may_be_alone() {
        let Some(shared) = shared() else { return };
        let (from, folder) = (shared.join("parity/whisper"), tempfile::tempdir().unwrap());
        changed(&from, folder.path(), |_| (), |tensors| tensors.retain(|name, _| !name.starts_with("model.decoder.")));
        let [inputs, expected] = case(&from);
        let checkpoint = Checkpoint::open(folder.path(), &Device::flex()).unwrap();
        let answers = checkpoint.forward(&inputs).unwrap();
        assert_eq!(answers["last_hidden_state"].shape(), expected["encoder_last_hidden_state"].shape());
        assert!(!answers.contains_key("logits"));
        let mut reading = whisper(&checkpoint).start(&Inputs::new(&inputs, &Device::flex())).unwrap();
        let error = whisper(&checkpoint).step(&mut reading, &Array2::zeros([2, 1])).unwrap_err().to_string();
        assert!(error.contains("no head"), "{error}");
    }

    fn whisper(checkpoint: &Checkpoint) -> &dyn Generates {
        checkpoint.network.generates().unwrap()
    }
}
