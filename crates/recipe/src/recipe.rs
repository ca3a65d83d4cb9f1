use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use sensorium_contract::{Name, Seed};
use sensorium_modalities::ModalityConfig;
use sensorium_model::{Architecture, ModelConfig};
use sensorium_objectives::ObjectiveConfig;
use sensorium_samples::LoaderConfig;
use sensorium_train::TrainConfig;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{
    DataConfig, RecipeError,
    error::{Hint, Line},
    locate,
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
        let syntax = |error: toml::de::Error| RecipeError::Syntax { path: path.to_owned(), problem: error.to_string() };
        let mut table: Table = toml::from_str(text).map_err(syntax)?;
        overrides.iter().try_for_each(|given| apply(&mut table, given))?;
        let recipe: Self = serde_path_to_error::deserialize(Value::Table(table))
            .map_err(|error| key_error(text, path, &error.path().to_string(), error.inner().message()))?;
        match recipe.problem() {
            Some((key, problem)) => Err(key_error(text, path, &key, &problem)),
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
    pub fn resolved(&self) -> String {
        // Everything in a recipe came from TOML or has a TOML form; a test writes all recipes.
        toml::to_string(self).unwrap_or_default()
    }

    fn problem(&self) -> Option<(String, String)> {
        if self.modalities.is_empty() {
            return Some(("modalities".into(), "a recipe needs one modality or more".into()));
        }
        if self.objectives.is_empty() {
            return Some(("objectives".into(), "a recipe needs one objective or more".into()));
        }
        self.data.problem().map(|(key, problem)| (key.to_owned(), problem))
    }
}

/// `a.b.0.c=value`, where the value is TOML or else a text.
fn apply(table: &mut Table, given: &str) -> Result<(), RecipeError> {
    let wrong = |problem: String| RecipeError::Override { given: given.to_owned(), problem };
    let (key, value) = given.split_once('=').ok_or_else(|| wrong("expected key=value".into()))?;
    let value = match toml::from_str::<Table>(&format!("value = {value}")) {
        Ok(mut parsed) => parsed.remove("value").unwrap_or(Value::Boolean(true)),
        Err(_) => Value::String(value.to_owned()),
    };
    let parts: Vec<&str> = key.trim().split('.').collect();
    let (last, way) = parts.split_last().ok_or_else(|| wrong("expected key=value".into()))?;
    let mut place = table;
    for (at, part) in way.iter().enumerate() {
        let next = place.entry(*part).or_insert_with(|| Value::Table(Table::new()));
        place = match next {
            Value::Table(table) => table,
            Value::Array(items) => return apply_in_array(items, &parts[at + 1..], value).map_err(wrong),
            other => return Err(wrong(format!("`{part}` is a {}, not a table", other.type_str()))),
        };
    }
    place.insert((*last).to_owned(), value);
    Ok(())
}

/// The rest of a path that goes on through the items of an array.
fn apply_in_array(items: &mut [Value], path: &[&str], value: Value) -> Result<(), String> {
    let count = items.len();
    let item = path.first().and_then(|at| at.parse::<usize>().ok()).and_then(|at| items.get_mut(at));
    let item = item.ok_or_else(|| format!("expected the number of one of {count} items, from 0"))?;
    match (item, &path[1..]) {
        (item, []) => *item = value,
        (Value::Table(table), [key]) => {
            table.insert((*key).to_owned(), value);
        }
        _ => return Err("the path goes too deep".into()),
    }
    Ok(())
}

fn key_error(text: &str, path: &Path, key: &str, message: &str) -> RecipeError {
    let mut way: Vec<String> = key.replace('[', ".").replace(']', "").split('.').map(str::to_owned).collect();
    way.retain(|part| !part.is_empty() && part != "?");
    let quoted = locate::quoted(message);
    let mut hint = None;
    if let [name, valid @ ..] = quoted.as_slice()
        && message.starts_with("unknown")
    {
        hint = locate::nearest(name, valid);
        if way.last().map(String::as_str) != Some(*name) && message.starts_with("unknown field") {
            way.push((*name).to_owned());
        }
    }
    let full = way.join(".");
    let known = (0..way.len()).rev().find_map(|cut| locate::line(text, &way[..=cut]));
    RecipeError::Key {
        path: path.to_owned(),
        line: Line(known),
        problem: if full.is_empty() { message.to_owned() } else { format!("`{full}`: {message}") },
        hint: Hint(hint),
    }
}
