use std::{collections::BTreeMap, num::NonZeroU64};

use burn::{
    module::Module,
    tensor::{Tensor, activation::log_sigmoid},
};
use sensorium_backbone::{Draw, Linear};
use sensorium_contract::{
    Batch, Constants, Corruption, Loss, LossPart, Name, Objective, Outputs, Pass, PassOutput, PassPlan,
};
use serde::{Deserialize, Serialize};

use crate::{ObjectiveError, Surroundings, distinct, pairs::require};

const KIND: &str = "matching";

/// Do these belong together? Modalities read jointly, half of them with the last one taken from
/// another sample (ViLT, Kim et al. 2021; FLAVA, Singh et al. 2022). The other sample is one of the
/// same batch, or of the same piece of a batch that goes through the model in pieces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchingConfig {
    /// The modalities; the last one is exchanged.
    pub modalities: Vec<Name>,
    /// Factor in the sum of losses.
    #[serde(default = "one")]
    pub weight: f32,
    /// Only one of so many steps has this objective, which saves its passes in the others.
    #[serde(default = "each_step")]
    pub every: NonZeroU64,
}

fn one() -> f32 {
    1.0
}

fn each_step() -> NonZeroU64 {
    NonZeroU64::MIN
}

/// See [`MatchingConfig`].
#[derive(Module, Debug)]
pub struct Matching {
    /// `[width, 1]`, on the mean of the modalities' vectors.
    pub head: Linear,
    #[module(skip)]
    config: MatchingConfig,
}

impl Matching {
    /// The objective for a recipe's modalities.
    pub fn new(config: &MatchingConfig, surroundings: &Surroundings) -> Result<Self, ObjectiveError> {
        for name in &config.modalities {
            require(KIND, name, surroundings.modalities)?;
        }
        distinct(KIND, &config.modalities)?;
        if config.modalities.len() < 2 {
            let problem = "it needs two modalities or more".into();
            return Err(ObjectiveError::Impossible { objective: KIND, problem });
        }
        let width = (surroundings.width)(&config.modalities);
        let head = Linear::new(width, 1, Draw::Normal(0.02), surroundings.seed, surroundings.device);
        Ok(Self { head, config: config.clone() })
    }

    fn name(&self) -> String {
        format!("matching {}", self.matched())
    }

    fn matched(&self) -> Pass {
        Pass::joint(&self.config.modalities)
    }

    fn mismatched(&self) -> Pass {
        self.matched().with(Corruption::Mismatched)
    }

    /// How surely they belong together, `[rows, 1]`.
    fn logits(&self, output: &PassOutput) -> Option<Tensor<2>> {
        let pooled = &output.features.as_ref()?.pooled;
        let sum = pooled.iter().map(|pooled| pooled.vector.clone()).reduce(|sum, vector| sum + vector)?;
        Some(self.head.forward(sum / pooled.len() as f32))
    }

    fn losses(&self, outputs: &Outputs) -> Option<LossPart> {
        let (matched, mismatched) = (outputs.get(&self.matched())?, outputs.get(&self.mismatched())?);
        let items = matched.plan.rows.len() + mismatched.plan.rows.len();
        let sum = log_sigmoid(self.logits(matched)?).sum() + log_sigmoid(self.logits(mismatched)?.neg()).sum();
        let value = sum.neg() / items as f32;
        Some(LossPart { name: self.name(), value, weight: self.config.weight, items })
    }
}

impl Objective for Matching {
    fn passes(&self) -> Vec<Pass> {
        vec![self.matched(), self.mismatched()]
    }

    fn every(&self) -> u64 {
        self.config.every.get()
    }

    fn compares_samples(&self) -> bool {
        false
    }

    fn loss(&self, outputs: &Outputs, _batch: &Batch) -> Loss {
        Loss { parts: self.losses(outputs).into_iter().collect() }
    }

    fn items(&self, plans: &[PassPlan], _pieces: &[Batch]) -> BTreeMap<String, usize> {
        let read = self.passes();
        let items = plans.iter().filter(|plan| read.contains(&plan.pass)).map(|plan| plan.rows.len()).sum();
        BTreeMap::from([(self.name(), items)])
    }

    fn add_truths(&self, plans: &[PassPlan], constants: &mut Constants) {
        for (class, pass) in [self.mismatched(), self.matched()].iter().enumerate() {
            let rows = plans.iter().filter(|plan| plan.pass == *pass).map(|plan| plan.rows.len()).sum();
            constants.count(&self.name(), class as i64, rows);
        }
    }
}
