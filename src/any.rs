use std::{collections::BTreeMap, path::Path};

use burn::tensor::Device;
use sensorium_contract::{Batch, Embedder, Embeddings, Name, Preparation};
use sensorium_modalities::ModalityConfig;
use sensorium_model::Model;

use crate::{EMBEDDING_BATCH, Error, Published, published::of_towers};

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

    /// The model of a directory as one of a recipe's parts, which can be asked about its tokens: of a published
    /// checkpoint its towers.
    ///
    /// # Errors
    /// If it is damaged, or of a family that has no towers.
    pub fn open_parts(path: &Path, device: &Device) -> Result<Model, Error> {
        match path.join("config.json").exists() {
            true => of_towers(path, device),
            false => Ok(sensorium_model::load(path, device)?),
        }
    }

    /// Samples to batches.
    pub fn preparation(&self) -> &Preparation {
        match self {
            Self::Own(model) => model.preparation(),
            Self::Published(published) => published.preparation(),
        }
    }

    /// What each modality reads of a sample.
    pub fn readings(&self) -> BTreeMap<Name, Reading> {
        match self {
            Self::Own(model) => readings(&model.architecture().modalities),
            Self::Published(published) => published.readings(),
        }
    }

    /// Samples that are best embedded at once. Published texts are small, and sorted by length: more of them leave
    /// less padding, and share the work of a pass that does not depend on their number.
    pub fn embedding_batch(&self) -> usize {
        let texts = || self.readings().values().all(|reading| reading.kind == "text");
        match self {
            Self::Published(_) if texts() => 4 * EMBEDDING_BATCH,
            _ => EMBEDDING_BATCH,
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

/// What a modality reads of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// `text`, `image`, `audio` or `table`.
    pub kind: &'static str,
    /// The field; nothing where it reads whatever others leave.
    pub field: Option<String>,
    /// The columns of a table, if its recipe names them.
    pub columns: Option<Vec<String>>,
}

/// What each modality of a recipe reads.
pub fn readings(modalities: &BTreeMap<Name, ModalityConfig>) -> BTreeMap<Name, Reading> {
    let reading = |(name, config): (&Name, &ModalityConfig)| {
        let columns = match config {
            ModalityConfig::Table(table) => table.columns.as_ref(),
            _ => None,
        };
        let columns = columns.map(|columns| columns.iter().map(|column| column.name.clone()).collect());
        let field = config.field().map(str::to_owned);
        (name.clone(), Reading { kind: config.kind(), field, columns })
    };
    modalities.iter().map(reading).collect()
}

impl Embedder for AnyModel {
    fn embed(&self, batch: &Batch) -> BTreeMap<Name, Embeddings> {
        match self {
            Self::Own(model) => model.embed(batch),
            Self::Published(published) => published.embed(batch),
        }
    }
}
