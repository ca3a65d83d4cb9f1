//! Losses, one file each. They read the outputs of passes and know no modality's name.

mod contrastive;
mod likelihood;
mod masked;
mod matching;
mod pairs;
mod sigmoid;
mod supervised;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use burn::{module::Module, tensor::Device};
use sensorium_contract::{Batch, Constants, Head, Loss, Name, Objective, Outputs, Pass, PassPlan, Seed, Target};
use serde::{Deserialize, Serialize};

pub use contrastive::{Contrastive, ContrastiveConfig, info_nce};
pub use likelihood::{IGNORED, likelihood, next_tokens};
pub use masked::{MaskedModelling, MaskedModellingConfig};
pub use matching::{Matching, MatchingConfig};
pub use pairs::Duplicates;
pub use sigmoid::{PairwiseSigmoid, PairwiseSigmoidConfig, pairwise_sigmoid};
pub use supervised::{Answer, Supervised, SupervisedConfig, Task};

/// What an objective is built for.
pub struct Surroundings<'a> {
    /// The recipe's modalities with the heads that predict their hidden tokens.
    pub modalities: &'a BTreeMap<Name, Vec<Head>>,
    /// Width of the features that a pass of these modalities returns.
    pub width: &'a dyn Fn(&[Name]) -> usize,
    /// Where initial weights are drawn from.
    pub seed: Seed,
    /// Where parameters live.
    pub device: &'a Device,
}

/// Why an objective cannot be built for a recipe's modalities.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ObjectiveError {
    /// The recipe has no modality of this name.
    #[error("objective `{objective}` names the modality `{name}`, but the recipe has {known}")]
    UnknownModality {
        /// Which objective.
        objective: &'static str,
        /// The name.
        name: Name,
        /// What there is.
        known: String,
    },
    /// The combination of modalities is impossible.
    #[error("objective `{objective}`: {problem}")]
    Impossible {
        /// Which objective.
        objective: &'static str,
        /// What is wrong.
        problem: String,
    },
}

/// An error unless a setting is a number above 0.
fn positive(objective: &'static str, key: &str, value: f32) -> Result<(), ObjectiveError> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(ObjectiveError::Impossible { objective, problem: format!("`{key}` must be above 0, found {value}") })
}

/// An error if modalities that are read together name one twice.
fn distinct(objective: &'static str, names: &[Name]) -> Result<(), ObjectiveError> {
    match names.iter().enumerate().find(|(place, name)| names[..*place].contains(name)) {
        Some((_, name)) => Err(ObjectiveError::Impossible { objective, problem: format!("it names `{name}` twice") }),
        None => Ok(()),
    }
}

/// The registry: one line an objective.
macro_rules! objectives {
    ($($variant:ident($module:ident, $config:ident);)*) => {
        /// Configuration of one objective.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        pub enum ObjectiveConfig {
            $(#[doc = concat!("See [`", stringify!($config), "`].")] $variant($config),)*
        }

        impl ObjectiveConfig {
            /// The objective with its parameters.
            pub fn build(&self, surroundings: &Surroundings) -> Result<AnyObjective, ObjectiveError> {
                match self { $(Self::$variant(config) => $module::new(config, surroundings).map(AnyObjective::$variant),)* }
            }
        }

        /// One objective of a model.
        #[derive(Module, Debug)]
        #[allow(clippy::large_enum_variant)]
        pub enum AnyObjective {
            $(#[doc = concat!("See [`", stringify!($module), "`].")] $variant($module),)*
        }

        impl Objective for AnyObjective {
            fn passes(&self) -> Vec<Pass> {
                match self { $(Self::$variant(objective) => objective.passes(),)* }
            }
            fn targets(&self) -> BTreeMap<Name, Arc<dyn Target>> {
                match self { $(Self::$variant(objective) => objective.targets(),)* }
            }
            fn modality_dropout(&self) -> f32 {
                match self { $(Self::$variant(objective) => objective.modality_dropout(),)* }
            }
            fn every(&self) -> u64 {
                match self { $(Self::$variant(objective) => objective.every(),)* }
            }
            fn compares_samples(&self) -> bool {
                match self { $(Self::$variant(objective) => objective.compares_samples(),)* }
            }
            fn loss(&self, outputs: &Outputs, batch: &Batch) -> Loss {
                match self { $(Self::$variant(objective) => objective.loss(outputs, batch),)* }
            }
            fn items(&self, plans: &[PassPlan], pieces: &[Batch]) -> BTreeMap<String, usize> {
                match self { $(Self::$variant(objective) => objective.items(plans, pieces),)* }
            }
            fn add_truths(&self, plans: &[PassPlan], constants: &mut Constants) {
                match self { $(Self::$variant(objective) => objective.add_truths(plans, constants),)* }
            }
        }
    };
}

objectives! {
    Contrastive(Contrastive, ContrastiveConfig);
    PairwiseSigmoid(PairwiseSigmoid, PairwiseSigmoidConfig);
    MaskedModelling(MaskedModelling, MaskedModellingConfig);
    Matching(Matching, MatchingConfig);
    Supervised(Supervised, SupervisedConfig);
}
