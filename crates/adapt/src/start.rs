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
use sensorium_model::{Model, ModelConfig, Topology, load, modality_number};
use sensorium_state::{NamedTensor, export, import};
use sensorium_train::GroupConfig;

use crate::{AdaptError, StartConfig, Training, recipe::layer_decay};

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
        self.config(modalities, false)
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
            let before = std::mem::replace(own, config.clone());
            own.set_field(&field);
            // How many pictures a case has is the table's.
            if let (ModalityConfig::Image(own), ModalityConfig::Image(before)) = (own, before) {
                own.pictures = before.pictures;
            }
            used.insert(theirs.clone());
            taken.insert(name.clone(), theirs.clone());
        }
        self.config(taken, true)
    }

    fn config(&self, modalities: BTreeMap<Name, Name>, probe: bool) -> StartConfig {
        StartConfig { model: self.path.clone(), modalities, probe, layer_decay: layer_decay(), low_rank: None }
    }

    /// Trunks as the model has them; a modality that it lacks gets a tower as large as the smallest.
    pub(crate) fn trunks(&self, modalities: &BTreeMap<Name, ModalityConfig>, config: &StartConfig) -> ModelConfig {
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
        let mut sources = self.sources(config, &new);
        let mut taken = Taken::default();
        let tensor = |tensor: NamedTensor| match sources.remove(&tensor.name) {
            Some(source) => {
                taken.tensors.push(tensor.name.clone());
                NamedTensor { values: source.values, ..tensor }
            }
            None => tensor,
        };
        let tensors = by_name(export(&new).into_iter().map(tensor));
        let own: Vec<Name> = new.preparation().modalities.keys().cloned().collect();
        taken.modalities = own.iter().filter(|name| config.modalities.contains_key(*name)).cloned().collect();
        taken.new = own.into_iter().filter(|name| !config.modalities.contains_key(name)).collect();
        Ok((import(new, &tensors)?, taken))
    }

    /// By the names that they have in a new model: those of this model's tensors that it can start from.
    pub(crate) fn sources(&self, config: &StartConfig, new: &Model) -> BTreeMap<String, NamedTensor> {
        let old: BTreeMap<String, NamedTensor> =
            export(&self.model).into_iter().map(|tensor| (without_kind(&tensor.name), tensor)).collect();
        let names = |model: &Model| model.preparation().modalities.keys().cloned().collect::<Vec<_>>();
        let (theirs, own) = (names(&self.model), names(new));
        let same_objectives = self.model.architecture().objectives == new.architecture().objectives;
        let source = |tensor: NamedTensor| {
            let name = old_name(&tensor.name, &own, &theirs, config)?;
            let source = old.get(&without_kind(&name))?;
            let fits = source.shape == tensor.shape && (same_objectives || !source.name.starts_with("objectives"));
            fits.then(|| (tensor.name, source.clone()))
        };
        export(new).into_iter().filter_map(source).collect()
    }

    /// The model itself.
    pub fn model(&self) -> &Model {
        &self.model
    }
}

pub(crate) fn by_name(tensors: impl Iterator<Item = NamedTensor>) -> BTreeMap<String, NamedTensor> {
    tensors.map(|tensor| (tensor.name.clone(), tensor)).collect()
}

/// What a parameter is called in the model that is started from; nothing for a new modality's.
fn old_name(name: &str, own: &[Name], theirs: &[Name], config: &StartConfig) -> Option<String> {
    let Some((at, number)) = modality_number(name) else { return Some(name.to_owned()) };
    let old = config.modalities.get(own.get(number)?)?;
    let mut parts: Vec<String> = name.split('.').map(str::to_owned).collect();
    parts[at] = theirs.iter().position(|name| name == old)?.to_string();
    Some(parts.join("."))
}

/// A path without the kind of trunks, of which towers are the same in all that have some.
fn without_kind(name: &str) -> String {
    match name.split('.').collect::<Vec<_>>()[..] {
        ["trunks", _, ref rest @ ..] => format!("trunks.{}", rest.join(".")),
        _ => name.to_owned(),
    }
}

/// How fast what was taken over may change: not at all, or the more slowly the deeper it lies.
pub(crate) fn groups(taken: &Taken, training: Training, layer_decay: f64) -> Vec<GroupConfig> {
    let group = |name: &String, lr: f64| GroupConfig { pattern: name.clone(), lr, weight_decay: None };
    let depth = |name: &str| {
        let parts: Vec<&str> = name.split('.').collect();
        parts.windows(2).find(|pair| pair[0] == "blocks").and_then(|pair| pair[1].parse::<i32>().ok())
    };
    let layers = taken.tensors.iter().filter_map(|name| depth(name)).max().map_or(0, |last| last + 1);
    let of = |name: &String| match (training, depth(name)) {
        (Training::Frozen | Training::Lora, _) => group(name, 0.0),
        (Training::Full, Some(block)) => group(name, layer_decay.powi(layers - block)),
        (Training::Full, None) if name.starts_with("trunks") => group(name, layer_decay),
        (Training::Full, None) => group(name, layer_decay.powi(layers + 1)),
    };
    taken.tensors.iter().map(of).collect()
}

/// Whether a trunk, by its path (`towers.0`, `joint`), was taken over.
pub(crate) fn is_taken(taken: &Taken, trunk: &str) -> bool {
    let below = format!("trunks.{trunk}.");
    taken.tensors.iter().any(|name| without_kind(name).starts_with(&below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_keep_their_names_whatever_the_numbers() {
        let [own, theirs] = [["scan", "table"], ["image", "text"]].map(|names| names.map(Name::new));
        let config = StartConfig {
            model: PathBuf::new(),
            modalities: [(Name::new("scan"), Name::new("text"))].into(),
            probe: false,
            layer_decay: 0.5,
            low_rank: None,
        };
        let old = |name: &str| old_name(name, &own, &theirs, &config);
        assert_eq!(old("trunks.Fused.towers.0.norm.gamma").unwrap(), "trunks.Fused.towers.1.norm.gamma");
        assert_eq!(old("trunks.Fused.towers.1.norm.gamma"), None, "a new modality's");
        assert_eq!(without_kind("trunks.Fused.towers.1.norm"), without_kind("trunks.Towers.towers.1.norm"));
        let taken = Taken { tensors: vec!["trunks.Fused.towers.0.norm.gamma".to_owned()], ..Taken::default() };
        assert!(is_taken(&taken, "towers.0") && !is_taken(&taken, "towers.1") && !is_taken(&taken, "joint"));
    }

    #[test]
    fn deeper_blocks_change_more_slowly() {
        let tensors = ["encoders.0.w", "trunks.Shared.trunk.blocks.0.w", "trunks.Shared.trunk.blocks.1.w"];
        let taken = Taken { tensors: tensors.map(str::to_owned).to_vec(), ..Taken::default() };
        let rates = |training| groups(&taken, training, 0.5).into_iter().map(|group| group.lr).collect::<Vec<_>>();
        assert_eq!(rates(Training::Full), [0.125, 0.25, 0.5]);
        assert_eq!(rates(Training::Lora), [0.0; 3]);
    }
}
