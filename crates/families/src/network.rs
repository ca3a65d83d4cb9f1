//! The registry of families: one line each.

use burn::{module::Module, tensor::Device};
use sensorium_contract::Pool;
use sensorium_objectives::ObjectiveConfig;
use serde::de::DeserializeOwned;

use crate::{
    Checkpoint, FamilyError, Tower,
    checkpoint::{CONFIG, Reader},
};
pub use crate::{
    layout::Layout,
    published::{Found, Published},
    values::{Answers, Inputs},
};

/// A kind of content that a network turns into vectors by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reads {
    /// What it is given.
    pub content: Content,
    /// The answers that are its vectors `[rows, embedding]`, the best first. Where it gives none of them, its tokens
    /// (`last_hidden_state`) are to be pooled.
    pub vectors: &'static [&'static str],
    /// Whether inputs of different lengths go through together at no cost, what fills them up hidden by an
    /// `attention_mask`.
    pub mixes_lengths: bool,
    /// How its tokens are pooled where the files beside the weights do not say.
    pub pool: Pool,
}

/// What a network is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// `input_ids`.
    Text,
    /// The same, always filled up to as many tokens as there are positions (SigLIP).
    FilledText,
    /// `pixel_values`.
    Picture,
    /// `input_values`, frames of mel bands (AST).
    Spectrogram,
    /// `input_values`, samples (wav2vec 2.0).
    Samples,
}

impl Reads {
    /// Texts, whose tokens are pooled.
    pub(crate) const TOKENS: Self =
        Self { content: Content::Text, vectors: &[], mixes_lengths: true, pool: Pool::Mean };
    /// Texts of a network that looks back alone, whose last token has seen all.
    pub(crate) const CAUSAL: Self = Self { pool: Pool::Last, ..Self::TOKENS };
    /// Texts with a vector of their own.
    pub(crate) const TEXT: Self = Self { vectors: &["text_embeds", "pooler_output"], ..Self::TOKENS };
    /// Pictures with a vector of their own.
    pub(crate) const PICTURE: Self = Self {
        content: Content::Picture,
        vectors: &["image_embeds", "pooler_output"],
        mixes_lengths: false,
        pool: Pool::Class,
    };
}

/// A published system: its configuration, its tensors' names, and the way from inputs to answers.
pub(crate) trait Family: Module + Sized {
    /// The configuration, with the reference implementation's defaults; keys that change nothing here are ignored.
    type Config: DeserializeOwned;

    /// What is impossible about a configuration. After it, sizes are such that nothing overflows.
    fn check(config: &Self::Config) -> Result<(), String>;

    /// How its checkpoints are published.
    fn published(config: &Self::Config) -> Published;

    /// Which tensors its parameters are made of; heads that the checkpoint lacks are left out.
    fn layout(config: &Self::Config, found: &Found) -> Layout;

    /// The network; its parameters are drawn only if they are not loaded.
    fn new(config: &Self::Config, found: &Found, device: &Device) -> Self;

    /// What it embeds.
    fn reads(&self) -> Vec<Reads> {
        Vec::new()
    }

    /// Its sides as towers of an own model, for pictures of so many rows and columns; none if it cannot be one.
    fn towers(&self, _picture: [usize; 2]) -> Vec<Tower> {
        Vec::new()
    }

    /// What its sides were contrasted by, beginning where training ended.
    fn objective(&self) -> Option<ObjectiveConfig> {
        None
    }

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
            pub fn reads(&self) -> Vec<Reads> {
                match self { $(Self::$variant(network) => network.reads(),)* }
            }

            /// Its sides as towers of an own model, for pictures of so many rows and columns; none if the family is
            /// not among [`crate::TOWERS`].
            pub fn towers(&self, picture: [usize; 2]) -> Vec<Tower> {
                match self { $(Self::$variant(network) => network.towers(picture),)* }
            }

            /// What its sides were contrasted by, beginning where training ended.
            pub fn objective(&self) -> Option<ObjectiveConfig> {
                match self { $(Self::$variant(network) => network.objective(),)* }
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
