use burn::{
    module::{Module, Param},
    tensor::{Bool, Device, Int, Tensor, TensorData},
};
use sensorium_backbone::{Draw, Linear, Transformer, param};
use sensorium_contract::{Features, Name, Pooled, Seed, Tokens};

use crate::Topology;

/// The Transformers of a model. Modalities are numbered in the order of their names.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Trunks {
    /// See [`Topology::Shared`].
    Shared(SharedTrunk),
    /// See [`Topology::Towers`].
    Towers(Towers),
    /// See [`Topology::Fused`].
    Fused(FusedTrunks),
}

/// One trunk for all.
#[derive(Module, Debug)]
pub struct SharedTrunk {
    /// Added to every token, one vector a modality, `[width]`. Each is a parameter of its own, so
    /// that an absent modality's is left alone.
    pub modality: Vec<Param<Tensor<1>>>,
    /// The trunk.
    pub trunk: Transformer,
}

/// A trunk each.
#[derive(Module, Debug)]
pub struct Towers {
    /// One a modality.
    pub towers: Vec<Transformer>,
}

/// A trunk each, then one for all.
#[derive(Module, Debug)]
pub struct FusedTrunks {
    /// One a modality.
    pub towers: Vec<Transformer>,
    /// From each tower's width to that of the joint trunk.
    pub bridges: Vec<Linear>,
    /// Added to every token of the joint trunk, one vector a modality, `[width]`.
    pub modality: Vec<Param<Tensor<1>>>,
    /// Reads the towers' features together.
    pub joint: Transformer,
}

impl Trunks {
    pub(crate) fn new(topology: &Topology, names: &[Name], seed: Seed, device: &Device) -> Self {
        let tower = |name: &Name| Transformer::new(topology.tower(name), seed.named(name), device);
        let embeddings = |width: usize| {
            let seed = seed.named("modality embedding");
            names.iter().map(|name| param([width], Draw::Normal(0.02), seed.named(name), device)).collect()
        };
        match topology {
            Topology::Shared { trunk } => Self::Shared(SharedTrunk {
                modality: embeddings(trunk.width),
                trunk: Transformer::new(trunk, seed.named("trunk"), device),
            }),
            Topology::Towers { .. } => Self::Towers(Towers { towers: names.iter().map(tower).collect() }),
            Topology::Fused { joint, .. } => Self::Fused(FusedTrunks {
                towers: names.iter().map(tower).collect(),
                bridges: names.iter().map(|name| bridge(topology, name, joint.width, seed, device)).collect(),
                modality: embeddings(joint.width),
                joint: Transformer::new(joint, seed.named("joint"), device),
            }),
        }
    }

    /// The trunks with `change` of each, which it gets with its path below the trunks (`towers.0`, `trunk`, `joint`).
    pub(crate) fn with_transformers(self, change: &dyn Fn(&str, Transformer) -> Transformer) -> Self {
        let all = |towers: Vec<Transformer>| {
            towers.into_iter().enumerate().map(|(at, tower)| change(&format!("towers.{at}"), tower)).collect()
        };
        match self {
            Self::Shared(shared) => Self::Shared(SharedTrunk { trunk: change("trunk", shared.trunk), ..shared }),
            Self::Towers(Towers { towers }) => Self::Towers(Towers { towers: all(towers) }),
            Self::Fused(fused) => {
                Self::Fused(FusedTrunks { towers: all(fused.towers), joint: change("joint", fused.joint), ..fused })
            }
        }
    }

    /// What is computed of a modality's tokens once, whatever passes read it.
    pub(crate) fn alone(&self, modality: usize, tokens: Tokens) -> Stage {
        match self {
            Self::Shared(shared) => Stage::Tokens(with_embedding(tokens, &shared.modality[modality])),
            Self::Towers(Towers { towers }) | Self::Fused(FusedTrunks { towers, .. }) => {
                Stage::Features(towers[modality].forward(tokens))
            }
        }
    }

    /// The features of a pass from the stages of its modalities; `jointly` if it may have several,
    /// whatever number of them this batch holds.
    ///
    /// # Panics
    /// For several modalities in a topology that cannot read them together: building a model
    /// excludes it.
    pub(crate) fn together(&self, mut stages: Vec<(usize, Stage)>, jointly: bool) -> Features {
        match (self, jointly) {
            (Self::Shared(shared), _) => {
                shared.trunk.forward(Tokens::concat(stages.into_iter().map(|(_, stage)| stage.into_tokens()).collect()))
            }
            (_, false) => stages.remove(0).1.into_features(),
            (Self::Fused(fused), _) => {
                let bridged = stages.into_iter().map(|(modality, stage)| fused.bridged(modality, stage.into_tokens()));
                fused.joint.forward(Tokens::concat(bridged.collect()))
            }
            (Self::Towers(_), _) => panic!("towers cannot read modalities together"),
        }
    }
}

impl FusedTrunks {
    fn bridged(&self, modality: usize, tokens: Tokens) -> Tokens {
        let values = self.bridges[modality].forward(tokens.values.clone());
        with_embedding(Tokens { values, ..tokens }, &self.modality[modality])
    }
}

fn bridge(topology: &Topology, name: &Name, width: usize, seed: Seed, device: &Device) -> Linear {
    let inputs = topology.token_width(name);
    let draw = Draw::Normal((inputs as f32).powf(-0.5));
    Linear::new(inputs, width, draw, seed.named("bridge").named(name), device)
}

fn with_embedding(tokens: Tokens, vector: &Param<Tensor<1>>) -> Tokens {
    Tokens { values: tokens.values + vector.val().unsqueeze(), ..tokens }
}

/// What is known of a modality before it meets others.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    Tokens(Tokens),
    Features(Features),
}

impl Stage {
    fn into_tokens(self) -> Tokens {
        match self {
            Self::Tokens(tokens) => tokens,
            Self::Features(features) => features.tokens,
        }
    }

    fn into_features(self) -> Features {
        match self {
            Self::Features(features) => features,
            Self::Tokens(tokens) => Features { pooled: tokens.pool(), tokens },
        }
    }

    /// The given rows in the given order. All tokens of a row without a place are hidden.
    pub(crate) fn select(self, places: &[Option<usize>], of: usize) -> Self {
        if places.len() == of && places.iter().enumerate().all(|(at, &place)| place == Some(at)) {
            return self;
        }
        // What stands in a hidden place is never read.
        let index: Vec<i64> = places.iter().map(|place| place.unwrap_or(0) as i64).collect();
        let index = |device: &Device| Tensor::from_data(TensorData::from(index.as_slice()), &device.clone().inner());
        let select = |tokens: Tokens| {
            let device = tokens.values.device().inner();
            let index = index(&device);
            let mask = match places.contains(&None) {
                true => Some(tokens.full_mask()),
                false => tokens.mask,
            };
            let real: Vec<i64> = places.iter().map(|place| place.is_some() as i64).collect();
            let real = Tensor::<1, Int>::from_data(TensorData::from(real.as_slice()), &device).unsqueeze_dim::<2>(1);
            // Through integers: of booleans, flex's `select` makes bytes, which join no other mask.
            let rows_of = |mask: Tensor<2, Bool>| (mask.int().select(0, index.clone()) * real).equal_scalar(1);
            let mask = mask.map(rows_of);
            Tokens { values: tokens.values.select(0, index), mask, segments: tokens.segments }
        };
        match self {
            Self::Tokens(tokens) => Self::Tokens(select(tokens)),
            Self::Features(Features { tokens, pooled }) => {
                let index = index(&tokens.values.device());
                let rows_of =
                    |Pooled { name, vector }: Pooled| Pooled { name, vector: vector.select(0, index.clone()) };
                Self::Features(Features { pooled: pooled.into_iter().map(rows_of).collect(), tokens: select(tokens) })
            }
        }
    }
}
