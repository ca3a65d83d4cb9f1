//! A model to start from: what of it is taken over, and how fast it may change.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::tensor::Device;
use sensorium_backbone::TransformerConfig;
use sensorium_contract::{Name, Sample};
use sensorium_modalities::{Fitted, Modalities, ModalityConfig};
use sensorium_model::{Model, ModelConfig, Topology, load};
use sensorium_state::{NamedTensor, export, import};
use sensorium_train::GroupConfig;

use crate::{AdaptError, StartConfig, Training};

/// Factor of the learning rate from a block to the one before it (Howard and Ruder 2018; BEiT).
const LAYER_DECAY: f64 = 0.75;
/// Parts of a model that are numbered by modality.
const BY_MODALITY: [&str; 5] = ["encoders", "projections", "modality", "towers", "bridges"];

/// A model to start from.
pub struct Start {
    path: PathBuf,
    model: Model,
}

/// What was taken over and what is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Parameters that start from the model.
    pub tensors: Vec<String>,
    /// Modalities that start from the model.
    pub modalities: Vec<Name>,
    /// Modalities that start from drawn weights.
    pub new: Vec<Name>,
}

impl Start {
    /// Opens a model directory.
    ///
    /// # Errors
    /// If there is no model of ours.
    pub fn open(path: &Path) -> Result<Self, AdaptError> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        // Nothing is computed with it before its weights are in the new model.
        let model = load(&path, &Device::default())?;
        Ok(Self { path, model })
    }

    /// For a recipe that names its modalities: those of the same name and kind start from the model.
    pub fn by_name(&self, modalities: &BTreeMap<Name, ModalityConfig>) -> StartConfig {
        let theirs = &self.model.architecture().modalities;
        let same = |(name, own): &(&Name, &ModalityConfig)| {
            theirs.get(*name).is_some_and(|old| std::mem::discriminant(old) == std::mem::discriminant(*own))
        };
        let modalities = modalities.iter().filter(same).map(|(name, _)| (name.clone(), name.clone())).collect();
        StartConfig { model: self.path.clone(), modalities, probe: false }
    }

    /// Gives each modality the configuration of the model's one of the same kind, where there is one
    /// that is not taken yet; a table's columns are always its own.
    pub(crate) fn adopt(&self, modalities: &mut BTreeMap<Name, ModalityConfig>) -> StartConfig {
        let mut taken = BTreeMap::new();
        let theirs = &self.model.architecture().modalities;
        let mut used = BTreeSet::new();
        for (name, own) in modalities.iter_mut() {
            let fits = |(name, config): &(&Name, &ModalityConfig)| {
                !used.contains(*name) && std::mem::discriminant(*config) == std::mem::discriminant(&*own)
            };
            let Some((theirs, config)) = theirs.iter().find(fits) else { continue };
            if matches!(own, ModalityConfig::Table(_)) {
                continue;
            }
            let field = own.field().unwrap_or_default().to_owned();
            *own = config.clone();
            own.set_field(&field);
            used.insert(theirs.clone());
            taken.insert(name.clone(), theirs.clone());
        }
        StartConfig { model: self.path.clone(), modalities: taken, probe: true }
    }

    /// Trunks as the model has them; a modality that it lacks gets a tower as large as the smallest.
    pub(crate) fn model(&self, modalities: &BTreeMap<Name, ModalityConfig>, config: &StartConfig) -> ModelConfig {
        let theirs = &self.model.architecture().model;
        let towers = |all: &BTreeMap<Name, TransformerConfig>| {
            let smallest = all.values().min_by_key(|tower| tower.width * tower.layers).cloned().unwrap_or_default();
            let tower = |name: &Name| {
                let tower = config.modalities.get(name).and_then(|old| all.get(old)).unwrap_or(&smallest);
                (name.clone(), tower.clone())
            };
            modalities.keys().map(tower).collect::<BTreeMap<_, _>>()
        };
        let topology = match &theirs.topology {
            Topology::Shared { trunk } => Topology::Shared { trunk: trunk.clone() },
            Topology::Towers { towers: all } if modalities.len() == 1 => Topology::Towers { towers: towers(all) },
            Topology::Towers { towers: all } => {
                let towers = towers(all);
                let widest = towers.values().max_by_key(|tower| tower.width).cloned().unwrap_or_default();
                Topology::Fused { joint: TransformerConfig { layers: 2, ..widest }, towers }
            }
            Topology::Fused { towers: all, joint } => Topology::Fused { towers: towers(all), joint: joint.clone() },
        };
        ModelConfig { embedding: theirs.embedding, topology }
    }

    /// The modalities of a recipe: tokenizers as the model has them, all else from the samples.
    ///
    /// # Errors
    /// If a modality cannot be made.
    pub fn fit(
        &self,
        config: &StartConfig,
        configs: &BTreeMap<Name, ModalityConfig>,
        samples: &dyn Fn() -> Box<dyn Iterator<Item = Sample>>,
    ) -> Result<Modalities, AdaptError> {
        let kept = |(name, own): (&Name, &ModalityConfig)| {
            let Fitted::Text(old) = self.model.modalities().fitted.get(config.modalities.get(name)?)? else {
                return None;
            };
            let text = (**old).clone().reading(own.field()?).named(name);
            Some((name.clone(), Fitted::Text(Arc::new(text))))
        };
        let kept: BTreeMap<Name, Fitted> = configs.iter().filter_map(kept).collect();
        let rest = configs.iter().filter(|(name, _)| !kept.contains_key(*name));
        let mut modalities = Modalities::fit(&rest.map(|(name, own)| (name.clone(), own.clone())).collect(), samples)?;
        modalities.fitted.extend(kept);
        Ok(modalities)
    }

    /// The model's weights in a new one, by the names of modalities; those of objectives where all are
    /// the same.
    ///
    /// # Errors
    /// Never for models of one build.
    pub fn transfer(&self, config: &StartConfig, new: Model) -> Result<(Model, Taken), AdaptError> {
        let old: BTreeMap<String, NamedTensor> =
            export(&self.model).into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        let names = |model: &Model| model.preparation().modalities.keys().cloned().collect::<Vec<_>>();
        let (theirs, own) = (names(&self.model), names(&new));
        let same_objectives = self.model.architecture().objectives == new.architecture().objectives;
        let mut taken = Taken::default();
        let tensor = |tensor: NamedTensor| {
            let source = old_name(&tensor.name, &own, &theirs, config).and_then(|name| old.get(&name));
            let source = source.filter(|source| same_objectives || !source.name.starts_with("objectives"));
            match source.filter(|source| source.shape == tensor.shape) {
                Some(source) => {
                    taken.tensors.push(tensor.name.clone());
                    NamedTensor { values: source.values.clone(), ..tensor }
                }
                None => tensor,
            }
        };
        let tensors: BTreeMap<String, NamedTensor> =
            export(&new).into_iter().map(tensor).map(|tensor| (tensor.name.clone(), tensor)).collect();
        taken.modalities = own.iter().filter(|name| config.modalities.contains_key(*name)).cloned().collect();
        taken.new = own.into_iter().filter(|name| !config.modalities.contains_key(name)).collect();
        Ok((import(new, &tensors)?, taken))
    }
}

/// What a parameter is called in the model that is started from; nothing for a new modality's.
fn old_name(name: &str, own: &[Name], theirs: &[Name], config: &StartConfig) -> Option<String> {
    let mut parts: Vec<String> = name.split('.').map(str::to_owned).collect();
    for at in 1..parts.len() {
        if BY_MODALITY.contains(&parts[at - 1].as_str())
            && let Ok(number) = parts[at].parse::<usize>()
        {
            let old = config.modalities.get(own.get(number)?)?;
            parts[at] = theirs.iter().position(|name| name == old)?.to_string();
            break;
        }
    }
    Some(parts.join("."))
}

/// How fast what was taken over may change: not at all, or the more slowly the deeper it lies.
pub(crate) fn groups(taken: &Taken, training: Training) -> Vec<GroupConfig> {
    let group = |name: &String, lr: f64| GroupConfig { pattern: name.clone(), lr, weight_decay: None };
    let depth = |name: &str| {
        let parts: Vec<&str> = name.split('.').collect();
        parts.windows(2).find(|pair| pair[0] == "blocks").and_then(|pair| pair[1].parse::<i32>().ok())
    };
    let layers = taken.tensors.iter().filter_map(|name| depth(name)).max().map_or(0, |last| last + 1);
    let of = |name: &String| match (training, depth(name)) {
        (Training::Frozen, _) => group(name, 0.0),
        (Training::Full, Some(block)) => group(name, LAYER_DECAY.powi(layers - block)),
        (Training::Full, None) if name.starts_with("trunks") => group(name, LAYER_DECAY),
        (Training::Full, None) => group(name, LAYER_DECAY.powi(layers + 1)),
    };
    taken.tensors.iter().map(of).collect()
}
