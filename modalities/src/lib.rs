//! One folder a modality: raw fields to host arrays to tokens.
//!
//! Adding one is a folder that provides [`Kind`] and a line in the registry below.

pub mod audio;
pub mod image;
mod kind;
mod patches;
pub mod published;
#[cfg(test)]
mod reference;
pub mod table;
pub mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use burn::{module::Module, tensor::Device};
use sensorium_contract::{Arrays, Modality, Name, Preparation, Sample, Seed, Tokens};
use serde::{Deserialize, Serialize};

pub use kind::{Kind, Learned, Problem};

/// A modality that cannot be made, and why.
#[derive(Debug, thiserror::Error)]
#[error("modality `{name}`: {problem}")]
pub struct ModalityError {
    /// Which one.
    pub name: Name,
    /// What is wrong.
    pub problem: Problem,
}

macro_rules! modalities {
    ($($variant:ident($folder:ident::$modality:ident, $config:ident, $encoder:ident);)*) => {
        /// Configuration of one modality.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        pub enum ModalityConfig {
            $(#[doc = concat!("See [`", stringify!($folder), "`].")] $variant($folder::$config),)*
        }

        /// A modality with what it learned from data.
        #[derive(Clone, Debug)]
        pub enum Fitted {
            $(#[doc = concat!("See [`", stringify!($folder), "`].")] $variant(Arc<$folder::$modality>),)*
        }

        /// Arrays to tokens.
        #[derive(Module, Debug)]
        pub enum Encoder {
            $(#[doc = concat!("See [`", stringify!($folder), "`].")] $variant($folder::$encoder),)*
        }

        impl ModalityConfig {
            /// The kinds that a recipe can name.
            pub const KINDS: &[&str] = &[$(stringify!($folder)),*];

            /// Which of [`ModalityConfig::KINDS`] it is.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($folder),)* }
            }

            /// The one field that it reads; nothing if it reads whatever others leave.
            pub fn field(&self) -> Option<&str> {
                match self { $(Self::$variant(config) => <$folder::$modality as Kind>::field(config),)* }
            }

            /// Makes it read another field; without effect on what reads whatever others leave.
            pub fn set_field(&mut self, field: &str) {
                match self { $(Self::$variant(config) => <$folder::$modality as Kind>::set_field(config, field),)* }
            }

            /// What no data could make right: the key, and the problem.
            pub fn impossible(&self) -> Option<(&'static str, String)> {
                match self { $(Self::$variant(config) => <$folder::$modality as Kind>::impossible(config),)* }
            }

            fn fit(&self, from: Learned) -> Result<Fitted, Problem> {
                match self { $(Self::$variant(config) => Ok(Fitted::$variant(Arc::new(Kind::fit(config, from)?))),)* }
            }

            fn load(&self, name: &Name, directory: &Path) -> Result<Fitted, Problem> {
                match self {
                    $(Self::$variant(config) => {
                        let learned = match <$folder::$modality as Kind>::FILE {
                            Some(file) => read(&directory.join(format!("{name}.{file}")))?,
                            None => String::new(),
                        };
                        Ok(Fitted::$variant(Arc::new(Kind::load(config, name, &learned)?)))
                    })*
                }
            }
        }

        impl Fitted {
            /// Its host side.
            pub fn modality(&self) -> Arc<dyn Modality> {
                match self { $(Self::$variant(modality) => modality.clone(),)* }
            }

            /// The file beside the model that holds what was learned from data, and its content.
            pub fn file(&self, name: &Name) -> Option<(String, String)> {
                match self {
                    $(Self::$variant(modality) => {
                        <$folder::$modality as Kind>::FILE.map(|file| (format!("{name}.{file}"), modality.learned()))
                    })*
                }
            }

            /// A new encoder, `width` being that of its tokens.
            pub fn encoder(&self, name: &Name, width: usize, seed: Seed, device: &Device) -> Encoder {
                match self { $(Self::$variant(modality) => Encoder::$variant(modality.encoder(name, width, seed, device)),)* }
            }
        }

        impl Encoder {
            /// A batch's arrays as tokens, `[rows, tokens, width]`.
            pub fn tokens(&self, arrays: &Arrays, device: &Device) -> Tokens {
                match self { $(Self::$variant(encoder) => encoder.tokens(arrays, device),)* }
            }
        }
    };
}

// The registry: one line a modality.
modalities! {
    Text(text::TextModality, TextConfig, TextEncoder);
    Image(image::Image, ImageConfig, ImageEncoder);
    Audio(audio::Audio, AudioConfig, AudioEncoder);
    Table(table::TableModality, TableConfig, TableEncoder);
}

fn read(path: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// The modalities of a recipe, ready to turn samples into batches.
#[derive(Clone, Debug)]
pub struct Modalities {
    /// By name.
    pub fitted: BTreeMap<Name, Fitted>,
}

impl Modalities {
    /// Learns from the training data. `samples` gives a new iterator over them at each call; it is
    /// called once for each modality that learns.
    ///
    /// # Errors
    /// The first modality that cannot be made.
    pub fn fit(
        configs: &BTreeMap<Name, ModalityConfig>,
        samples: &dyn Fn() -> Box<dyn Iterator<Item = Sample>>,
    ) -> Result<Self, ModalityError> {
        let used_fields: BTreeSet<String> = configs.values().filter_map(|c| c.field().map(str::to_owned)).collect();
        let fit = |(name, config): (&Name, &ModalityConfig)| {
            let from = Learned { name, samples: &mut samples(), used_fields: &used_fields };
            let fitted = config.fit(from).map_err(|problem| ModalityError { name: name.clone(), problem })?;
            Ok((name.clone(), fitted))
        };
        Ok(Self { fitted: configs.iter().map(fit).collect::<Result<_, _>>()? })
    }

    /// Reads what was saved beside a model.
    ///
    /// # Errors
    /// The first modality whose file is missing or damaged.
    pub fn load(configs: &BTreeMap<Name, ModalityConfig>, directory: &Path) -> Result<Self, ModalityError> {
        let load = |(name, config): (&Name, &ModalityConfig)| {
            let fitted =
                config.load(name, directory).map_err(|problem| ModalityError { name: name.clone(), problem })?;
            Ok((name.clone(), fitted))
        };
        Ok(Self { fitted: configs.iter().map(load).collect::<Result<_, _>>()? })
    }

    /// The host side: samples to batches.
    pub fn preparation(&self) -> Preparation {
        let modality = |(name, fitted): (&Name, &Fitted)| (name.clone(), fitted.modality());
        Preparation { modalities: self.fitted.iter().map(modality).collect(), ..Preparation::default() }
    }

    /// Files beside the model, with their content.
    pub fn files(&self) -> Vec<(String, String)> {
        self.fitted.iter().filter_map(|(name, fitted)| fitted.file(name)).collect()
    }
}
