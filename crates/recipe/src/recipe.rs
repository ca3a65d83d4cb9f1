use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use sensorium_contract::{Name, Seed};
use sensorium_modalities::ModalityConfig;
use sensorium_model::{Architecture, ModelConfig, ModelError};
use sensorium_objectives::ObjectiveConfig;
use sensorium_samples::LoaderConfig;
use sensorium_train::{TrainConfig, TrainError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_path_to_error::Segment;
use toml::{Table, Value};

use crate::{
    DataConfig, RecipeError,
    error::{Hint, Line},
    locate, overrides,
};

/// Everything that a run is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Whatever is drawn follows from it.
    #[serde(default)]
    pub seed: u64,
    /// Where samples come from.
    pub data: DataConfig,
    /// What is read of a sample, by a name that the rest of the recipe uses.
    pub modalities: BTreeMap<Name, ModalityConfig>,
    /// Trunks and widths.
    pub model: ModelConfig,
    /// What is learned.
    pub objectives: Vec<ObjectiveConfig>,
    /// How it is learned.
    #[serde(default)]
    pub train: TrainConfig,
    /// How samples are read ahead.
    #[serde(default)]
    pub loader: LoaderConfig,
    /// What a finished run must have reached, or end with an error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Expectation>,
    /// Where relative paths start.
    #[serde(skip)]
    pub base: PathBuf,
}

/// A held-out recall@1 that a recipe promises.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// Modality of the queries.
    pub from: Name,
    /// Modality of the answers.
    pub to: Name,
    /// At least so many times what random order would reach.
    pub times_chance: f64,
}

impl Recipe {
    /// Reads a recipe file, with `key=value` overrides (`train.steps=500`).
    ///
    /// # Errors
    /// Names the file, the line and the nearest valid key.
    pub fn read(path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let text = fs::read_to_string(path).map_err(|source| RecipeError::Read { path: path.to_owned(), source })?;
        let base = path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Self { base, ..Self::parse(&text, path, overrides)? })
    }

    /// As [`Recipe::read`], from the text of a file; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Recipe::read`].
    pub fn parse(text: &str, path: &Path, overrides: &[String]) -> Result<Self, RecipeError> {
        let origin = Origin { text, path, overrides };
        let recipe: Self = origin.parse()?;
        match recipe.problem() {
            Some((key, problem)) => Err(origin.error(&key.split('.').map(str::to_owned).collect::<Vec<_>>(), &problem)),
            None => Ok(recipe),
        }
    }

    /// What a model is built from.
    pub fn architecture(&self) -> Architecture {
        Architecture {
            modalities: self.modalities.clone(),
            model: self.model.clone(),
            objectives: self.objectives.clone(),
        }
    }

    /// Where everything that is drawn starts.
    pub fn root_seed(&self) -> Seed {
        Seed::new(self.seed)
    }

    /// The recipe with all defaults filled in.
    ///
    /// # Errors
    /// If a value has no form in TOML.
    pub fn resolved(&self) -> Result<String, RecipeError> {
        toml::to_string(self).map_err(|error| RecipeError::Unwritable(error.to_string()))
    }

    /// What is impossible about it before any data is seen: the key and the problem.
    fn problem(&self) -> Option<(String, String)> {
        if self.modalities.is_empty() {
            return Some(("modalities".into(), "a recipe needs one modality or more".into()));
        }
        let impossible = |(name, config): (&Name, &ModalityConfig)| {
            let (key, problem) = config.impossible()?;
            Some((format!("modalities.{name}.{key}"), problem))
        };
        if let Some(found) = self.modalities.iter().find_map(impossible) {
            return Some(found);
        }
        if self.objectives.is_empty() {
            return Some(("objectives".into(), "a recipe needs one objective or more".into()));
        }
        if let Some((key, problem)) = self.data.problem() {
            return Some((key.to_owned(), problem));
        }
        match self.architecture().check() {
            Err(ModelError::Impossible { key, problem }) => return Some((key, problem)),
            Err(other) => return Some(("model".into(), other.to_string())),
            Ok(()) => {}
        }
        match self.train.check() {
            Err(TrainError::Config { key, message }) => return Some((format!("train.{key}"), message)),
            Err(other) => return Some(("train".into(), other.to_string())),
            Ok(()) => {}
        }
        self.unknown_expectation()
    }

    fn unknown_expectation(&self) -> Option<(String, String)> {
        let unknown = |(place, expectation): (usize, &Expectation)| {
            let sides = [("from", &expectation.from), ("to", &expectation.to)];
            let (side, name) = sides.into_iter().find(|(_, name)| !self.modalities.contains_key(*name))?;
            Some((format!("expect.{place}.{side}"), format!("there is no modality `{name}`")))
        };
        self.expect.iter().enumerate().find_map(unknown)
    }
}

/// Reads a strict TOML file of another kind than a [`Recipe`].
///
/// # Errors
/// Names the file, the line and the nearest valid key.
pub fn read_strict<T: DeserializeOwned>(path: &Path) -> Result<T, RecipeError> {
    let text = fs::read_to_string(path).map_err(|source| RecipeError::Read { path: path.to_owned(), source })?;
    Origin { text: &text, path, overrides: &[] }.parse()
}

/// Reads a table; the entry and the problem if it is not what it should be.
fn deserialize<T: DeserializeOwned>(table: &Table) -> Result<T, (Vec<String>, String)> {
    serde_path_to_error::deserialize(Value::Table(table.clone()))
        .map_err(|error| (way(error.path()), error.inner().message().to_owned()))
}

fn way(path: &serde_path_to_error::Path) -> Vec<String> {
    let part = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    };
    path.iter().filter_map(part).collect()
}

/// What an entry's error is reported with.
struct Origin<'a> {
    text: &'a str,
    path: &'a Path,
    overrides: &'a [String],
}

impl Origin<'_> {
    fn parse<T: DeserializeOwned>(&self) -> Result<T, RecipeError> {
        let syntax =
            |error: toml::de::Error| RecipeError::Syntax { path: self.path.to_owned(), problem: error.to_string() };
        let table: Table = toml::from_str(self.text).map_err(syntax)?;
        let table = self.overrides.iter().try_fold(table, |table, given| overrides::apply(table, given))?;
        deserialize(&table).map_err(|(known, message)| {
            let parse = |table: &Table| deserialize::<T>(table).err().map(|(_, message)| message);
            self.error(&locate::culprit(&table, known, &message, &parse), &message)
        })
    }

    fn error(&self, way: &[String], message: &str) -> RecipeError {
        let hint = Hint(locate::nearest(message));
        let key = way.join(".");
        let problem = if key.is_empty() { message.to_owned() } else { format!("`{key}`: {message}") };
        let at = locate::line(self.text, way);
        let given = self.overrides.iter().rev().find(|given| overrides::concerns(given, way));
        if let (Some(given), false) = (given, way.is_empty()) {
            return RecipeError::Override { given: given.clone(), problem: format!("{problem}{hint}") };
        }
        // What is missing has no line: the table that lacks it has.
        let above = || (1..way.len()).rev().find_map(|cut| locate::line(self.text, &way[..cut]));
        RecipeError::Key { path: self.path.to_owned(), line: Line(at.or_else(above)), problem, hint }
    }
}
