use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::tensor::Device;
use sensorium_contract::{Name, Sample};
use sensorium_modalities::{Modalities, ModalityConfig};
use sensorium_model::Model;
use sensorium_recipe::Recipe;
use sensorium_samples::{Dataset, Prepared};

use crate::{Data, Error, start_from};

/// Samples that tokenizers and columns are learned from at most; they are spread over all data.
const LEARNED_FROM: usize = 200_000;
/// Samples that are looked at to see which modalities there are.
const LOOKED_AT: usize = 256;

/// A recipe brought to life: its data, its modalities with what they learned, and a new model.
pub struct Pipeline {
    /// The recipe.
    pub recipe: Recipe,
    /// Batches to learn from.
    pub train: Prepared,
    /// Batches to judge on.
    pub validation: Prepared,
    /// With drawn weights, on a device with autodiff.
    pub model: Model,
    /// What a card says about the data, in Markdown.
    pub data_card: String,
    /// The model that this one starts from.
    pub from: Option<PathBuf>,
}

impl Pipeline {
    /// Opens the data, learns what the modalities need (tokenizers, columns) and builds the model.
    /// A built-in set is written into the folder `builtin` the first time.
    ///
    /// # Errors
    /// If the data cannot be read, lack a modality, or the recipe asks for what cannot be.
    pub fn open(
        recipe: Recipe,
        builtin: &Path,
        device: &Device,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, Error> {
        Self::open_from(recipe, None, builtin, device, progress)
    }

    /// As [`Pipeline::open`]; modalities of the same name, and the trunk, start from the model in the
    /// directory `from`, with its tokenizers. A published checkpoint's towers take the place of the recipe's.
    ///
    /// # Errors
    /// As [`Pipeline::open`], or if there is no model.
    pub fn open_from(
        mut recipe: Recipe,
        from: Option<&Path>,
        builtin: &Path,
        device: &Device,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, Error> {
        let start = match from.map(start_from).transpose()? {
            Some(start) => {
                let config = start.begin(&mut recipe.modalities, &mut recipe.model, &mut recipe.objectives)?;
                Some((start, config))
            }
            None => None,
        };
        let Data { train, validation, card } = Data::open(&recipe, builtin, progress)?;
        require_fields(&recipe, "data.train", &train)?;
        require_fields(&recipe, "data.validation", &validation)?;
        let source = train.clone();
        let samples = move || -> Box<dyn Iterator<Item = Sample>> { Box::new(spread(&source, LEARNED_FROM)) };
        let modalities = match &start {
            Some((start, config)) => start.fit(config, &recipe.modalities, &samples)?,
            None => Modalities::fit(&recipe.modalities, &samples)?,
        };
        let seed = recipe.root_seed().named("weights");
        let model = Model::new(&recipe.architecture(), modalities, seed, &device.clone().autodiff())?;
        let model = match &start {
            Some((start, config)) => start.transfer(config, model)?.0,
            None => model,
        };
        // Before there is a run directory.
        recipe.train.with_locks(&model.parameters(), |name| model.parameters_of(name))?;
        let from = start.map(|(_, config)| config.model);
        let preparation = Arc::new(model.preparation().clone());
        let prepared = |data| Prepared::new(data, preparation.clone(), recipe.loader.clone());
        Ok(Self { train: prepared(train)?, validation: prepared(validation)?, model, data_card: card, from, recipe })
    }
}

/// Readable samples, evenly from all over the data.
fn spread(dataset: &Dataset, most: usize) -> impl Iterator<Item = Sample> + use<> {
    let dataset = dataset.clone();
    let len = dataset.len();
    let count = len.min(most);
    (0..count).filter_map(move |at| dataset.read(at * len / count).ok())
}

/// Each modality that reads one field must find it in some sample.
fn require_fields(recipe: &Recipe, place: &'static str, dataset: &Dataset) -> Result<(), Error> {
    let found: BTreeSet<String> = spread(dataset, LOOKED_AT).flat_map(|sample| sample.fields.into_keys()).collect();
    let missing = |(_, config): &(&Name, &ModalityConfig)| config.field().is_some_and(|field| !found.contains(field));
    match recipe.modalities.iter().find(missing) {
        None => Ok(()),
        Some((name, config)) => Err(Error::NoModality {
            place,
            modality: name.to_string(),
            field: config.field().unwrap_or_default().to_owned(),
            found: found.into_iter().collect::<Vec<_>>().join(", "),
        }),
    }
}
