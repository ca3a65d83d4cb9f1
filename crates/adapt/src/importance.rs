//! What a model relies on: how much worse it tells cases when a modality or a column is exchanged between them.

use std::{collections::BTreeMap, sync::Arc};

use rand::Rng as _;
use rayon::prelude::*;
use sensorium_contract::{Decoded, Modality, Name, Sample, Seed};
use sensorium_metrics::Metric;
use sensorium_modalities::Fitted;
use sensorium_model::Model;
use sensorium_objectives::SupervisedConfig;
use sensorium_samples::Dataset;
use serde::{Deserialize, Serialize};

use crate::{
    AdaptError, Predicted, Reading,
    judge::{headline, measured},
    predict::decode,
};

/// Cases that are told again and again at most, evenly from all over.
const CASES: usize = 500;
/// Times that each modality or column is exchanged.
const PERMUTATIONS: u64 = 6;
/// The 97.5 % quantile of Student's t for so many permutations, less one.
const STUDENT: f64 = 2.571;
/// Columns that are exchanged at most.
const COLUMNS: usize = 40;
/// Cases that are read at once.
const BATCH: usize = 64;

/// How much a model relies on a modality or a column (Breiman 2001, section 10).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    /// The modality.
    pub modality: Name,
    /// The column of it that is exchanged; the whole modality if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What is measured.
    pub metric: Metric,
    /// How much worse the metric is, on the mean of the permutations; below 0 where it is better.
    pub loss: f64,
    /// Where that mean lies with 95 % certainty, as far as the permutations decide.
    pub interval: [f64; 2],
    /// How often the values were exchanged.
    pub permutations: u64,
    /// Between how many cases.
    pub cases: usize,
}

/// Exchanges each modality, and each column of a table, between the cases: those that each model has not learned
/// from, one model or those of a cross-validation. Nothing of fewer than two cases, or of models that read one thing.
///
/// # Errors
/// If no case can be judged.
pub fn importance(models: &[(&Model, Dataset)], reading: &Reading, seed: Seed) -> Result<Vec<Importance>, AdaptError> {
    let Some(told) = Told::new(models, reading)? else { return Ok(Vec::new()) };
    let first = told.parts[0].model;
    let modalities: Vec<&Name> = first.preparation().modalities.keys().collect();
    let columns = columns(first);
    let mut found = Vec::new();
    for name in modalities.iter().filter(|_| modalities.len() > 1) {
        let exchanged = |part: &Part, from: &[usize]| part.exchanged(name, from);
        found.extend(told.measure((*name).clone(), None, &exchanged, seed)?);
    }
    for (name, column) in columns.iter().filter(|_| columns.len() > 1).take(COLUMNS) {
        let exchanged = |part: &Part, from: &[usize]| part.with_column(name, column, from);
        found.extend(told.measure(name.clone(), Some(column.clone()), &exchanged, seed)?);
    }
    Ok(found)
}

/// Columns of tables.
fn columns(model: &Model) -> Vec<(Name, String)> {
    let of = |(name, fitted): (&Name, &Fitted)| {
        let Fitted::Table(table) = fitted else { return Vec::new() };
        let schema = table.schema();
        let numeric = schema.numeric.iter().map(|column| column.name.clone());
        let all = numeric.chain(schema.categorical.iter().map(|column| column.name.clone()));
        all.map(|column| (name.clone(), column)).collect()
    };
    model.modalities().fitted.iter().flat_map(of).collect()
}

/// Cases that are read once, and how well they are told as they are.
struct Told<'a> {
    parts: Vec<Part<'a>>,
    config: &'a SupervisedConfig,
    metric: Metric,
    before: f64,
}

/// The cases of one model.
struct Part<'a> {
    model: &'a Model,
    /// Fields, with files left as their paths.
    samples: Vec<Sample>,
    decoded: Vec<Decoded>,
    truths: Vec<Predicted>,
}

impl<'a> Told<'a> {
    fn new(models: &[(&'a Model, Dataset)], reading: &Reading) -> Result<Option<Self>, AdaptError> {
        let most = CASES / models.len().max(1);
        let part = |(model, table): &(&'a Model, Dataset)| Part::new(model, reading, table, most);
        let parts: Vec<Option<Part>> = models.iter().map(part).collect::<Result<_, _>>()?;
        // A case that is exchanged with none would count as told as before.
        let parts: Vec<Part> = parts.into_iter().flatten().filter(|part| part.truths.len() > 1).collect();
        let Some(supervised) = parts.first().and_then(|part| part.model.supervised()) else { return Ok(None) };
        let config = supervised.config();
        let told: Vec<Predicted> = parts.iter().flat_map(|part| part.told(&part.decoded)).collect();
        let Some((metric, before)) = headline(config, &told)? else { return Ok(None) };
        Ok(Some(Self { parts, config, metric, before }))
    }

    fn measure(
        &self,
        modality: Name,
        column: Option<String>,
        exchanged: &dyn Fn(&Part, &[usize]) -> Vec<Decoded>,
        seed: Seed,
    ) -> Result<Option<Importance>, AdaptError> {
        let seed = seed.named("importance").named(&modality).named(column.as_deref().unwrap_or_default());
        let sign = if self.metric.higher_is_better() { 1.0 } else { -1.0 };
        let mut losses = Vec::new();
        for number in 0..PERMUTATIONS {
            let told = |(at, part): (usize, &Part)| {
                let from = permutation(part.truths.len(), seed.number(number).number(at as u64));
                part.told(&exchanged(part, &from))
            };
            let told: Vec<Predicted> = self.parts.iter().enumerate().flat_map(told).collect();
            let after = measured(self.config, &told)?;
            let value = after.into_iter().find(|(metric, _)| *metric == self.metric).and_then(|(_, value)| value);
            losses.extend(value.map(|value| sign * (self.before - value)));
        }
        let n = losses.len() as f64;
        if losses.len() < PERMUTATIONS as usize {
            return Ok(None);
        }
        let loss = losses.iter().sum::<f64>() / n;
        let variance = losses.iter().map(|value| (value - loss).powi(2)).sum::<f64>() / (n - 1.0);
        let half = STUDENT * (variance / n).sqrt();
        let interval = [loss - half, loss + half];
        let cases = self.parts.iter().map(|part| part.truths.len()).sum();
        let metric = self.metric;
        Ok(Some(Importance { modality, column, metric, loss, interval, permutations: PERMUTATIONS, cases }))
    }
}

impl<'a> Part<'a> {
    /// At most so many cases, evenly from all over the table.
    fn new(model: &'a Model, reading: &Reading, table: &Dataset, most: usize) -> Result<Option<Self>, AdaptError> {
        let Some(supervised) = model.supervised() else { return Ok(None) };
        let cases = reading.cases(table.clone())?;
        let count = cases.len().min(most);
        let rows: Vec<usize> = (0..count).map(|at| at * cases.len() / count).collect();
        let modalities = &model.preparation().modalities;
        let label = reading.label.name();
        let read = |&row: &usize| {
            let (sample, glance) = (cases.read(row).ok()?, cases.glance(row).ok()?);
            sample.fields.contains_key(&label).then(|| (decode(modalities, &sample, &[]).0, glance))
        };
        let (decoded, samples): (Vec<Decoded>, Vec<Sample>) = rows.par_iter().filter_map(read).unzip();
        let truth = |(index, sample): (usize, &Sample)| Predicted {
            key: sample.key.clone(),
            index,
            present: Vec::new(),
            answer: supervised.config().prior(),
            truth: sample.fields.get(&label).cloned(),
        };
        let truths = samples.iter().enumerate().map(truth).collect();
        Ok(Some(Self { model, samples, decoded, truths }))
    }

    fn told(&self, decoded: &[Decoded]) -> Vec<Predicted> {
        let mut told = self.truths.clone();
        let Some(supervised) = self.model.supervised() else { return told };
        for (told, decoded) in told.chunks_mut(BATCH).zip(decoded.chunks(BATCH)) {
            let keyed = told.iter().zip(decoded).map(|(case, decoded)| (case.key.clone(), decoded.clone()));
            let batch = self.model.preparation().collate(keyed.collect());
            let Some(said) = self.model.say(&batch) else { continue };
            for (row, answer) in said.rows.iter().zip(said.answers(supervised)) {
                told[*row].answer = answer;
            }
        }
        told
    }

    /// Every case with the modality of another one.
    fn exchanged(&self, name: &Name, from: &[usize]) -> Vec<Decoded> {
        let exchange = |(decoded, &from): (&Decoded, &usize)| {
            let mut decoded = decoded.clone();
            match self.decoded[from].get(name) {
                Some(item) => drop(decoded.insert(name.clone(), item.clone())),
                None => drop(decoded.remove(name)),
            }
            decoded
        };
        self.decoded.iter().zip(from).map(exchange).collect()
    }

    /// Every case with the cell of another one.
    fn with_column(&self, name: &Name, column: &str, from: &[usize]) -> Vec<Decoded> {
        let modalities: &BTreeMap<Name, Arc<dyn Modality>> = &self.model.preparation().modalities;
        let exchange = |(row, &from): (usize, &usize)| {
            let mut sample = self.samples[row].clone();
            match self.samples[from].fields.get(column) {
                Some(value) => drop(sample.fields.insert(column.to_owned(), value.clone())),
                None => drop(sample.fields.remove(column)),
            }
            let mut decoded = self.decoded[row].clone();
            match modalities.get(name).map(|modality| modality.decode(&sample)) {
                Some(Ok(Some(item))) => drop(decoded.insert(name.clone(), item)),
                _ => drop(decoded.remove(name)),
            }
            decoded
        };
        from.iter().enumerate().map(exchange).collect()
    }
}

/// The numbers below `count` in an order that the seed draws.
fn permutation(count: usize, seed: Seed) -> Vec<usize> {
    let mut rng = seed.rng();
    let mut drawn: Vec<(u64, usize)> = (0..count).map(|number| (rng.next_u64(), number)).collect();
    drawn.sort_unstable();
    drawn.into_iter().map(|(_, number)| number).collect()
}
