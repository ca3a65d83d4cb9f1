use std::{collections::BTreeSet, error::Error};

use burn::tensor::Device;
use sensorium_contract::{Modality, Name, Sample, Seed};

/// Why a modality cannot be made.
pub type Problem = Box<dyn Error + Send + Sync>;

/// What a modality was made from.
pub struct Learned<'a> {
    /// The name that the recipe gives it.
    pub name: &'a Name,
    /// The training samples, read once from the start.
    pub samples: &'a mut dyn Iterator<Item = Sample>,
    /// The fields that other modalities read.
    pub used_fields: &'a BTreeSet<String>,
}

/// A kind of data: what each modality's folder provides.
pub trait Kind: Modality + Sized + 'static {
    /// How the recipe configures it.
    type Config;
    /// Arrays to tokens.
    type Encoder;
    /// The file beside the model that holds what was learned from data, if anything is.
    const FILE: Option<&'static str>;

    /// The one field that it reads; nothing if it reads whatever others leave.
    fn field(config: &Self::Config) -> Option<&str>;

    /// Makes it read another field; without effect on what reads whatever others leave.
    fn set_field(config: &mut Self::Config, field: &str);

    /// What no data could make right: the key of the configuration, and the problem.
    fn impossible(config: &Self::Config) -> Option<(&'static str, String)>;

    /// Learns from the training data what it needs to (a vocabulary, columns).
    ///
    /// # Errors
    /// If the configuration is impossible or the data lack what it needs.
    fn fit(config: &Self::Config, from: Learned) -> Result<Self, Problem>;

    /// The content of [`Kind::FILE`].
    fn learned(&self) -> String;

    /// As saved before. `learned` is empty if there is no file.
    ///
    /// # Errors
    /// If the content is damaged.
    fn load(config: &Self::Config, name: &Name, learned: &str) -> Result<Self, Problem>;

    /// A new encoder, `width` being that of its tokens.
    fn encoder(&self, name: &Name, width: usize, seed: Seed, device: &Device) -> Self::Encoder;
}
