use std::collections::BTreeMap;

use sensorium_backbone::TransformerConfig;
use sensorium_contract::Name;
use sensorium_modalities::ModalityConfig;
use sensorium_objectives::ObjectiveConfig;
use serde::{Deserialize, Serialize};

use crate::ModelError;

/// How modalities share the backbone.
#[derive(Clone, Debug, PartialEq)]
pub enum Topology {
    /// Every modality goes through one trunk, with a modality embedding.
    Shared {
        /// The trunk.
        trunk: TransformerConfig,
    },
    /// A trunk each; modalities cannot be read together (CLIP).
    Towers {
        /// By modality.
        towers: BTreeMap<Name, TransformerConfig>,
    },
    /// A trunk each, and one more that reads their features together (FLAVA, Singh et al. 2022).
    Fused {
        /// By modality.
        towers: BTreeMap<Name, TransformerConfig>,
        /// The trunk over the towers' features.
        joint: TransformerConfig,
    },
}

/// The model of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ModelTable", into = "ModelTable")]
pub struct ModelConfig {
    /// Width of the space that modalities share.
    pub embedding: usize,
    /// How a pooled feature comes into it.
    pub projection: Projection,
    /// How modalities share the backbone.
    pub topology: Topology,
}

/// From a pooled feature to the space that modalities share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Projection {
    /// A matrix (CLIP).
    #[default]
    Linear,
    /// A matrix and a bias (FLAVA, SigLIP's texts).
    Affine,
    /// A matrix, a bias and the hyperbolic tangent (the pooler of ViT).
    Tanh,
}

/// All that a model is built from; saved as `model.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Architecture {
    /// By name.
    pub modalities: BTreeMap<Name, ModalityConfig>,
    /// Trunks and widths.
    pub model: ModelConfig,
    /// What it is trained for.
    pub objectives: Vec<ObjectiveConfig>,
}

/// [`ModelConfig`] as it is written: one table with all keys, so that an error names the nearest one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelTable {
    topology: TopologyKind,
    #[serde(default = "default_embedding")]
    embedding: usize,
    #[serde(default, skip_serializing_if = "Projection::is_linear")]
    projection: Projection,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trunk: Option<TransformerConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    towers: Option<BTreeMap<Name, TransformerConfig>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    joint: Option<TransformerConfig>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TopologyKind {
    Shared,
    Towers,
    Fused,
}

fn default_embedding() -> usize {
    192
}

impl Projection {
    fn is_linear(&self) -> bool {
        *self == Self::Linear
    }
}

impl TryFrom<ModelTable> for ModelConfig {
    type Error = String;

    fn try_from(table: ModelTable) -> Result<Self, String> {
        let ModelTable { topology, embedding, projection, trunk, towers, joint } = table;
        let topology = match (topology, trunk, towers, joint) {
            (TopologyKind::Shared, Some(trunk), None, None) => Topology::Shared { trunk },
            (TopologyKind::Towers, None, Some(towers), None) => Topology::Towers { towers },
            (TopologyKind::Fused, None, Some(towers), Some(joint)) => Topology::Fused { towers, joint },
            (TopologyKind::Shared, ..) => return Err("topology `shared` takes one table, `trunk`".into()),
            (TopologyKind::Towers, ..) => return Err("topology `towers` takes one table, `towers`".into()),
            (TopologyKind::Fused, ..) => return Err("topology `fused` takes two tables, `towers` and `joint`".into()),
        };
        Ok(Self { embedding, projection, topology })
    }
}

impl From<ModelConfig> for ModelTable {
    fn from(ModelConfig { embedding, projection, topology }: ModelConfig) -> Self {
        let (topology, trunk, towers, joint) = match topology {
            Topology::Shared { trunk } => (TopologyKind::Shared, Some(trunk), None, None),
            Topology::Towers { towers } => (TopologyKind::Towers, None, Some(towers), None),
            Topology::Fused { towers, joint } => (TopologyKind::Fused, None, Some(towers), Some(joint)),
        };
        Self { topology, embedding, projection, trunk, towers, joint }
    }
}

impl Architecture {
    /// Whether widths and trunks can work for these modalities.
    ///
    /// # Errors
    /// [`ModelError::Impossible`] with the key of the recipe.
    pub fn check(&self) -> Result<(), ModelError> {
        if self.model.embedding == 0 {
            return Err(ModelError::Impossible { key: "model.embedding".into(), problem: "must be above 0".into() });
        }
        self.model.topology.check(&self.modalities)
    }
}

impl Topology {
    /// Width of a modality's tokens as they enter its trunk.
    pub(crate) fn token_width(&self, name: &Name) -> usize {
        self.tower(name).width
    }

    /// The first trunk that a modality's tokens enter.
    ///
    /// # Panics
    /// If there is no such modality.
    pub fn tower(&self, name: &Name) -> &TransformerConfig {
        match self {
            Self::Shared { trunk } => trunk,
            Self::Towers { towers } | Self::Fused { towers, .. } => &towers[name],
        }
    }

    /// Width of the features that a pass of these modalities returns.
    pub(crate) fn feature_width(&self, names: &[Name]) -> usize {
        match (self, names) {
            (Self::Fused { joint, .. }, [_, _, ..]) => joint.width,
            _ => self.tower(&names[0]).width,
        }
    }

    /// What is impossible about it for these modalities.
    fn check(&self, modalities: &BTreeMap<Name, ModalityConfig>) -> Result<(), ModelError> {
        let trunks: Vec<(String, &TransformerConfig)> = match self {
            Self::Shared { trunk } => vec![("model.trunk".to_owned(), trunk)],
            Self::Towers { towers } => named(towers),
            Self::Fused { towers, joint } => {
                named(towers).into_iter().chain([("model.joint".to_owned(), joint)]).collect()
            }
        };
        for (key, trunk) in trunks {
            if let Some(problem) = trunk.problem() {
                return Err(ModelError::Impossible { key, problem });
            }
        }
        let (Self::Towers { towers } | Self::Fused { towers, .. }) = self else { return Ok(()) };
        if let Some(name) = modalities.keys().find(|name| !towers.contains_key(name)) {
            let problem = format!("modality `{name}` has no tower");
            return Err(ModelError::Impossible { key: "model.towers".into(), problem });
        }
        if let Some(name) = towers.keys().find(|name| !modalities.contains_key(name)) {
            let problem = format!("there is no modality `{name}`");
            return Err(ModelError::Impossible { key: format!("model.towers.{name}"), problem });
        }
        Ok(())
    }

    /// Whether modalities can be read together.
    pub(crate) fn reads_jointly(&self) -> bool {
        !matches!(self, Self::Towers { .. })
    }
}

fn named(towers: &BTreeMap<Name, TransformerConfig>) -> Vec<(String, &TransformerConfig)> {
    towers.iter().map(|(name, tower)| (format!("model.towers.{name}"), tower)).collect()
}
