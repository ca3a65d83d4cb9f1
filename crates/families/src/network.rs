//! The registry of families: one line each.

use burn::{module::Module, tensor::Device};
use serde::de::DeserializeOwned;

use crate::{
    Checkpoint, FamilyError,
    checkpoint::{CONFIG, Reader},
};
pub use crate::{
    layout::Layout,
    published::{Found, Published},
    values::{Answers, Inputs},
};

/// What a network turns into vectors without anything beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// `input_ids` and `attention_mask`, to `text_embeds` or `last_hidden_state`.
    Text,
    /// The same, always filled up to as many tokens as there are positions (SigLIP).
    FilledText,
    /// `pixel_values`, to `image_embeds` or `last_hidden_state`.
    Image,
}

/// A published system: its configuration, its tensors' names, and the way from inputs to answers.
pub(crate) trait Family: Module + Sized {
    /// The configuration, with the reference implementation's defaults; keys that change nothing here are ignored.
    type Config: DeserializeOwned;

    /// What it embeds.
    const READS: &'static [Reads] = &[];

    /// What is impossible about a configuration. After it, sizes are such that nothing overflows.
    fn check(config: &Self::Config) -> Result<(), String>;

    /// How its checkpoints are published.
    fn published(config: &Self::Config) -> Published;

    /// Which tensors its parameters are made of; heads that the checkpoint lacks are left out.
    fn layout(config: &Self::Config, found: &Found) -> Layout;

    /// The network; its parameters are drawn only if they are not loaded.
    fn new(config: &Self::Config, found: &Found, device: &Device) -> Self;

    /// Answers named as the reference implementation names them.
    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError>;
}

macro_rules! families {
    ($($variant:ident($module:ident) = $($model_type:literal)|+;)*) => {
        /// The network of any family.
        #[derive(Module, Debug)]
        #[allow(clippy::large_enum_variant)]
        pub enum Network {
            $(#[doc = concat!("See the file `", stringify!($module), "`.")] $variant(crate::$module::$variant),)*
        }

        /// The `model_type`s that are known.
        pub const MODEL_TYPES: &[&str] = &[$($($model_type),+),*];

        impl Network {
            pub(crate) fn open(model_type: &str, reader: Reader<'_>) -> Result<Checkpoint, FamilyError> {
                match model_type {
                    $($($model_type)|+ => reader.read(Self::$variant),)*
                    found => Err(FamilyError::UnknownFamily {
                        path: reader.directory.join(CONFIG),
                        found: found.to_owned(),
                        known: MODEL_TYPES.to_vec(),
                    }),
                }
            }

            pub(crate) fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
                match self { $(Self::$variant(network) => network.forward(inputs),)* }
            }

            /// Where the parameters are.
            pub(crate) fn device(&self) -> Device {
                self.devices().into_iter().next().unwrap_or_default()
            }

            /// What it embeds.
            pub fn reads(&self) -> &'static [Reads] {
                match self { $(Self::$variant(_) => <crate::$module::$variant as Family>::READS,)* }
            }

            /// The family's name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($variant),)* }
            }
        }
    };
}

families! {
    Bert(bert) = "bert";
    Roberta(roberta) = "roberta" | "xlm-roberta" | "camembert";
    DistilBert(distilbert) = "distilbert";
    Esm(esm) = "esm";
    Tapas(tapas) = "tapas";
    Clap(clap) = "clap_text_model";
    OpenAiGpt(openai_gpt) = "openai-gpt";
    Gpt2(gpt2) = "gpt2";
    Llama(llama) = "llama";
    T5(t5) = "t5" | "mt5";
    Bart(bart) = "bart" | "mbart";
    Vit(vit) = "vit";
    VitMae(vit_mae) = "vit_mae";
    Dinov2(dinov2) = "dinov2";
    ImageGpt(imagegpt) = "imagegpt";
    Ast(ast) = "audio-spectrogram-transformer";
    Whisper(whisper) = "whisper";
    Wav2Vec2(wav2vec2) = "wav2vec2";
    Clip(clip) = "clip" | "clip_text_model" | "clip_vision_model";
    Siglip(siglip) = "siglip" | "siglip_text_model" | "siglip_vision_model";
    Flava(flava) = "flava";
    Vilt(vilt) = "vilt";
    DecisionTransformer(decision_transformer) = "decision_transformer";
}
