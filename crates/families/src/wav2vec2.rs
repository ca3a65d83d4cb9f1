//! wav2vec 2.0 (Baevski et al. 2020, "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech
//! Representations"): agrees with `Wav2Vec2Model` and `Wav2Vec2ForCTC`.
//!
//! A trunk over frames of raw sound, which convolutions make; another convolution gives positions.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use ndarray::{Array2, ArrayD};
use sensorium_backbone::{Draw, Linear, Norm, NormKind, NormPlace, Transformer, TransformerConfig, param};
use sensorium_contract::{Pool, Seed, tensor_bool};
use serde::Deserialize;

use crate::{
    FamilyError,
    config::{Act, check, hidden_ratio, positive},
    layout::BlockNames,
    network::{Answers, Content, Family, Found, Inputs, Layout, Published, Reads},
    parts::{WaveEncoder, WaveNorms, WavePositions, WaveSizes, replaced},
};

/// Largest size of a convolution.
const MOST: usize = 1 << 20;

/// `Wav2Vec2Config`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct Wav2Vec2Config {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: Act,
    pub layer_norm_eps: f64,
    pub feat_extract_norm: ExtractNorm,
    pub feat_extract_activation: Act,
    pub conv_dim: Vec<usize>,
    pub conv_stride: Vec<usize>,
    pub conv_kernel: Vec<usize>,
    pub conv_bias: bool,
    pub num_conv_pos_embeddings: usize,
    pub num_conv_pos_embedding_groups: usize,
    pub do_stable_layer_norm: bool,
    pub apply_spec_augment: bool,
    pub add_adapter: bool,
    pub adapter_attn_dim: Option<usize>,
}

/// Norms of the convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ExtractNorm {
    Group,
    Layer,
}

impl Default for Wav2Vec2Config {
    fn default() -> Self {
        Self {
            vocab_size: 32,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Act::Gelu,
            layer_norm_eps: 1e-5,
            feat_extract_norm: ExtractNorm::Group,
            feat_extract_activation: Act::Gelu,
            conv_dim: vec![512; 7],
            conv_stride: vec![5, 2, 2, 2, 2, 2, 2],
            conv_kernel: vec![10, 3, 3, 3, 3, 2, 2],
            conv_bias: false,
            num_conv_pos_embeddings: 128,
            num_conv_pos_embedding_groups: 16,
            do_stable_layer_norm: false,
            apply_spec_augment: true,
            add_adapter: false,
            adapter_attn_dim: None,
        }
    }
}

/// The names of a block.
const BLOCK: BlockNames<'_> = BlockNames {
    norm1: "layer_norm",
    qkv: &["attention.q_proj", "attention.k_proj", "attention.v_proj"],
    out: "attention.out_proj",
    scale1: None,
    cross: None,
    norm2: "final_layer_norm",
    up: "feed_forward.intermediate_dense",
    gate: None,
    down: "feed_forward.output_dense",
    scale2: None,
    conv1d: false,
    no_key_bias: false,
};

impl Wav2Vec2Config {
    fn check(&self) -> Result<(), String> {
        let layers = self.conv_dim.len();
        let lists =
            [("conv_dim", &self.conv_dim), ("conv_stride", &self.conv_stride), ("conv_kernel", &self.conv_kernel)];
        for (key, sizes) in lists {
            if sizes.is_empty() || sizes.len() != layers || sizes.iter().any(|&size| size == 0 || size > MOST) {
                return Err(format!(
                    "`{key}`: expected as many sizes from 1 to {MOST} as `conv_dim` has, found {sizes:?}"
                ));
            }
        }
        let groups = self.num_conv_pos_embedding_groups;
        positive(&[
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_conv_pos_embeddings", self.num_conv_pos_embeddings),
            ("num_conv_pos_embedding_groups", groups),
        ])?;
        if !self.hidden_size.is_multiple_of(groups) {
            return Err(format!(
                "`num_conv_pos_embedding_groups` {groups} does not divide `hidden_size` {}",
                self.hidden_size
            ));
        }
        if self.add_adapter {
            return Err("`add_adapter`: only false is known here".into());
        }
        if self.adapter_attn_dim.is_some() {
            return Err("`adapter_attn_dim`: only null is known here".into());
        }
        check(&self.trunk())
    }

    fn trunk(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            heads: self.num_attention_heads,
            hidden_ratio: hidden_ratio(self.intermediate_size, self.hidden_size),
            activation: self.hidden_act.into(),
            epsilon: self.layer_norm_eps,
            norm_place: if self.do_stable_layer_norm { NormPlace::Before } else { NormPlace::After },
            ..TransformerConfig::default()
        }
    }

    fn waves(&self) -> WaveSizes {
        let filters = self.conv_kernel.iter().zip(&self.conv_stride);
        WaveSizes {
            layers: self
                .conv_dim
                .iter()
                .zip(filters)
                .map(|(&channels, (&filter, &stride))| [channels, filter, stride])
                .collect(),
            bias: self.conv_bias,
            norms: match self.feat_extract_norm {
                ExtractNorm::Group => WaveNorms::FirstOverTime,
                ExtractNorm::Layer => WaveNorms::OverChannels,
            },
            activation: self.feat_extract_activation.into(),
        }
    }

    fn positions(&self) -> [usize; 3] {
        [self.hidden_size, self.num_conv_pos_embeddings, self.num_conv_pos_embedding_groups]
    }

    /// Channels of the last convolution.
    fn channels(&self) -> usize {
        self.conv_dim.last().copied().unwrap_or_default()
    }
}

/// Convolutions, trunk and the head that its checkpoint may have.
#[derive(Module, Debug)]
pub struct Wav2Vec2 {
    waves: WaveEncoder,
    /// Of the frames.
    frame_norm: Norm,
    /// `[channels, width]`
    projection: Linear,
    /// In place of a frame that is hidden, `[width]`.
    hidden: Option<Param<Tensor<1>>>,
    positions: WavePositions,
    /// Before the first block, where blocks normalise after their parts.
    norm: Option<Norm>,
    trunk: Transformer,
    /// To letters, `[width, vocabulary]`.
    letters: Option<Linear>,
    #[module(skip)]
    hides: bool,
}

impl Family for Wav2Vec2 {
    type Config = Wav2Vec2Config;

    fn check(config: &Wav2Vec2Config) -> Result<(), String> {
        config.check()
    }

    fn published(_config: &Wav2Vec2Config) -> Published {
        Published {
            prefix: "wav2vec2.",
            left_out: vec![
                ("quantizer.", "a part of pretraining"),
                ("project_hid.", "a part of pretraining"),
                ("project_q.", "a part of pretraining"),
                ("projector.", "a head for labels"),
                ("classifier.", "a head for labels"),
                ("layer_weights", "a head for labels"),
                ("feature_extractor.weight", "a head for speakers"),
                ("feature_extractor.bias", "a head for speakers"),
                ("tdnn.", "a head for speakers"),
                ("objective.", "a head for speakers"),
            ],
            ..Published::default()
        }
    }

    fn layout(config: &Wav2Vec2Config, found: &Found) -> Layout {
        let (width, channels) = (config.hidden_size, config.channels());
        let mut layout = Layout::default();
        WaveEncoder::layout(&mut layout, "waves", "wav2vec2.feature_extractor.conv_layers", &config.waves());
        layout.norm("frame_norm", "wav2vec2.feature_projection.layer_norm", channels, NormKind::Layer);
        layout.linear("projection", "wav2vec2.feature_projection.projection", [channels, width], true);
        if found.has(HIDDEN) {
            layout.tensor("hidden", HIDDEN, &[width]);
        }
        WavePositions::layout(&mut layout, "positions", "wav2vec2.encoder.pos_conv_embed.conv", config.positions());
        let norm = if config.do_stable_layer_norm { "trunk.norm" } else { "norm" };
        layout.norm(norm, "wav2vec2.encoder.layer_norm", width, NormKind::Layer);
        layout.blocks("trunk", "wav2vec2.encoder.layers.{}", &config.trunk(), &BLOCK);
        if found.has(LETTERS) {
            layout.linear("letters", "lm_head", [width, config.vocab_size], true);
        }
        layout
    }

    fn new(config: &Wav2Vec2Config, found: &Found, device: &Device) -> Self {
        let (width, channels, seed) = (config.hidden_size, config.channels(), Seed::new(0));
        let norm = |width| Norm::new(NormKind::Layer, width, config.layer_norm_eps, seed, device);
        let linear = |inputs, outputs| Linear::new(inputs, outputs, Draw::Normal(0.02), seed, device);
        Self {
            waves: WaveEncoder::new(&config.waves(), device),
            frame_norm: norm(channels),
            projection: linear(channels, width),
            hidden: found.has(HIDDEN).then(|| param([width], Draw::Uniform(1.0), seed, device)),
            positions: WavePositions::new(config.positions(), config.feat_extract_activation.into(), device),
            norm: (!config.do_stable_layer_norm).then(|| norm(width)),
            trunk: Transformer::new(&config.trunk(), seed, device),
            letters: found.has(LETTERS).then(|| linear(width, config.vocab_size)),
            hides: config.apply_spec_augment,
        }
    }

    fn reads(&self) -> Vec<Reads> {
        vec![Reads { content: Content::Samples, vectors: &[], mixes_lengths: false, pool: Pool::Mean }]
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let samples = inputs.floats::<2>(SAMPLES)?;
        let [rows, length] = samples.dims();
        let frames = self.waves.frames(length);
        if rows == 0 || frames == 0 {
            return Err(FamilyError::input(
                SAMPLES,
                format!("{rows} rows of {length} samples are too few for a frame"),
            ));
        }
        let real = self.real_frames(inputs, [rows, length], frames)?; // [rows, frames]
        let features = self.frame_norm.forward(self.waves.forward(samples)); // [rows, frames, channels]
        let x = self.hide(self.projection.forward(features.clone()), inputs)?; // [rows, frames, width]
        let mask = real.map(|real| tensor_bool::<2>(&real, inputs.device()));
        let x = match &mask {
            Some(mask) => x * mask.clone().float().unsqueeze_dim(2),
            None => x,
        };
        let x = x.clone() + self.positions.forward(x);
        let x = match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        let x = self.trunk.run(x, mask.as_ref(), None);
        let logits = self.letters.as_ref().map(|letters| letters.forward(x.clone())); // [rows, frames, vocabulary]
        let answers = Answers::default().with_some("logits", logits);
        Ok(answers.with("extract_features", features).with("last_hidden_state", x))
    }
}

impl Wav2Vec2 {
    /// Frames of as many samples as the attention mask says are real; nothing if all are.
    fn real_frames(
        &self,
        inputs: &Inputs<'_>,
        shape: [usize; 2],
        frames: usize,
    ) -> Result<Option<ArrayD<bool>>, FamilyError> {
        let Some(real) = inputs.truths("attention_mask", &shape)? else { return Ok(None) };
        let counts = real.outer_iter().map(|row| self.waves.frames(row.iter().filter(|&&real| real).count()));
        let counts: Vec<usize> = counts.collect();
        if let Some(row) = counts.iter().position(|&count| count == 0) {
            return Err(FamilyError::input(
                "attention_mask",
                format!("row {row} has too few real samples for a frame"),
            ));
        }
        let real = Array2::from_shape_fn([shape[0], frames], |(row, frame)| frame < counts[row]);
        Ok(counts.iter().any(|&count| count < frames).then(|| real.into_dyn()))
    }

    /// Frames `[rows, frames, width]`, those that `mask_time_indices` names hidden.
    fn hide(&self, x: Tensor<3>, inputs: &Inputs<'_>) -> Result<Tensor<3>, FamilyError> {
        let [rows, frames, _] = x.dims();
        let Some(hidden) = inputs.truths(HIDE, &[rows, frames])?.filter(|_| self.hides) else { return Ok(x) };
        match &self.hidden {
            Some(vector) => Ok(replaced(x, tensor_bool(&hidden, inputs.device()).float(), vector.val().unsqueeze())),
            None => Err(FamilyError::input(HIDE, "the checkpoint has no vector for hidden frames")),
        }
    }
}

/// Sound, `[rows, samples]`.
const SAMPLES: &str = "input_values";
/// Which frames are hidden.
const HIDE: &str = "mask_time_indices";
const HIDDEN: &str = "wav2vec2.masked_spec_embed";
const LETTERS: &str = "lm_head.weight";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sensorium_contract::Array;
    use serde_json::{Value, json};

    use super::*;

    fn config(more: Value) -> Wav2Vec2Config {
        let mut config = json!({
            "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
            "conv_dim": [6, 6], "conv_kernel": [4, 3], "conv_stride": [2, 2], "num_conv_pos_embeddings": 5,
            "num_conv_pos_embedding_groups": 2,
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(config).unwrap()
    }

    fn features(network: &Wav2Vec2, arrays: &BTreeMap<String, Array>) -> Vec<f32> {
        let answers = network.forward(&Inputs::new(arrays, &Device::flex())).unwrap().arrays();
        match &answers["last_hidden_state"] {
            Array::F32(values) => values.iter().copied().collect(),
            other => panic!("{other:?}"),
        }
    }

    /// With norms over channels nothing mixes over time that the mask does not cover.
    #[test]
    fn hidden_samples_change_nothing_at_real_frames() {
        for stable in [false, true] {
            let config =
                config(json!({ "feat_extract_norm": "layer", "conv_bias": true, "do_stable_layer_norm": stable }));
            Wav2Vec2::check(&config).unwrap();
            let network = Wav2Vec2::new(&config, &Found::default(), &Device::flex());
            let sound = |length| ArrayD::from_shape_fn(vec![1, length], |at| (at[1] as f32 * 0.9).sin());
            let mask = ArrayD::from_shape_fn(vec![1, 40], |at| i64::from(at[1] < 27));
            let long = BTreeMap::from([
                (SAMPLES.to_owned(), Array::F32(sound(40))),
                ("attention_mask".to_owned(), Array::I64(mask)),
            ]);
            let short = BTreeMap::from([(SAMPLES.to_owned(), Array::F32(sound(27)))]);
            let (long, short) = (features(&network, &long), features(&network, &short));
            assert!(long.len() > short.len());
            assert!(long.iter().zip(&short).all(|(a, b)| (a - b).abs() < 1e-5), "{long:?} {short:?}");
        }
    }

    #[test]
    fn what_is_not_known_here_is_named() {
        let problem = |more| Wav2Vec2::check(&config(more)).unwrap_err();
        assert!(problem(json!({ "add_adapter": true })).contains("`add_adapter`"));
        assert!(problem(json!({ "adapter_attn_dim": 16 })).contains("`adapter_attn_dim`"));
        assert!(problem(json!({ "conv_kernel": [3] })).contains("`conv_kernel`"));
        assert!(problem(json!({ "num_conv_pos_embedding_groups": 3 })).contains("`num_conv_pos_embedding_groups`"));
    }
}
