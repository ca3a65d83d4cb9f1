use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use sensorium_backbone::{Draw, Linear};
use sensorium_contract::{Corruption, Head, Name, Objective, Outputs, Pass, PassOutput, Preparation, Seed};
use sensorium_modalities::{Encoder, Modalities};
use sensorium_objectives::{AnyObjective, ObjectiveConfig, Surroundings};

use crate::{
    Architecture, BatchPlan, ModelError, Projection, Trunks,
    plan::{Input, InputKey, Places, PlannedPass},
    trunks::Stage,
};

/// Encoders, trunks, heads and objectives. Modalities are numbered in the order of their names.
#[derive(Module, Debug)]
pub struct Model {
    /// Arrays to tokens, one a modality.
    pub encoders: Vec<Encoder>,
    /// Tokens to features.
    pub trunks: Trunks,
    /// Pooled features to the space that modalities share, one a modality.
    pub projections: Vec<Linear>,
    /// Features to losses.
    pub objectives: Vec<AnyObjective>,
    #[module(skip)]
    pub(crate) parts: Arc<Parts>,
}

/// What a model knows beside its parameters.
#[derive(Debug)]
pub(crate) struct Parts {
    pub architecture: Architecture,
    pub modalities: Modalities,
    pub preparation: Preparation,
    pub names: Vec<Name>,
    /// What the objectives read, each pass once.
    pub passes: Vec<Pass>,
}

impl Model {
    /// A model with drawn weights.
    ///
    /// # Errors
    /// If topology, objectives and modalities do not fit together.
    pub fn new(
        architecture: &Architecture,
        modalities: Modalities,
        seed: Seed,
        device: &Device,
    ) -> Result<Self, ModelError> {
        architecture.check()?;
        let topology = &architecture.model.topology;
        let names: Vec<Name> = modalities.fitted.keys().cloned().collect();
        let encoder = |name: &Name| {
            let seed = seed.named("encoder").named(name);
            modalities.fitted[name].encoder(name, topology.token_width(name), seed, device)
        };
        let projection = |name: &Name| {
            let width = topology.tower(name).width;
            let draw = Draw::Normal((width as f32).powf(-0.5));
            let (seed, embedding) = (seed.named("projection").named(name), architecture.model.embedding);
            match architecture.model.projection {
                Projection::Linear => Linear::without_bias(width, embedding, draw, seed, device),
                Projection::Affine | Projection::Tanh => Linear::new(width, embedding, draw, seed, device),
            }
        };
        let objectives = objectives(architecture, &modalities, seed.named("objectives"), device)?;
        Ok(Self {
            encoders: names.iter().map(encoder).collect(),
            trunks: Trunks::new(topology, &names, seed.named("trunks"), device),
            projections: names.iter().map(projection).collect(),
            parts: Arc::new(Parts {
                architecture: architecture.clone(),
                preparation: preparation(&modalities, &objectives)?,
                passes: passes(&objectives, architecture)?,
                modalities,
                names,
            }),
            objectives,
        })
    }

    /// What it was built from.
    pub fn architecture(&self) -> &Architecture {
        &self.parts.architecture
    }

    /// Samples to batches.
    pub fn preparation(&self) -> &Preparation {
        &self.parts.preparation
    }

    /// The modalities with what they learned from data.
    pub fn modalities(&self) -> &Modalities {
        &self.parts.modalities
    }

    /// The passes that its objectives read, each once.
    pub fn passes(&self) -> &[Pass] {
        &self.parts.passes
    }

    /// Steps after which the same objectives come again.
    pub fn period(&self) -> u64 {
        self.objectives.iter().map(Objective::every).fold(1, lcm)
    }

    /// The objectives of this step.
    pub(crate) fn active(&self, step: u64) -> impl Iterator<Item = &AnyObjective> {
        self.objectives.iter().filter(move |objective| step.is_multiple_of(objective.every()))
    }

    /// The passes that the objectives of a step read, each once.
    pub fn passes_at(&self, step: u64) -> Vec<Pass> {
        self.active(step).flat_map(Objective::passes).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Runs planned passes: embed, then each pass on what it reads.
    pub(crate) fn forward(&self, plan: &BatchPlan) -> Outputs {
        let device = self.device().inner();
        let alone = |(key, input): (&InputKey, &Input)| {
            let modality = self.number(&key.0);
            let tokens = self.encoders[modality].tokens(&input.arrays, &device);
            (key.clone(), (self.trunks.alone(modality, tokens), input.rows.len()))
        };
        let stages: BTreeMap<InputKey, (Stage, usize)> = plan.inputs.iter().map(alone).collect();
        let output = |pass: &PlannedPass| {
            let stage = |(key, places): (&InputKey, &Places)| {
                let (stage, rows) = stages[key].clone();
                (self.number(&key.0), stage.select(places, rows))
            };
            let jointly = pass.plan.pass.modalities.len() > 1;
            let features = self.trunks.together(pass.inputs().map(stage).collect(), jointly);
            let pass = pass.plan.clone();
            let embedding =
                is_embedding(&pass.pass).then(|| self.project(&pass.pass.modalities[0], &features.pooled[0].vector));
            PassOutput { plan: pass, features: Some(features), embedding }
        };
        Outputs(plan.passes.iter().map(output).collect())
    }

    /// `[rows, width]` → `[rows, embedding]` of length 1
    pub(crate) fn project(&self, name: &Name, pooled: &Tensor<2>) -> Tensor<2> {
        let projected = self.projections[self.number(name)].forward(pooled.clone());
        let projected = match self.parts.architecture.model.projection {
            Projection::Linear | Projection::Affine => projected,
            Projection::Tanh => projected.tanh(),
        };
        let length = projected.clone().square().sum_dim(1).sqrt().clamp_min(1e-12); // [rows, 1]
        projected / length
    }

    /// Where the parameters are.
    pub(crate) fn device(&self) -> Device {
        self.projections[0].weight.device()
    }

    pub(crate) fn number(&self, name: &Name) -> usize {
        // Passes name modalities of the recipe alone: building the objectives checks it.
        self.parts.names.binary_search(name).unwrap_or_else(|_| panic!("no modality `{name}`"))
    }
}

/// The least common multiple of two numbers that are at least 1.
fn lcm(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}

/// Samples to batches with everything that the objectives ask of them.
fn preparation(modalities: &Modalities, objectives: &[AnyObjective]) -> Result<Preparation, ModelError> {
    let mut preparation = modalities.preparation();
    for objective in objectives {
        preparation.targets.extend(objective.targets());
        preparation.dropout = preparation.dropout.max(objective.modality_dropout());
    }
    match preparation.targets.keys().find(|name| preparation.modalities.contains_key(*name)) {
        None => Ok(preparation),
        Some(name) => {
            let problem = format!("the label `{name}` has the name of a modality");
            Err(ModelError::Impossible { key: "objectives".into(), problem })
        }
    }
}

/// Whether a pass gives a vector of the common space.
pub(crate) fn is_embedding(pass: &Pass) -> bool {
    pass.modalities.len() == 1 && pass.corruption == Corruption::None
}

fn objectives(
    architecture: &Architecture,
    modalities: &Modalities,
    seed: Seed,
    device: &Device,
) -> Result<Vec<AnyObjective>, ModelError> {
    let heads: BTreeMap<Name, Vec<Head>> =
        modalities.fitted.iter().map(|(name, fitted)| (name.clone(), fitted.modality().heads())).collect();
    let width = |names: &[Name]| architecture.model.topology.feature_width(names);
    let build = |(number, config): (usize, &ObjectiveConfig)| {
        let seed = seed.number(number as u64);
        config.build(&Surroundings { modalities: &heads, width: &width, seed, device })
    };
    Ok(architecture.objectives.iter().enumerate().map(build).collect::<Result<_, _>>()?)
}

fn passes(objectives: &[AnyObjective], architecture: &Architecture) -> Result<Vec<Pass>, ModelError> {
    let all: BTreeSet<Pass> = objectives.iter().flat_map(Objective::passes).collect();
    let joint = all.iter().find(|pass| pass.modalities.len() > 1);
    match joint {
        Some(pass) if !architecture.model.topology.reads_jointly() => Err(ModelError::NotJoint(pass.clone())),
        _ => Ok(all.into_iter().collect()),
    }
}
