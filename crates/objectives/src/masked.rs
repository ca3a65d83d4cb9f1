//! Prediction of hidden tokens, of one modality alone or of several read together.

use std::{collections::BTreeMap, num::NonZeroU64};

use burn::{
    module::Module,
    tensor::{Tensor, TensorData},
};
use sensorium_backbone::{Draw, Linear};
use sensorium_contract::{
    Batch, Constants, Corruption, Head, Loss, LossPart, MaskTarget, Name, Objective, Outputs, Pass, PassOutput,
    PassPlan, Truth, Values,
};
use sensorium_kernels::cross_entropy;
use serde::{Deserialize, Serialize};

use crate::{ObjectiveError, Surroundings, distinct, pairs::require};

const KIND: &str = "masked-modelling";

/// Masked modelling: tokens as BERT (Devlin et al. 2019), patches as MAE's per-patch normalised
/// pixels (He et al. 2022), table cells by their column's kind. What is hidden, at which ratio, and
/// what must be predicted is the modality's own business.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskedModellingConfig {
    /// The sets of modalities that are read together; each modality alone, if none are named.
    pub passes: Vec<Vec<Name>>,
    /// Factor in the sum of losses, of each modality in each pass.
    pub weight: f32,
    /// Only one of so many steps has this objective, which saves its passes in the others.
    pub every: NonZeroU64,
}

impl Default for MaskedModellingConfig {
    fn default() -> Self {
        Self { passes: Vec::new(), weight: 1.0, every: NonZeroU64::MIN }
    }
}

/// See [`MaskedModellingConfig`].
#[derive(Module, Debug)]
pub struct MaskedModelling {
    /// One linear layer a head, for each pass's modalities in order.
    pub heads: Vec<Linear>,
    #[module(skip)]
    routes: Vec<Route>,
    #[module(skip)]
    weight: f32,
    #[module(skip)]
    every: u64,
}

/// Where the heads of one modality in one pass are.
#[derive(Clone, Debug)]
struct Route {
    pass: Pass,
    modality: Name,
    first: usize,
}

impl Route {
    fn name(&self) -> String {
        match self.pass.modalities.len() {
            1 => format!("masked {}", self.modality),
            _ => format!("masked {} in {}", self.modality, Pass::joint(&self.pass.modalities)),
        }
    }

    fn targets<'a>(&self, plan: &'a PassPlan) -> impl Iterator<Item = &'a MaskTarget> {
        let modality = self.modality.clone();
        plan.targets.iter().filter(move |target| target.modality == modality && !target.rows.is_empty())
    }
}

impl MaskedModelling {
    /// The objective for a recipe's modalities.
    pub fn new(config: &MaskedModellingConfig, surroundings: &Surroundings) -> Result<Self, ObjectiveError> {
        let passes = resolve(config, surroundings.modalities)?;
        let (mut heads, mut routes) = (Vec::new(), Vec::new());
        for names in &passes {
            let width = (surroundings.width)(names);
            let pass = Pass::joint(names).with(Corruption::Masked);
            for modality in names {
                let first = heads.len();
                for head in &surroundings.modalities[modality] {
                    let seed = surroundings.seed.named(&pass.to_string()).named(modality).named(&head.name);
                    let (Values::Classes(outputs) | Values::Numbers(outputs)) = head.values;
                    heads.push(Linear::new(width, outputs, Draw::Normal(0.02), seed, surroundings.device));
                }
                routes.push(Route { pass: pass.clone(), modality: modality.clone(), first });
            }
        }
        Ok(Self { heads, routes, weight: config.weight, every: config.every.get() })
    }

    /// Mean loss over the hidden tokens of one modality, `[1]`.
    fn route_loss(&self, route: &Route, output: &PassOutput) -> Option<(Tensor<1>, usize)> {
        let mut sum: Option<Tensor<1>> = None;
        let mut items = 0;
        for target in route.targets(&output.plan) {
            let features = hidden_features(output, target)?; // [hidden, width]
            let predicted = self.heads[route.first + target.head].forward(features); // [hidden, outputs]
            let loss = mean_loss(predicted, &target.truth) * target.rows.len() as f32;
            items += target.rows.len();
            sum = Some(match sum {
                Some(sum) => sum + loss,
                None => loss,
            });
        }
        sum.map(|sum| (sum / items as f32, items))
    }
}

fn resolve(
    config: &MaskedModellingConfig,
    modalities: &BTreeMap<Name, Vec<Head>>,
) -> Result<Vec<Vec<Name>>, ObjectiveError> {
    for name in config.passes.iter().flatten() {
        require(KIND, name, modalities)?;
        if modalities[name].is_empty() {
            let problem = format!("modality `{name}` has nothing to predict (its tokenizer has no mask token)");
            return Err(ObjectiveError::Impossible { objective: KIND, problem });
        }
    }
    for (place, pass) in config.passes.iter().enumerate() {
        distinct(KIND, pass)?;
        if config.passes[..place].contains(pass) {
            let problem = format!("it reads {} twice", Pass::joint(pass));
            return Err(ObjectiveError::Impossible { objective: KIND, problem });
        }
    }
    if config.passes.iter().any(Vec::is_empty) {
        return Err(ObjectiveError::Impossible { objective: KIND, problem: "a pass names no modality".into() });
    }
    match config.passes.is_empty() {
        true => {
            Ok(modalities.iter().filter(|(_, heads)| !heads.is_empty()).map(|(name, _)| vec![name.clone()]).collect())
        }
        false => Ok(config.passes.clone()),
    }
}

/// Features of the hidden tokens, `[hidden, width]`.
fn hidden_features(output: &PassOutput, target: &MaskTarget) -> Option<Tensor<2>> {
    let tokens = &output.features.as_ref()?.tokens;
    let [rows, count, width] = tokens.values.dims();
    let start = tokens.segments.iter().find(|segment| segment.name == target.modality)?.range.start;
    let flat = target.rows.iter().zip(&target.tokens).map(|(row, token)| (row * count + start + token) as i64);
    let index = TensorData::from(flat.collect::<Vec<_>>().as_slice());
    let values = tokens.values.clone().reshape([rows * count, width]);
    Some(values.select(0, Tensor::from_data(index, &tokens.values.device().inner())))
}

/// Mean over the hidden tokens, `[1]`.
fn mean_loss(predicted: Tensor<2>, truth: &Truth) -> Tensor<1> {
    let device = predicted.device().inner();
    match truth {
        Truth::Classes(classes) => {
            cross_entropy(predicted, Tensor::from_data(TensorData::from(classes.as_slice()), &device))
        }
        Truth::Numbers(numbers) => {
            let shape = [numbers.nrows(), numbers.ncols()];
            let data = TensorData::new(numbers.iter().copied().collect::<Vec<f32>>(), shape);
            (predicted - Tensor::from_data(data, &device)).square().mean()
        }
    }
}

impl Objective for MaskedModelling {
    fn passes(&self) -> Vec<Pass> {
        let mut passes: Vec<Pass> = self.routes.iter().map(|route| route.pass.clone()).collect();
        passes.dedup();
        passes
    }

    fn every(&self) -> u64 {
        self.every
    }

    fn compares_samples(&self) -> bool {
        false
    }

    fn loss(&self, outputs: &Outputs, _batch: &Batch) -> Loss {
        let part = |route: &Route| {
            let (value, items) = self.route_loss(route, outputs.get(&route.pass)?)?;
            Some(LossPart { name: route.name(), value, weight: self.weight, items })
        };
        Loss { parts: self.routes.iter().filter_map(part).collect() }
    }

    fn items(&self, plans: &[PassPlan], _pieces: &[Batch]) -> BTreeMap<String, usize> {
        let count = |route: &Route| {
            let plans = plans.iter().filter(|plan| plan.pass == route.pass);
            let items = plans.flat_map(|plan| route.targets(plan)).map(|target| target.rows.len()).sum();
            (route.name(), items)
        };
        self.routes.iter().map(count).collect()
    }

    fn add_truths(&self, plans: &[PassPlan], constants: &mut Constants) {
        for route in &self.routes {
            let name = route.name();
            let plans = plans.iter().filter(|plan| plan.pass == route.pass);
            let targets = plans.flat_map(|plan| route.targets(plan));
            targets.for_each(|target| constants.add(&name, target.head, &target.truth));
        }
    }
}
