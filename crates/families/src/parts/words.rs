use burn::tensor::Device;
use sensorium_backbone::{Draw, Linear};
use sensorium_contract::Seed;
use sensorium_kernels::Activation;

use crate::{Found, Layout, parts::LanguageHead};

/// Sizes of a [`LanguageHead`] that transforms features before it predicts words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WordsHead {
    pub width: usize,
    pub vocabulary: usize,
    pub activation: Activation,
    pub epsilon: f64,
    /// Whether it reads the words' own table (`tie_word_embeddings`).
    pub tied: bool,
}

/// Published names of its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WordsNames {
    pub transform: &'static str,
    pub norm: &'static str,
    /// A table of its own and perhaps the bias; there is none where the words' own serves.
    pub decoder: &'static str,
    /// Bias of the words.
    pub bias: &'static str,
}

impl WordsHead {
    /// Whether the checkpoint has it: one with the base model alone does not.
    pub fn is_there(found: &Found, names: WordsNames) -> bool {
        found.has(&format!("{}.weight", names.transform))
    }

    pub fn layout(self, layout: &mut Layout, own: &str, names: WordsNames, found: &Found) {
        let Self { width, vocabulary, .. } = self;
        let decoder_bias = format!("{}.bias", names.decoder);
        // Where tables are not tied, the reference adds the bias of the decoder, and not the other.
        let bias = if !self.tied && found.has(&decoder_bias) { &decoder_bias } else { names.bias };
        LanguageHead::transformed_layout(layout, own, [width, vocabulary], [names.transform, names.norm, bias]);
        if !self.tied {
            layout.linear(&format!("{own}.decoder"), names.decoder, [width, vocabulary], false);
        }
    }

    pub fn build(self, device: &Device) -> LanguageHead {
        let Self { width, vocabulary, .. } = self;
        let table = || Linear::without_bias(width, vocabulary, Draw::Normal(0.02), Seed::new(0), device);
        let head = LanguageHead::transformed([width, vocabulary], self.activation, self.epsilon, device);
        LanguageHead { decoder: (!self.tied).then(table), ..head }
    }
}
