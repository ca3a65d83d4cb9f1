//! A published checkpoint: found, read, run, and written again.

use std::{collections::BTreeMap, fs, path::Path};

use burn::tensor::Device;
use sensorium_contract::Array;
use sensorium_state::{NamedTensor, StateError};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    FamilyError, Found, LeftOut, Network,
    network::{Answers, Family, Inputs, Layout, Published},
    tensors::TensorFiles,
    weights,
};

/// The configuration of a checkpoint.
pub(crate) const CONFIG: &str = "config.json";
/// Largest configuration that is read.
const CONFIG_LIMIT: u64 = 16 << 20;

/// A network with the weights of a published checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    /// Family, parts and parameters.
    pub network: Network,
    /// The configuration as published.
    pub config: Value,
    /// Tensors of the files that it does not use.
    pub left_out: Vec<LeftOut>,
    layout: Layout,
    /// Published name of each tensor, and its name in the files.
    pub(crate) places: BTreeMap<String, String>,
    pub(crate) files: TensorFiles,
}

impl Checkpoint {
    /// Reads a directory as the transformers library writes it: `config.json`, and `model.safetensors` or its
    /// shards. Each tensor is read when its parameter is made, so that memory holds the weights once.
    ///
    /// # Errors
    /// Names the file and the key or tensor that is missing, unknown, damaged or of another shape.
    pub fn open(directory: &Path, device: &Device) -> Result<Self, FamilyError> {
        let (path, config) = read_config(directory)?;
        let found = config["model_type"].as_str().unwrap_or_default().to_owned();
        Network::open(&found, Reader { directory, path: &path, config: &config, device })
    }

    /// Raw tensors in, raw tensors out, named as in the reference implementation.
    ///
    /// # Errors
    /// Names the input that is missing or cannot be used.
    pub fn forward(&self, inputs: &BTreeMap<String, Array>) -> Result<BTreeMap<String, Array>, FamilyError> {
        let device = self.network.device();
        Ok(self.network.forward(&Inputs::new(inputs, &device))?.arrays())
    }

    /// As [`Checkpoint::forward`], where vectors are wanted and nothing else: hidden tokens are left out and have
    /// answers without meaning, and words have no scores.
    ///
    /// # Errors
    /// As [`Checkpoint::forward`].
    pub fn vectors(&self, inputs: &BTreeMap<String, Array>) -> Result<BTreeMap<String, Array>, FamilyError> {
        Ok(self.network.forward(&Inputs::new(inputs, &self.network.device()).for_vectors())?.arrays())
    }

    /// The answers as tensors, with their graph.
    ///
    /// # Errors
    /// As [`Checkpoint::forward`].
    pub fn answers(&self, inputs: &BTreeMap<String, Array>) -> Result<Answers, FamilyError> {
        self.network.forward(&Inputs::new(inputs, &self.network.device()))
    }

    /// The parameters as published.
    pub fn tensors(&self) -> Vec<NamedTensor> {
        weights::export(&self.network, &self.layout)
    }

    /// Number of parameters, tied ones counted once.
    pub fn parameters(&self) -> usize {
        // Not the module's own count: that has zeros which stand for biases that are not published.
        self.layout.pieces().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }
}

/// What a family needs to read its checkpoint.
pub(crate) struct Reader<'a> {
    pub directory: &'a Path,
    pub path: &'a Path,
    pub config: &'a Value,
    pub device: &'a Device,
}

impl Reader<'_> {
    /// The checkpoint of one family.
    pub fn read<F: Family>(self, wrap: fn(F) -> Network) -> Result<Checkpoint, FamilyError> {
        let config: F::Config = self.parse()?;
        let problem = |problem| FamilyError::Config { path: self.path.to_owned(), problem };
        F::check(&config).map_err(problem)?;
        let files = TensorFiles::open(self.directory)?;
        let published = F::published(&config);
        let found = Found::new(&files, &published);
        let layout = F::layout(&config, &found);
        let fit = found.fit(&layout, &files, &published);
        let mut problems = fit.problems;
        problems.extend(differing_copies(&found, &files, &published)?);
        if !problems.is_empty() {
            return Err(FamilyError::Tensors { path: self.directory.to_owned(), problems: shortened(problems) });
        }
        let network = F::new(&config, &found, self.device);
        // Wrapped first, so that paths begin as those of the layout.
        let network = weights::load(network, &layout, &mut |name| files.floats(&fit.places[name]))?;
        let (network, config) = (wrap(network), self.config.clone());
        Ok(Checkpoint { network, config, left_out: fit.left_out, layout, places: fit.places, files })
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, FamilyError> {
        serde_path_to_error::deserialize(self.config).map_err(|error| {
            // A configuration that is read by parts names its keys itself, and has no path.
            let problem = match error.path().to_string().as_str() {
                "." => error.inner().to_string(),
                path => format!("`{path}`: {}", error.inner()),
            };
            FamilyError::Config { path: self.path.to_owned(), problem }
        })
    }
}

/// Copies of tied tensors that are no copies: the checkpoint is not what it says.
fn differing_copies(found: &Found, files: &TensorFiles, published: &Published) -> Result<Vec<String>, FamilyError> {
    let mut problems = Vec::new();
    for [copy, original] in found.copies(published) {
        if files.places[&copy].shape != files.places[&original].shape
            || files.bytes(&copy)? != files.bytes(&original)?
        {
            problems.push(format!("tensor `{copy}` should be a copy of `{original}`, and is not"));
        }
    }
    Ok(problems)
}

/// No more than a reader can use.
fn shortened(mut problems: Vec<String>) -> Vec<String> {
    const MOST: usize = 12;
    if problems.len() > MOST {
        let more = problems.len() - MOST;
        problems.truncate(MOST);
        problems.push(format!("and {more} more"));
    }
    problems
}

fn read_config(directory: &Path) -> Result<(std::path::PathBuf, Value), FamilyError> {
    let path = directory.join(CONFIG);
    if !path.exists() {
        let problem = format!("there is no `{CONFIG}`");
        return Err(FamilyError::NoCheckpoint { path: directory.to_owned(), problem });
    }
    let io = |error| StateError::io("read", &path, error);
    if fs::metadata(&path).map_err(io)?.len() > CONFIG_LIMIT {
        return Err(FamilyError::Config { problem: format!("it is larger than {CONFIG_LIMIT} bytes"), path });
    }
    let text = fs::read(&path).map_err(io)?;
    match serde_json::from_slice(&text) {
        Ok(config) => Ok((path, config)),
        Err(error) => Err(FamilyError::Config { problem: error.to_string(), path }),
    }
}
