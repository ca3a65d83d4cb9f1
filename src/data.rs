use std::path::Path;

use sensorium_datasets::emoji::{self, AudioSource, EmojiOptions};
use sensorium_recipe::{Builtin, Recipe};
use sensorium_samples::{Dataset, SourceConfig};

use crate::Error;

/// The share of the training samples that is held out if a recipe says nothing.
const VALIDATION_SHARE: f64 = 0.1;

/// Samples as a user names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    /// Files, folders, globs, or one recipe, whose held-out samples are meant.
    pub data: Vec<String>,
    /// Fields that are read under another name: new, old.
    pub fields: Vec<(String, String)>,
}

impl Samples {
    /// Opens them, from whatever folder they were named.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn open(&self) -> Result<Dataset, Error> {
        if let [recipe] = &self.data[..]
            && recipe.ends_with(".toml")
        {
            let recipe = Recipe::read(recipe.as_ref(), &[])?;
            let folder = std::env::temp_dir().join("sensorium-data");
            return Ok(Data::open(&recipe, &folder, &mut |_, _| {})?.validation);
        }
        let fields = || self.fields.iter().cloned().collect();
        let source = |path: &String| SourceConfig { fields: fields(), ..SourceConfig::new(path) };
        let sources: Vec<SourceConfig> = self.data.iter().map(source).collect();
        let here = std::env::current_dir().map_err(|source| Error::Io { path: ".".into(), source })?;
        Ok(Dataset::open(&sources, &here)?)
    }

    /// The same with absolute paths.
    ///
    /// # Errors
    /// If there is no current folder.
    pub fn absolute(&self) -> Result<Self, Error> {
        let absolute = |path: &String| {
            let found = std::path::absolute(path).map_err(|source| Error::Io { path: path.into(), source })?;
            Ok(found.to_string_lossy().into_owned())
        };
        let data = self.data.iter().map(absolute).collect::<Result<_, Error>>()?;
        Ok(Self { data, fields: self.fields.clone() })
    }
}

/// A recipe's samples.
pub struct Data {
    /// What is learned from.
    pub train: Dataset,
    /// What is judged on.
    pub validation: Dataset,
    /// What a card says about them, in Markdown.
    pub card: String,
}

impl Data {
    /// Opens a recipe's sources. A built-in set is written into the folder `builtin` the first time.
    ///
    /// # Errors
    /// If a source cannot be opened or holds nothing.
    pub fn open(recipe: &Recipe, builtin: &Path, progress: &mut dyn FnMut(usize, usize)) -> Result<Self, Error> {
        if let Some(Builtin::Emoji) = recipe.data.builtin {
            return emoji(builtin, progress);
        }
        let train = Dataset::open(&recipe.data.train, &recipe.base)?;
        let (train, validation) = match recipe.data.validation.as_slice() {
            [] => {
                let share = recipe.data.validation_share.unwrap_or(VALIDATION_SHARE);
                train.split_by_key(share, recipe.root_seed().named("split"))?
            }
            sources => (train, Dataset::open(sources, &recipe.base)?),
        };
        let card = format!("Training:\n\n{}\nHeld out:\n\n{}", sources(&train), sources(&validation));
        Ok(Self { train, validation, card })
    }
}

fn sources(dataset: &Dataset) -> String {
    dataset.description().iter().map(|source| format!("* {}\n", source.to_string().replace("\n  ", "\n  * "))).collect()
}

fn emoji(folder: &Path, progress: &mut dyn FnMut(usize, usize)) -> Result<Data, Error> {
    let [train, validation, card] =
        ["emoji-train.tar", "emoji-validation.tar", "card.md"].map(|name| folder.join(name));
    if !card.exists() {
        eprintln!("writing the emoji set to {} (sounds: {})", folder.display(), AudioSource::available());
        emoji::write(folder, &EmojiOptions::default(), progress)?;
    }
    let card = std::fs::read_to_string(&card).map_err(|source| Error::Io { path: card, source })?;
    let open = |path: &Path| Dataset::open(&[SourceConfig::new(path.to_string_lossy())], Path::new(""));
    Ok(Data { train: open(&train)?, validation: open(&validation)?, card })
}
