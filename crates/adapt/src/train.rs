//! From a proposal to a model directory.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Instant,
};

use burn::tensor::Device;
use sensorium_cases::Sides;
use sensorium_contract::{Batch, Sample, Seed, StepContext, Trainable};
use sensorium_modalities::{Modalities, ModalityConfig};
use sensorium_model::{Architecture, CARD, LINEAGE, Model, Topology};
use sensorium_samples::{Dataset, Prepared};
use sensorium_state::{RunDirectory, StateError};
use sensorium_train::{AdamW, BatchStream, Best, Display, Ended, Session, Stop, TrainConfig, best_module, fit};

use crate::{
    AdaptError, AdaptRecipe, Balance, Proposal, READING, StartConfig, Taken,
    calibrate::{HeldOut, calibrated},
    probe,
    recipe::toml_error,
    start::{groups, is_taken},
};

/// Keys of a recipe that change no result.
const FREE_KEYS: [&str; 6] =
    ["loader.workers", "loader.ahead", "loader.cache_mb", "loader.disk_cache_mb", "request.guard", "request.blend"];
/// Cases that tokenizers and columns are learned from at most.
const LEARNED_FROM: usize = 200_000;
/// Cases in a model's recorded answers.
const PROBE: usize = 4;
/// Steps that are timed, after one that warms up.
const TIMED: u64 = 6;
/// Share of a step's time that evaluation, the optimiser and waiting add.
const OVERHEAD: f64 = 1.3;

/// One model to be trained on a side of the cases.
pub struct Adaptation<'a> {
    /// What is trained.
    pub proposal: &'a Proposal,
    /// Who is on which side.
    pub sides: &'a Sides,
    /// Where the model lives.
    pub device: &'a Device,
    /// What is written on the card beside the model, and its lineage.
    pub documents: &'a dyn Fn(&Adapted) -> [String; 2],
}

/// A trained model.
pub struct Adapted {
    /// The model of the best evaluation, moved back as far as was asked for, calibrated, without autodiff.
    pub model: Model,
    /// The same before it was moved back and calibrated.
    pub tuned: Model,
    /// What it started from.
    pub taken: Option<Taken>,
    /// How many numbers were trained.
    pub trained: usize,
    /// Steps that were done.
    pub steps: u64,
    /// The best evaluation.
    pub best: Option<Best>,
}

/// A new model with its data.
struct Ready {
    model: Model,
    taken: Option<Taken>,
    train: Prepared,
    validation: Prepared,
}

impl Adaptation<'_> {
    fn recipe(&self) -> &AdaptRecipe {
        &self.proposal.recipe
    }

    fn ready(&self) -> Result<Ready, AdaptError> {
        let recipe = self.recipe();
        let train = self.training_cases()?;
        let source = train.clone();
        let samples = move || -> Box<dyn Iterator<Item = Sample>> { Box::new(spread(&source)) };
        let architecture = known(recipe.architecture(), &train)?;
        let modalities = match (&self.proposal.start, &recipe.start) {
            (Some(start), Some(config)) => start.fit(config, &architecture.modalities, &samples)?,
            _ => Modalities::fit(&architecture.modalities, &samples)?,
        };
        let seed = recipe.root_seed().named("weights");
        let model = Model::new(&architecture, modalities, seed, &self.device.clone().autodiff())?;
        let (model, taken) = match (&self.proposal.start, &recipe.start) {
            (Some(start), Some(config)) => {
                let (model, taken) = start.transfer(config, model)?;
                (with_low_rank(model, config, &taken, seed)?, Some(taken))
            }
            _ => (model, None),
        };
        let preparation = Arc::new(model.preparation().clone());
        let prepared = |data| Prepared::new(data, preparation.clone(), recipe.loader.clone());
        let validation = self.proposal.data.choose(&self.sides.validation)?;
        Ok(Ready { train: prepared(train)?, validation: prepared(validation)?, model, taken })
    }

    /// The cases to learn from; of balanced classes each with the same weight.
    fn training_cases(&self) -> Result<Dataset, AdaptError> {
        let choose = |cases: &[usize]| self.proposal.data.choose(cases);
        if self.recipe().request.balance != Some(Balance::Sampling) {
            return Ok(choose(&self.sides.train)?);
        }
        let mut classes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for case in self.proposal.cases.cases.iter().filter(|case| self.sides.train.binary_search(&case.index).is_ok())
        {
            let class = case.label.as_ref().and_then(|label| Some(label.as_text()?.into_owned()));
            classes.entry(class.unwrap_or_default()).or_default().push(case.index);
        }
        let sets = classes.values().map(|cases| Ok((choose(cases)?, 1.0))).collect::<Result<Vec<_>, AdaptError>>()?;
        Ok(Dataset::mixed(&sets)?)
    }

    /// Seconds that a step takes here and now.
    ///
    /// # Errors
    /// If the cases cannot be read.
    pub fn seconds_per_step(&self) -> Result<f64, AdaptError> {
        let Ready { model, train, .. } = self.ready()?;
        let (seed, precision) = (self.recipe().root_seed(), self.recipe().train.precision);
        let order = train.order(self.recipe().train.batch, seed.named("order"));
        let mut times = Vec::new();
        for (step, loaded) in train.train(order, seed, 0..TIMED + 1).enumerate() {
            let batch = loaded?.batch;
            let begin = Instant::now();
            let context = StepContext { seed, step: step as u64 };
            let gradients = precision.apply(|| model.gradients(&[batch], context));
            // Reading the loss waits for devices that compute asynchronously.
            gradients.loss.parts.into_iter().for_each(|part| drop(part.value.into_data()));
            times.push(begin.elapsed().as_secs_f64());
        }
        let warm = times.get(1..).unwrap_or_default();
        Ok(OVERHEAD * warm.iter().sum::<f64>() / warm.len().max(1) as f64)
    }

    /// Trains, or goes on with the training that is in the directory, and writes `model/` there.
    /// Nothing if a signal came; its number is then in the second place.
    ///
    /// # Errors
    /// If data, disk or optimisation fail; the directory then holds the last checkpoint.
    pub fn run(&self, run: &RunDirectory, stop: Stop, display: Display) -> Result<Result<Adapted, i32>, AdaptError> {
        let recipe = self.recipe();
        let Ready { mut model, taken, train, validation } = self.ready()?;
        let seed = recipe.root_seed();
        if recipe.start.as_ref().is_some_and(|start| start.probe) && run.checkpoints()?.is_empty() {
            model = probe::warm(model, &train)?;
        }
        let config = with_groups(recipe, taken.as_ref());
        let config = config.with_locks(&model.parameters(), |name| model.parameters_of(name))?;
        let trained = AdamW::new(&config.optimizer, &model)?.trained();
        let mut resolved =
            serde_json::to_value(recipe).map_err(|reason| StateError::Json { path: run.path().into(), reason })?;
        // A table that changed in the meantime is another one.
        resolved["cases"] = serde_json::json!([self.sides.train.len(), self.sides.train.iter().sum::<usize>()]);
        let order = |data: &Prepared| data.order(config.batch, seed.named("order"));
        let session = Session {
            config: &config,
            recipe: &resolved,
            free_keys: &FREE_KEYS,
            seed,
            steps_per_epoch: order(&train).steps_per_epoch(),
            batches: Box::new(|steps| -> BatchStream { Box::new(train.train(order(&train), seed, steps)) }),
            evaluators: vec![Box::new(HeldOut { data: validation.clone() })],
            run,
            stop,
            display,
        };
        let outcome = fit(model, session)?;
        if let Ended::Interrupted { signal } = outcome.ended {
            return Ok(Err(signal));
        }
        let model = match &outcome.best {
            Some(best) => best_module(outcome.model, best, run)?,
            None => outcome.model,
        };
        let model = model.merged();
        let tuned = model.clone();
        let model = match (&self.proposal.start, &recipe.start, recipe.request.blend) {
            (Some(start), Some(config), Some(share)) => start.moved_back(config, model, share as f32)?,
            _ => model,
        };
        let model = calibrated(model, &validation)?;
        let adapted = Adapted { model, tuned, taken, trained, steps: outcome.step, best: outcome.best };
        self.save(&adapted, &validation, run.path())?;
        Ok(Ok(adapted))
    }

    fn save(&self, adapted: &Adapted, validation: &Prepared, run: &Path) -> Result<(), AdaptError> {
        let [card, lineage] = (self.documents)(adapted);
        let reading = toml::to_string(&self.recipe().data.reading).map_err(|error| toml_error(run, &error))?;
        let documents =
            [(CARD, card), (LINEAGE, lineage), (READING, reading), ("recipe.toml", self.recipe().to_toml()?)];
        let probe = match validation.sequential(PROBE).next() {
            Some(loaded) => loaded?.batch,
            None => Batch::default(),
        };
        Ok(sensorium_model::save(&run.join("model"), &adapted.model, &probe, &documents)?)
    }
}

/// The recipe with as many steps as fit into the time that was asked for, but no more than three
/// times what it would have without.
pub(crate) fn in_time(train: &TrainConfig, seconds: f64, per_step: f64) -> TrainConfig {
    let most = train.steps.unwrap_or(1).saturating_mul(3);
    let steps = ((seconds / per_step.max(1e-6)) as u64).clamp(10, most.max(10));
    TrainConfig {
        steps: Some(steps),
        evaluate_every: Some((steps / 40).max(1)),
        checkpoint_every: Some((steps / 4).max(1)),
        ..train.clone()
    }
}

impl Proposal {
    /// Turns the time that was asked for into a number of steps, unless that is given, too.
    ///
    /// # Errors
    /// If the cases cannot be read.
    pub fn fit_time(&mut self, sides: &Sides, models: usize, device: &Device) -> Result<(), AdaptError> {
        let given = |set: &String| set.split('=').next().is_some_and(|key| key.trim() == "train.steps");
        let Some(time) = self.recipe.request.time.filter(|_| !self.recipe.request.set.iter().any(given)) else {
            return Ok(());
        };
        let documents = |_: &Adapted| [String::new(), String::new()];
        let adaptation = Adaptation { proposal: self, sides, device, documents: &documents };
        let per_step = adaptation.seconds_per_step()?;
        self.recipe.train = in_time(&self.recipe.train, time.seconds() / models as f64, per_step);
        Ok(())
    }

    /// The seed of everything that is drawn.
    pub fn seed(&self) -> Seed {
        self.recipe.root_seed()
    }
}

fn with_groups(recipe: &AdaptRecipe, taken: Option<&Taken>) -> TrainConfig {
    let mut train = recipe.train.clone();
    if let (Some(taken), Some(start)) = (taken, &recipe.start) {
        let own = std::mem::take(&mut train.optimizer.groups);
        // What the recipe says comes last and counts.
        let groups = groups(taken, recipe.request.adapt, start.layer_decay);
        train.optimizer.groups = groups.into_iter().chain(own).collect();
    }
    train
}

/// The model with low-rank changes in the trunks that were taken over, if that is what is trained.
fn with_low_rank(model: Model, config: &StartConfig, taken: &Taken, seed: Seed) -> Result<Model, AdaptError> {
    let Some(low_rank) = config.low_rank else { return Ok(model) };
    let model = model.with_low_rank(low_rank, seed.named("low rank"), &|trunk| is_taken(taken, trunk));
    match model.parameters().iter().any(|name| name.contains("low_rank")) {
        true => Ok(model),
        false => {
            let problem = "the model that is started from shares no trunk with this one: nothing to change".to_owned();
            Err(AdaptError::Start { key: "start.low_rank".to_owned(), problem })
        }
    }
}

/// What can be learned of these cases: a column that holds nothing in any of them is left out.
fn known(mut architecture: Architecture, train: &Dataset) -> Result<Architecture, AdaptError> {
    let mut fields: BTreeSet<String> = BTreeSet::new();
    for index in 0..train.len().min(LEARNED_FROM) {
        fields.extend(train.glance(index).into_iter().flat_map(|case| case.fields.into_keys()));
    }
    architecture.modalities.retain(|_, config| match config {
        ModalityConfig::Table(table) => {
            let columns = table.columns.as_mut();
            columns.is_none_or(|columns| {
                columns.retain(|column| fields.contains(&column.name));
                !columns.is_empty()
            })
        }
        other => other.field().is_none_or(|field| fields.contains(field)),
    });
    if let Topology::Towers { towers } | Topology::Fused { towers, .. } = &mut architecture.model.topology {
        towers.retain(|name, _| architecture.modalities.contains_key(name));
    }
    match architecture.modalities.is_empty() {
        false => Ok(architecture),
        true => Err(AdaptError::NothingToJudge("the cases to learn from have nothing to read".to_owned())),
    }
}

/// Readable cases, evenly from all over the data.
fn spread(data: &Dataset) -> impl Iterator<Item = Sample> + use<> {
    let data = data.clone();
    let (len, count) = (data.len(), data.len().min(LEARNED_FROM));
    (0..count).filter_map(move |at| data.read(at * len / count).ok())
}
