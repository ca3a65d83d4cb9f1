//! A model to start from: what of it is taken over, and how fast it may change.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::tensor::Device;
use sensorium_backbone::TransformerConfig;
use sensorium_contract::{Name, Sample};
use sensorium_modalities::{Fitted, Modalities, ModalityConfig, ModalityError, image::ImageConfig, text::TextConfig};
use sensorium_model::{Model, ModelConfig, ModelError, Topology, load, modality_number};
use sensorium_objectives::ObjectiveConfig;
use sensorium_state::{NamedTensor, export, import};
use sensorium_train::GroupConfig;

use crate::{AdaptError, StartConfig, Training, recipe::layer_decay};

/// Published networks that are wider learn more slowly, by their width's excess over this one: the wider a network, the
/// smaller the steps that it bears (Yang et al. 2022).
const PACED_WIDTH: f64 = 192.0;
/// Blocks that read what published towers make of each column together.
const JOINT_LAYERS: usize = 2;

/// A model to start from.
pub struct Start {
    path: PathBuf,
    model: Model,
    /// Whether it is a published checkpoint: then its towers bring their own preprocessing, and serve any name.
    published: bool,
}

/// What was taken over and what is new.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// Parameters that start from the model.
    pub tensors: Vec<String>,
    /// Modalities that start from the model.
    pub modalities: Vec<Name>,
    /// Modalities that start from drawn weights.
    pub new: Vec<Name>,
    /// Factor of the learning rate of all that starts from the model.
    pub pace: f64,
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
        Ok(Self { path, model, published: false })
    }

    /// A published checkpoint of the directory `path` as a model of towers.
    pub fn published(path: &Path, model: Model) -> Self {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Self { path, model, published: true }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// For a recipe: which of its modalities start from the model. A published checkpoint serves all of the kinds that
    /// it reads, and brings their towers and preprocessing into the recipe, and how similarities are scaled.
    ///
    /// # Errors
    /// If the recipe has no place for a published checkpoint's towers, or nothing that it reads.
    pub fn begin(
        &self,
        modalities: &mut BTreeMap<Name, ModalityConfig>,
        model: &mut ModelConfig,
        objectives: &mut [ObjectiveConfig],
    ) -> Result<StartConfig, AdaptError> {
        if !self.published {
            return Ok(self.by_name(modalities));
        }
        let config = StartConfig { probe: false, ..self.adopt(modalities)? };
        let theirs = &self.model.architecture().model;
        let served = || config.modalities.iter().map(|(own, old)| (own.clone(), theirs.topology.tower(old).clone()));
        match &mut model.topology {
            Topology::Towers { towers } | Topology::Fused { towers, .. } => towers.extend(served()),
            Topology::Shared { .. } if modalities.len() == 1 => {
                model.topology = Topology::Towers { towers: served().collect() };
            }
            Topology::Shared { .. } => {
                let problem = "a published checkpoint brings a trunk of its own: take `towers` or `fused`".to_owned();
                return Err(ModelError::Impossible { key: "model.topology".to_owned(), problem }.into());
            }
        }
        (model.embedding, model.projection) = (theirs.embedding, theirs.projection);
        let own: Vec<&Name> = modalities.keys().collect();
        for objective in objectives {
            self.scale(objective, &own, &config);
        }
        Ok(config)
    }

    /// Lets an objective that contrasts the model's modalities begin where the model's own has come to.
    fn scale(&self, objective: &mut ObjectiveConfig, all: &[&Name], config: &StartConfig) {
        let served = |pairs: &[[Name; 2]]| match pairs {
            [] => all.iter().all(|name| config.modalities.contains_key(*name)),
            pairs => pairs.as_flattened().iter().all(|name| config.modalities.contains_key(name)),
        };
        for theirs in &self.model.architecture().objectives {
            match (&mut *objective, theirs) {
                (ObjectiveConfig::Contrastive(own), ObjectiveConfig::Contrastive(theirs)) if served(&own.pairs) => {
                    own.temperature = theirs.temperature;
                }
                (ObjectiveConfig::PairwiseSigmoid(own), ObjectiveConfig::PairwiseSigmoid(theirs))
                    if served(&own.pairs) =>
                {
                    (own.scale, own.bias) = (theirs.scale, theirs.bias);
                }
                _ => {}
            }
        }
    }

    /// For a recipe that names its modalities: those of the same name and kind start from the model.
    fn by_name(&self, modalities: &BTreeMap<Name, ModalityConfig>) -> StartConfig {
        let theirs = &self.model.architecture().modalities;
        let same = |(name, own): &(&Name, &ModalityConfig)| {
            theirs.get(*name).is_some_and(|old| std::mem::discriminant(old) == std::mem::discriminant(*own))
        };
        let modalities = modalities.iter().filter(same).map(|(name, _)| (name.clone(), name.clone())).collect();
        self.config(modalities, false)
    }

    /// Gives each modality the configuration of the model's one of the same kind, where there is one
    /// that is not taken yet; a table's columns are always its own. A published tower serves every one of its kind.
    ///
    /// # Errors
    /// If a published checkpoint has a tower for none of them.
    pub(crate) fn adopt(&self, modalities: &mut BTreeMap<Name, ModalityConfig>) -> Result<StartConfig, AdaptError> {
        let mut taken = BTreeMap::new();
        let theirs = &self.model.architecture().modalities;
        let mut used = BTreeSet::new();
        for (name, own) in modalities.iter_mut() {
            let fits = |(name, config): &(&Name, &ModalityConfig)| {
                (self.published || !used.contains(*name))
                    && std::mem::discriminant(*config) == std::mem::discriminant(&*own)
            };
            let Some((theirs, config)) = theirs.iter().find(fits) else { continue };
            if matches!(own, ModalityConfig::Table(_)) {
                continue;
            }
            *own = self.configuration(own, config);
            used.insert(theirs.clone());
            taken.insert(name.clone(), theirs.clone());
        }
        if self.published && taken.is_empty() {
            let kinds = |all: &BTreeMap<Name, ModalityConfig>| {
                let kinds: BTreeSet<&str> = all.values().map(ModalityConfig::kind).collect();
                kinds.into_iter().collect::<Vec<_>>().join(", ")
            };
            let (path, reads) = (self.path.clone(), kinds(&self.model.architecture().modalities));
            return Err(AdaptError::NothingTaken { path, reads, found: kinds(modalities) });
        }
        Ok(self.config(taken, true))
    }

    fn config(&self, modalities: BTreeMap<Name, Name>, probe: bool) -> StartConfig {
        StartConfig { model: self.path.clone(), modalities, probe, layer_decay: layer_decay(), low_rank: None }
    }

    /// The model's configuration of a modality for another field. What changes while training stays one's own where
    /// the model is a published one, which says nothing of it; how many pictures a case has is the table's.
    fn configuration(&self, own: &ModalityConfig, theirs: &ModalityConfig) -> ModalityConfig {
        let mut taken = match (own, theirs) {
            (ModalityConfig::Text(own), ModalityConfig::Text(theirs)) if self.published => {
                ModalityConfig::Text(TextConfig { mask_ratio: own.mask_ratio, ..theirs.clone() })
            }
            (ModalityConfig::Image(own), ModalityConfig::Image(theirs)) if self.published => {
                let (augment, mask_ratio) = (own.augment.clone(), own.mask_ratio);
                ModalityConfig::Image(ImageConfig { augment, mask_ratio, pictures: own.pictures, ..theirs.clone() })
            }
            (ModalityConfig::Image(own), ModalityConfig::Image(theirs)) => {
                ModalityConfig::Image(ImageConfig { pictures: own.pictures, ..theirs.clone() })
            }
            _ => theirs.clone(),
        };
        taken.set_field(own.field().unwrap_or_default());
        taken
    }

    /// Trunks as the model has them. A modality that it lacks gets a tower as large as the smallest, and published
    /// towers are joined by a trunk; beside published ones, what is new is of the size that the table can teach.
    pub(crate) fn architecture(
        &self,
        modalities: &BTreeMap<Name, ModalityConfig>,
        config: &StartConfig,
        teachable: &TransformerConfig,
    ) -> ModelConfig {
        let theirs = &self.model.architecture().model;
        let towers = |all: &BTreeMap<Name, TransformerConfig>| {
            let smallest = all.values().min_by_key(|tower| tower.width * tower.layers).cloned().unwrap_or_default();
            let beside = || TransformerConfig {
                layers: teachable.layers.saturating_sub(JOINT_LAYERS).max(1),
                ..teachable.clone()
            };
            let smallest = if self.published { beside() } else { smallest };
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
                let like = if self.published { teachable.clone() } else { widest };
                Topology::Fused { joint: TransformerConfig { layers: JOINT_LAYERS, ..like }, towers }
            }
            Topology::Fused { towers: all, joint } => Topology::Fused { towers: towers(all), joint: joint.clone() },
        };
        ModelConfig { embedding: theirs.embedding, projection: theirs.projection, topology }
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
        let mut kept = BTreeMap::new();
        for (name, own) in configs {
            let old = config.modalities.get(name).and_then(|old| self.model.modalities().fitted.get(old));
            let (Some(Fitted::Text(old)), ModalityConfig::Text(own)) = (old, own) else { continue };
            let text = old.configured(own.clone());
            let text = text.map_err(|problem| ModalityError { name: name.clone(), problem: problem.into() })?;
            kept.insert(name.clone(), Fitted::Text(Arc::new(text.named(name))));
        }
        let rest = configs.iter().filter(|(name, _)| !kept.contains_key(*name));
        let mut modalities = Modalities::fit(&rest.map(|(name, own)| (name.clone(), own.clone())).collect(), samples)?;
        modalities.fitted.extend(kept);
        Ok(modalities)
    }

    /// What the learning rate of published towers is multiplied by.
    fn pace(&self) -> f64 {
        match &self.model.architecture().model.topology {
            Topology::Towers { towers } if self.published => {
                let widest = towers.values().map(|tower| tower.width).max().unwrap_or(1);
                (PACED_WIDTH / widest as f64).min(1.0)
            }
            _ => 1.0,
        }
    }

    /// The model's weights in a new one, by the names of modalities; those of objectives where all are
    /// the same.
    ///
    /// # Errors
    /// Never for models of one build.
    pub fn transfer(&self, config: &StartConfig, new: Model) -> Result<(Model, Taken), AdaptError> {
        let mut sources = self.sources(config, &new);
        let mut tensors_taken = Vec::new();
        let tensor = |tensor: NamedTensor| match sources.remove(&tensor.name) {
            Some(source) => {
                tensors_taken.push(tensor.name.clone());
                NamedTensor { values: source.values, ..tensor }
            }
            None => tensor,
        };
        let tensors = by_name(export(&new).into_iter().map(tensor));
        let own: Vec<Name> = new.preparation().modalities.keys().cloned().collect();
        let (modalities, new_ones) = own.into_iter().partition(|name| config.modalities.contains_key(name));
        let taken = Taken { tensors: tensors_taken, modalities, new: new_ones, pace: self.pace() };
        Ok((import(new, &tensors)?, taken))
    }

    /// By the names that they have in a new model: what it can start from of this model's tensors, which keep their
    /// own names.
    pub(crate) fn sources(&self, config: &StartConfig, new: &Model) -> BTreeMap<String, NamedTensor> {
        let old: BTreeMap<String, NamedTensor> =
            export(&self.model).into_iter().map(|tensor| (without_kind(&tensor.name), tensor)).collect();
        let names = |model: &Model| model.preparation().modalities.keys().cloned().collect::<Vec<_>>();
        let (theirs, own) = (names(&self.model), names(new));
        let same_objectives = self.model.architecture().objectives == new.architecture().objectives;
        let source = |tensor: NamedTensor| {
            let name = old_name(&tensor.name, &own, &theirs, config)?;
            let source = old.get(&without_kind(&name))?;
            let wanted = same_objectives || !source.name.starts_with("objectives");
            let values = values(source, &tensor).filter(|_| wanted)?;
            Some((tensor.name, NamedTensor { name: source.name.clone(), shape: tensor.shape, values }))
        };
        export(new).into_iter().filter_map(source).collect()
    }
}

pub(crate) fn by_name(tensors: impl Iterator<Item = NamedTensor>) -> BTreeMap<String, NamedTensor> {
    tensors.map(|tensor| (tensor.name.clone(), tensor)).collect()
}

/// What a parameter begins with; fewer positions of a text than the model has are its first. Nothing if the shapes
/// differ otherwise.
fn values(source: &NamedTensor, new: &NamedTensor) -> Option<Vec<f32>> {
    if source.shape == new.shape {
        return Some(source.values.clone());
    }
    match (&source.shape[..], &new.shape[..]) {
        ([most, width], [count, own]) if width == own && count < most && new.name.ends_with(".Text.positions") => {
            Some(source.values[..count * width].to_vec())
        }
        _ => None,
    }
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
    let pace = taken.pace;
    let of = |name: &String| match (training, depth(name)) {
        (Training::Frozen | Training::Lora, _) => group(name, 0.0),
        (Training::Full, Some(block)) => group(name, pace * layer_decay.powi(layers - block)),
        (Training::Full, None) if name.starts_with("trunks") => group(name, pace * layer_decay),
        (Training::Full, None) => group(name, pace * layer_decay.powi(layers + 1)),
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

    fn taken(tensors: &[&str]) -> Taken {
        let tensors = tensors.iter().map(|&name| name.to_owned()).collect();
        Taken { tensors, modalities: Vec::new(), new: Vec::new(), pace: 1.0 }
    }

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
        let taken = taken(&["trunks.Fused.towers.0.norm.gamma"]);
        assert!(is_taken(&taken, "towers.0") && !is_taken(&taken, "towers.1") && !is_taken(&taken, "joint"));
        let tenth = self::taken(&["trunks.Fused.towers.10.norm.gamma"]);
        assert!(is_taken(&tenth, "towers.10") && !is_taken(&tenth, "towers.1"));
    }

    #[test]
    fn deeper_blocks_change_more_slowly() {
        let taken = taken(&["encoders.0.w", "trunks.Shared.trunk.blocks.0.w", "trunks.Shared.trunk.blocks.1.w"]);
        let rates = |training| groups(&taken, training, 0.5).into_iter().map(|group| group.lr).collect::<Vec<_>>();
        assert_eq!(rates(Training::Full), [0.125, 0.25, 0.5]);
        assert_eq!(rates(Training::Lora), [0.0; 3]);
    }
}
