use std::{collections::BTreeMap, path::Path};

use burn::tensor::Device;
use sensorium_contract::{Batch, Embedder, Embeddings, Name, Preparation};
use sensorium_modalities::ModalityConfig;
use sensorium_model::Model;

use crate::{Error, Published};

/// A model that embeds: one of a recipe, or a published one.
#[allow(clippy::large_enum_variant)]
pub enum AnyModel {
    /// Pretrained here.
    Own(Model),
    /// Imported.
    Published(Published),
}

impl AnyModel {
    /// Opens a model directory, whichever it is.
    ///
    /// # Errors
    /// If it is damaged, or neither.
    pub fn open(path: &Path, device: &Device) -> Result<Self, Error> {
        // A published checkpoint's configuration; that of an own model is `model.toml` alone.
        match path.join("config.json").exists() {
            true => Ok(Self::Published(Published::open(path, device)?)),
            false => Ok(Self::Own(sensorium_model::load(path, device)?)),
        }
    }

    /// Samples to batches.
    pub fn preparation(&self) -> &Preparation {
        match self {
            Self::Own(model) => model.preparation(),
            Self::Published(published) => published.preparation(),
        }
    }

    /// The field that each modality reads; nothing where it reads whatever others leave.
    pub fn fields(&self) -> BTreeMap<Name, Option<String>> {
        match self {
            Self::Own(model) => fields(&model.architecture().modalities),
            Self::Published(published) => published.fields(),
        }
    }

    /// What it could embed if its preprocessing had come with it.
    pub fn left_out(&self) -> &[String] {
        match self {
            Self::Own(_) => &[],
            Self::Published(published) => published.left_out(),
        }
    }
}

/// The field that each modality of a recipe reads; nothing where it reads whatever others leave.
pub fn fields(modalities: &BTreeMap<Name, ModalityConfig>) -> BTreeMap<Name, Option<String>> {
    modalities.iter().map(|(name, config)| (name.clone(), config.field().map(str::to_owned))).collect()
}

impl Embedder for AnyModel {
    fn embed(&self, batch: &Batch) -> BTreeMap<Name, Embeddings> {
        match self {
            Self::Own(model) => model.embed(batch),
            Self::Published(published) => published.embed(batch),
        }
    }
}
