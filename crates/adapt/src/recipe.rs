use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use sensorium_backbone::LowRankConfig;
use sensorium_contract::{Name, Seed};
use sensorium_modalities::ModalityConfig;
use sensorium_model::{Architecture, ModelConfig};
use sensorium_objectives::{ObjectiveConfig, SupervisedConfig};
use sensorium_recipe::apply_override;
use sensorium_samples::LoaderConfig;
use sensorium_state::{StateError, commit};
use sensorium_train::TrainConfig;
use serde::{Deserialize, Serialize};

use crate::{AdaptError, Duration, Reading};

const RECIPE: &str = "recipe.toml";

/// What the user asked for: options of `finetune`, or a recipe of it. It is kept with the run, which goes on with the
/// same request only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// Files of the table.
    pub data: Vec<String>,
    /// The label, or a question about a column.
    pub label: String,
    /// Kinds of columns, as `--columns` was given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// The kind of problem, if it is not to be inferred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<sensorium_cases::ProblemKind>,
    /// Rows that share this column's value are one case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// Cases that share this column's value stay together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The column that says train, validation or test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Cross-validation in so many folds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folds: Option<usize>,
    /// How often that is done, each time in other folds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeats: Option<usize>,
    /// How long to train, turned once into a number of steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Duration>,
    /// The model to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// What is trained.
    pub adapt: Training,
    /// What stays as it is: modalities, or patterns of parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lock: Vec<String>,
    /// How rare classes come to count as much as frequent ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<Balance>,
    /// What the model that is started from could do, to be measured again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardConfig>,
    /// How far what was taken over moves: 0 not at all, 1 as far as training took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blend: Option<f64>,
    /// `key=value` changes of the recipe.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
    /// Whatever is drawn follows from it.
    pub seed: u64,
}

/// What of a model that was started from is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Training {
    /// Everything, deeper layers more slowly.
    #[default]
    Full,
    /// What is new; all that was taken over stays as it is.
    Frozen,
    /// What is new, and low-rank changes of the trunks that were taken over (Hu et al. 2021).
    Lora,
}

/// What measures what a model forgets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardConfig {
    /// Samples that the start is judged on by retrieval: files, folders, globs or a recipe.
    pub data: Vec<String>,
    /// A file of prompts, for zero-shot classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts: Option<PathBuf>,
    /// The field of the samples that says their class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// How rare classes come to count as much as frequent ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// A case's loss counts the more the rarer its class.
    Weights,
    /// Every class is drawn equally often.
    Sampling,
}

/// Everything that a fine-tuning is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptRecipe {
    /// Whatever is drawn follows from it.
    pub seed: u64,
    /// What was asked for.
    pub request: Request,
    /// Where cases come from and how they are read.
    pub data: CaseData,
    /// What the model starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartConfig>,
    /// What is read of a case.
    pub modalities: BTreeMap<Name, ModalityConfig>,
    /// Trunks and widths.
    pub model: ModelConfig,
    /// The label and its loss.
    pub objective: SupervisedConfig,
    /// How it is learned.
    pub train: TrainConfig,
    /// How cases are read ahead.
    pub loader: LoaderConfig,
}

/// Where cases come from and how they are read and divided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseData {
    /// Share of the training cases that decides when training ends and how answers are calibrated.
    pub validation_share: f64,
    /// How rows become samples.
    pub reading: Reading,
    /// BLAKE3 of the table, which is to be the same when the run is gone on with or judged.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub blake3: String,
}

/// What a model starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartConfig {
    /// The model directory.
    pub model: PathBuf,
    /// Which modality of it each of ours is.
    pub modalities: BTreeMap<Name, Name>,
    /// Whether the head starts at the solution of ridge regression on the model's features.
    pub probe: bool,
    /// Factor of the learning rate from a block to the one before it (Howard and Ruder 2018; BEiT), where
    /// everything is trained.
    #[serde(default = "layer_decay")]
    pub layer_decay: f64,
    /// The low-rank changes that are trained in the stead of the trunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_rank: Option<LowRankConfig>,
}

pub(crate) fn layer_decay() -> f64 {
    0.75
}

impl StartConfig {
    fn check(&self) -> Result<(), AdaptError> {
        let wrong = |key: &str, problem: String| AdaptError::Start { key: format!("start.{key}"), problem };
        if !(self.layer_decay > 0.0 && self.layer_decay <= 1.0) {
            return Err(wrong("layer_decay", format!("expected above 0 and up to 1, found {}", self.layer_decay)));
        }
        match self.low_rank.and_then(LowRankConfig::problem) {
            Some(problem) => Err(wrong("low_rank", problem)),
            None => Ok(()),
        }
    }
}

impl Request {
    /// Reads a recipe of fine-tuning: TOML of these keys, with relative paths starting at its folder.
    ///
    /// # Errors
    /// Names the file, the line and the nearest valid key.
    pub fn read(path: &Path) -> Result<Self, AdaptError> {
        let mut request: Self = sensorium_recipe::read_strict(path)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let beside = |given: &Path| base.join(given);
        let guarded = request.guard.iter_mut().flat_map(|guard| &mut guard.data);
        request.data.iter_mut().chain(guarded).for_each(|given| *given = beside(given.as_ref()).display().to_string());
        let prompts = request.guard.iter_mut().flat_map(|guard| &mut guard.prompts);
        request.from.iter_mut().chain(prompts).for_each(|given| *given = beside(given));
        Ok(request)
    }
}

impl AdaptRecipe {
    /// What a model is built from.
    pub fn architecture(&self) -> Architecture {
        Architecture {
            modalities: self.modalities.clone(),
            model: self.model.clone(),
            objectives: vec![ObjectiveConfig::Supervised(self.objective.clone())],
        }
    }

    /// Where everything that is drawn starts.
    pub fn root_seed(&self) -> Seed {
        Seed::new(self.seed)
    }

    /// The recipe with the request's `key=value` changes.
    ///
    /// # Errors
    /// Names the change that is wrong.
    pub(crate) fn with_overrides(self) -> Result<Self, AdaptError> {
        if self.request.set.is_empty() {
            return Ok(self);
        }
        let given = self.request.set.clone();
        let table: toml::Table =
            toml::from_str(&self.to_toml()?).map_err(|error| toml_error(RECIPE.as_ref(), &error))?;
        let table = given.iter().try_fold(table, |table, given| apply_override(table, given))?;
        let read: Result<Self, _> = table.try_into();
        let recipe = read.map_err(|error: toml::de::Error| sensorium_recipe::RecipeError::Override {
            given: given.join(" "),
            problem: error.message().to_owned(),
        })?;
        recipe.train.check()?;
        recipe.start.as_ref().map_or(Ok(()), StartConfig::check)?;
        recipe.architecture().check()?;
        Ok(recipe)
    }

    /// The recipe that is kept with a run, if there is one.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn read(run: &Path) -> Result<Option<Self>, AdaptError> {
        let path = run.join(RECIPE);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(|error| StateError::io("read", &path, error))?;
        Ok(Some(toml::from_str(&text).map_err(|error| toml_error(&path, &error))?))
    }

    /// The recipe that a run was begun with, if there is one, which must be of the same request.
    ///
    /// # Errors
    /// If it was another one, or the file is damaged.
    pub fn of_run(run: &Path, request: &Request) -> Result<Option<Self>, AdaptError> {
        let Some(mut recipe) = Self::read(run)? else { return Ok(None) };
        // What is done after training may be asked for anew.
        recipe.request.guard.clone_from(&request.guard);
        recipe.request.blend = request.blend;
        let table = |request: &Request| toml::Table::try_from(request).unwrap_or_default();
        let (before, now) = (table(&recipe.request), table(request));
        let keys = before.keys().chain(now.keys());
        let shown = |value: Option<&toml::Value>| value.map_or("none".to_owned(), ToString::to_string);
        match keys.into_iter().find(|key| before.get(*key) != now.get(*key)) {
            None => Ok(Some(recipe)),
            Some(key) => Err(AdaptError::OtherRequest {
                path: run.to_owned(),
                key: key.clone(),
                before: shown(before.get(key)),
                now: shown(now.get(key)),
            }),
        }
    }

    /// Keeps the recipe with its run.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(&self, run: &Path) -> Result<(), AdaptError> {
        Ok(commit(&run.join(RECIPE), self.to_toml()?.as_bytes())?)
    }

    /// The recipe as a file.
    ///
    /// # Errors
    /// If a value has no form in TOML.
    pub fn to_toml(&self) -> Result<String, AdaptError> {
        toml::to_string(self).map_err(|error| toml_error(RECIPE.as_ref(), &error))
    }
}

pub(crate) fn toml_error(path: &Path, error: &dyn std::fmt::Display) -> AdaptError {
    AdaptError::Toml { path: path.to_owned(), problem: error.to_string() }
}
