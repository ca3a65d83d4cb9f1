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

/// Exchanges each modality, and each column of a table, between the cases. Nothing of fewer than two cases, or of
/// a model that reads one thing.
///
/// # Errors
/// If no case can be judged.
pub fn importance(
    model: &Model,
    reading: &Reading,
    table: &Dataset,
    seed: Seed,
) -> Result<Vec<Importance>, AdaptError> {
    let Some(told) = Told::new(model, reading, table)? else { return Ok(Vec::new()) };
    let modalities: Vec<&Name> = model.preparation().modalities.keys().collect();
    let columns = columns(model);
    let mut found = Vec::new();
    for name in modalities.iter().filter(|_| modalities.len() > 1) {
        let exchanged = |from: &[usize]| told.exchanged(name, from);
        found.extend(told.measure((*name).clone(), None, &exchanged, seed)?);
    }
    for (name, column) in columns.iter().filter(|_| columns.len() > 1).take(COLUMNS) {
        let exchanged = |from: &[usize]| told.with_column(name, column, from);
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
    model: &'a Model,
    config: &'a SupervisedConfig,
    /// Fields, with files left as their paths.
    samples: Vec<Sample>,
    decoded: Vec<Decoded>,
    truths: Vec<Predicted>,
    metric: Metric,
    before: f64,
}

impl<'a> Told<'a> {
    fn new(model: &'a Model, reading: &Reading, table: &Dataset) -> Result<Option<Self>, AdaptError> {
        let Some(supervised) = model.supervised() else { return Ok(None) };
        let label = &supervised.config().label;
        let cases = reading.cases(table.clone())?;
        let count = cases.len().min(CASES);
        let rows: Vec<usize> = (0..count).map(|at| at * cases.len() / count).collect();
        let modalities = &model.preparation().modalities;
        let read = |&row: &usize| {
            let (sample, glance) = (cases.read(row).ok()?, cases.glance(row).ok()?);
            sample.fields.contains_key(label).then(|| (decode(modalities, &sample, &[]).0, glance))
        };
        let (decoded, samples): (Vec<Decoded>, Vec<Sample>) = rows.par_iter().filter_map(read).unzip();
        let truth = |(index, sample): (usize, &Sample)| Predicted {
            key: sample.key.clone(),
            index,
            present: Vec::new(),
            answer: supervised.config().prior(),
            truth: sample.fields.get(label).cloned(),
        };
        let truths: Vec<Predicted> = samples.iter().enumerate().map(truth).collect();
        if truths.len() < 2 {
            return Ok(None);
        }
        let config = supervised.config();
        let mut told = Self { model, config, samples, decoded, truths, metric: Metric::Accuracy, before: 0.0 };
        let before = headline(config, &told.told(&told.decoded))?;
        let Some((metric, before)) = before else { return Ok(None) };
        (told.metric, told.before) = (metric, before);
        Ok(Some(told))
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
            match modalities[name].decode(&sample) {
                Ok(Some(item)) => drop(decoded.insert(name.clone(), item)),
                _ => drop(decoded.remove(name)),
            }
            decoded
        };
        from.iter().enumerate().map(exchange).collect()
    }

    fn measure(
        &self,
        modality: Name,
        column: Option<String>,
        exchanged: &dyn Fn(&[usize]) -> Vec<Decoded>,
        seed: Seed,
    ) -> Result<Option<Importance>, AdaptError> {
        let seed = seed.named("importance").named(&modality).named(column.as_deref().unwrap_or_default());
        let sign = if self.metric.higher_is_better() { 1.0 } else { -1.0 };
        let mut losses = Vec::new();
        for number in 0..PERMUTATIONS {
            let told = self.told(&exchanged(&permutation(self.truths.len(), seed.number(number))));
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
        let (metric, cases) = (self.metric, self.truths.len());
        Ok(Some(Importance { modality, column, metric, loss, interval, permutations: PERMUTATIONS, cases }))
    }
}

/// The numbers below `count` in an order that the seed draws.
fn permutation(count: usize, seed: Seed) -> Vec<usize> {
    let mut rng = seed.rng();
    let mut drawn: Vec<(u64, usize)> = (0..count).map(|number| (rng.next_u64(), number)).collect();
    drawn.sort_unstable();
    drawn.into_iter().map(|(_, number)| number).collect()
}
