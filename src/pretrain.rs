use std::{fs, path::Path, sync::Arc};

use sensorium_contract::Batch;
use sensorium_model::{CARD, LINEAGE, Model};
use sensorium_recipe::{Expectation, Recipe};
use sensorium_report::{Page, render, training_sections};
use sensorium_retrieve::{RetrievalReport, retrieval, subsets};
use sensorium_samples::{Checksum, Prepared};
use sensorium_state::{RunDirectory, StateError, commit};
use sensorium_train::{BatchStream, Display, Ended, Evaluator, HeldOutLosses, Outcome, Session, Stop, fit};

use crate::{
    Error, Pipeline, RetrievalEvaluator, any::readings, documents, embed, page::retrieval_sections,
    retrieval::EMBEDDING_BATCH,
};

/// Keys of a recipe that change no result.
const FREE_KEYS: [&str; 4] = ["loader.workers", "loader.ahead", "loader.cache_mb", "loader.disk_cache_mb"];
/// Samples in a model's recorded answers.
const PROBE: usize = 4;

/// How a run ended.
pub enum Pretraining {
    /// All is written.
    Finished(Box<Pretrained>),
    /// A signal came; the state is saved, and the same call goes on from there.
    Interrupted {
        /// The signal's number.
        signal: i32,
    },
}

/// What a finished run gives.
pub struct Pretrained {
    /// The model, without autodiff.
    pub model: Model,
    /// How well it finds held-out samples.
    pub retrieval: RetrievalReport,
}

/// Trains a recipe's model, or goes on with the run that is in the directory, and writes
/// `model/`, `metrics.jsonl`, `retrieval.json` and `report.html` there.
///
/// # Errors
/// If the data, the disk or the optimisation fail; the run directory then holds the last checkpoint.
pub fn pretrain(pipeline: Pipeline, run: &RunDirectory, stop: Stop, display: Display) -> Result<Pretraining, Error> {
    let Pipeline { recipe, train, validation, model, data_card, from } = pipeline;
    let seed = recipe.root_seed();
    let mut resolved =
        serde_json::to_value(&recipe).map_err(|reason| StateError::Json { path: run.path().into(), reason })?;
    if let Some(from) = &from {
        resolved["from"] = from.to_string_lossy().into();
    }
    let config = recipe.train.with_locks(&model.parameters(), |name| model.parameters_of(name))?;
    let batch = recipe.train.batch;
    let dataset = train.dataset().clone();
    let order = move |data: &Prepared| data.order(batch, seed.named("order"));
    let session = Session {
        config: &config,
        recipe: &resolved,
        free_keys: &FREE_KEYS,
        seed,
        steps_per_epoch: order(&train).steps_per_epoch(),
        batches: Box::new(move |steps| -> BatchStream { Box::new(train.train(order(&train), seed, steps)) }),
        evaluators: evaluators(&validation, seed),
        run,
        stop,
        display,
    };
    let outcome = fit(model, session)?;
    if let Ended::Interrupted { signal } = outcome.ended {
        return Ok(Pretraining::Interrupted { signal });
    }
    let data = [("train", dataset.checksum()), ("validation", validation.dataset().checksum())];
    let origin = Origin { data_card: &data_card, data: &data, from: from.as_deref() };
    let finished = finish(&recipe, run, &validation, origin, outcome)?;
    Ok(Pretraining::Finished(Box::new(finished)))
}

/// What a model was made from.
pub(crate) struct Origin<'a> {
    pub data_card: &'a str,
    pub data: &'a [(&'a str, Checksum)],
    pub from: Option<&'a Path>,
}

/// Judges the trained model and writes everything that a finished run leaves.
fn finish(
    recipe: &Recipe,
    run: &RunDirectory,
    validation: &Prepared,
    origin: Origin<'_>,
    outcome: Outcome<Model>,
) -> Result<Pretrained, Error> {
    let Outcome { model, step, .. } = outcome;
    let table = embed(&model, validation, &mut |_, _| ())?;
    let retrieval = RetrievalReport { several: subsets(&table), ..retrieval(&table) };
    let documents = [
        (CARD, documents::card(recipe, &model, origin.data_card, &retrieval)),
        (LINEAGE, documents::lineage(recipe, step, &origin, &retrieval)),
        ("recipe.toml", recipe.resolved()?),
    ];
    sensorium_model::save(&run.path().join("model"), &model, &probe(validation)?, &documents)?;
    let log = |name| read(&run.path().join(name));
    let mut sections = training_sections(&log("metrics.jsonl")?, &log("timing.jsonl")?);
    sections.extend(retrieval_sections(&readings(&recipe.modalities), validation.dataset(), &table, &retrieval)?);
    let page = Page {
        title: run.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        subtitle: documents::subtitle(recipe),
        facts: documents::facts(&model, step, &retrieval),
        sections,
    };
    commit(&run.path().join("report.html"), render(&page).as_bytes())?;
    commit(&run.path().join("retrieval.json"), &json(run, &retrieval)?)?;
    Ok(Pretrained { model, retrieval })
}

fn json(run: &RunDirectory, report: &RetrievalReport) -> Result<Vec<u8>, StateError> {
    serde_json::to_vec_pretty(report).map_err(|reason| StateError::Json { path: run.path().into(), reason })
}

/// Whether what the recipe expects was reached.
///
/// # Errors
/// [`Error::Expectation`] names the first number that was not, [`Error::NotMeasured`] the first
/// direction for which the held-out samples hold nothing.
pub fn check_expectations(recipe: &Recipe, report: &RetrievalReport) -> Result<(), Error> {
    for Expectation { from, to, times_chance } in &recipe.expect {
        let Some(direction) = report.get(from, to) else {
            return Err(Error::NotMeasured { from: from.to_string(), to: to.to_string() });
        };
        let expected = times_chance * direction.own_partner.chance;
        let found = direction.own_partner.recall_at_1;
        if found < expected {
            let (from, to) = (from.to_string(), to.to_string());
            return Err(Error::Expectation { from, to, found, times: *times_chance, expected });
        }
    }
    Ok(())
}

fn evaluators<'a>(validation: &Prepared, seed: sensorium_contract::Seed) -> Vec<Box<dyn Evaluator<Model> + 'a>> {
    let held_out = validation.clone();
    vec![
        Box::new(RetrievalEvaluator { validation: validation.clone() }),
        Box::new(HeldOutLosses {
            batches: Arc::new(move || Box::new(held_out.sequential(EMBEDDING_BATCH))),
            seed: seed.named("held-out losses"),
        }),
    ]
}

fn probe(validation: &Prepared) -> Result<Batch, Error> {
    match validation.sequential(PROBE).next() {
        Some(loaded) => Ok(loaded?.batch),
        None => Ok(Batch::default()),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })
}
