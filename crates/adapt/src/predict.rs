//! One answer for each row, whatever the row lacks.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::{module::Module, tensor::Device};
use rayon::prelude::*;
use sensorium_contract::{Decoded, Name, Sample, Value};
use sensorium_model::{Model, load};
use sensorium_objectives::{Answer, SupervisedConfig};
use sensorium_samples::Dataset;
use sensorium_state::StateError;

use crate::{AdaptError, READING, Reading, recipe::toml_error};

/// Rows that are read at once.
const BATCH: usize = 64;

/// What a model says of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicted {
    /// The row's key.
    pub key: String,
    /// Its number in the table.
    pub index: usize,
    /// The modalities that it has.
    pub present: Vec<Name>,
    /// The answer; of a row that has none of the modalities, what is known without looking.
    pub answer: Answer,
    /// The label that the table gives, if it does.
    pub truth: Option<Value>,
}

/// One fine-tuned model, or those of a cross-validation, whose answers are averaged.
pub struct Predictor {
    models: Vec<Model>,
    config: SupervisedConfig,
    reading: Reading,
    /// Fields that could not be read, by what was wrong, with their number.
    remarks: BTreeMap<String, usize>,
}

impl Predictor {
    /// Opens a run directory, or a model directory.
    ///
    /// # Errors
    /// If there is no model that tells a label.
    pub fn open(path: &Path, device: &Device) -> Result<Self, AdaptError> {
        let paths = directories(path);
        let models =
            paths.iter().map(|path| Ok(load(path, device)?.valid())).collect::<Result<Vec<_>, AdaptError>>()?;
        let reading = paths.first().map(|path| path.join(READING)).filter(|path| path.exists());
        let configs: Option<Vec<&SupervisedConfig>> =
            models.iter().map(|model| model.supervised().map(|supervised| supervised.config())).collect();
        let config = configs.and_then(|configs| configs.first().copied().cloned());
        let (Some(reading), Some(config)) = (reading, config) else {
            return Err(AdaptError::NoLabel { path: path.to_owned() });
        };
        let text = fs::read_to_string(&reading).map_err(|error| StateError::io("read", &reading, error))?;
        let reading = toml::from_str(&text).map_err(|error| toml_error(&reading, &error))?;
        Ok(Self::of(models, config, reading))
    }

    /// Whether a directory holds what [`Predictor::open`] reads.
    pub fn is_at(path: &Path) -> bool {
        directories(path).iter().any(|path| path.join(READING).exists())
    }

    /// A predictor of fine-tuned models that are at hand, and the label that they tell.
    pub fn of(models: Vec<Model>, config: SupervisedConfig, reading: Reading) -> Self {
        Self { models, config, reading, remarks: BTreeMap::new() }
    }

    /// The label and what is known of it.
    pub fn config(&self) -> &SupervisedConfig {
        &self.config
    }

    /// The models.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The models alone.
    pub fn into_models(self) -> Vec<Model> {
        self.models
    }

    /// How rows are read.
    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// What could not be read of the rows so far.
    pub fn remarks(&self) -> Vec<String> {
        let say = |(what, count): (&String, &usize)| match count {
            1 => what.clone(),
            count => format!("{what} (and {} more like it)", count - 1),
        };
        self.remarks.iter().map(say).collect()
    }

    /// Answers for all rows of a table, in their order; `hidden` modalities are taken for missing.
    ///
    /// # Errors
    /// If the table holds nothing.
    pub fn predict(
        &mut self,
        table: &Dataset,
        hidden: &[Name],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Predicted>, AdaptError> {
        let cases = self.reading.cases(table.clone())?;
        let rows: Vec<usize> = (0..cases.len()).collect();
        let mut predicted = Vec::with_capacity(rows.len());
        for chunk in rows.chunks(BATCH) {
            let read: Vec<(Sample, Option<String>)> = chunk.par_iter().map(|&row| read(&cases, row)).collect();
            predicted.extend(self.answers(chunk, &read, hidden));
            for (_, remark) in read {
                self.remark(remark);
            }
            progress(predicted.len(), rows.len());
        }
        Ok(predicted)
    }

    fn remark(&mut self, remark: Option<String>) {
        // Faults are counted by what is wrong, and the first one is told.
        let Some(remark) = remark else { return };
        let reason = remark.split(": ").nth(1).unwrap_or_default().to_owned();
        match self.remarks.iter_mut().find(|(known, _)| !reason.is_empty() && known.contains(&reason)) {
            Some((_, count)) => *count += 1,
            None => drop(self.remarks.insert(remark, 1)),
        }
    }

    fn answers(&mut self, rows: &[usize], read: &[(Sample, Option<String>)], hidden: &[Name]) -> Vec<Predicted> {
        let label = &self.config().label.clone();
        let prior = self.config().prior();
        let mut sums: Vec<Vec<f64>> = vec![Vec::new(); rows.len()];
        let mut present: Vec<Vec<Name>> = vec![Vec::new(); rows.len()];
        let mut faults = Vec::new();
        for (number, model) in self.models.iter().enumerate() {
            let preparation = Arc::new(model.preparation().clone());
            let decode = |(sample, _): &(Sample, Option<String>)| decode(&preparation.modalities, sample, hidden);
            let decoded: Vec<(Decoded, Vec<String>)> = read.par_iter().map(decode).collect();
            if number == 0 {
                decoded.iter().zip(&mut present).for_each(|((has, _), p)| p.extend(has.keys().cloned()));
                faults.extend(decoded.iter().flat_map(|(_, faults)| faults.iter().cloned()));
            }
            let keyed = decoded.into_iter().zip(read).map(|((decoded, _), (sample, _))| (sample.key.clone(), decoded));
            let batch = preparation.collate(keyed.collect());
            let (Some(said), Some(supervised)) = (model.say(&batch), model.supervised()) else { continue };
            for (row, answer) in said.rows.iter().zip(said.answers(supervised)) {
                add(&mut sums[*row], &answer);
            }
        }
        faults.into_iter().for_each(|fault| self.remark(Some(fault)));
        let models = self.models.len() as f64;
        let said = sums.into_iter().zip(present).zip(rows.iter().zip(read));
        let predicted = said.map(|((sum, present), (&index, (sample, _)))| Predicted {
            key: sample.key.clone(),
            index,
            present,
            answer: if sum.is_empty() { prior.clone() } else { mean(&prior, sum, models) },
            truth: sample.fields.get(label).cloned(),
        });
        predicted.collect()
    }
}

/// `model/` and `fold-*/model` of a run, or the directory itself.
fn directories(path: &Path) -> Vec<PathBuf> {
    if path.join("model").is_dir() {
        return vec![path.join("model")];
    }
    let folds = (1..).map(|fold| path.join(format!("fold-{fold}")).join("model"));
    let folds: Vec<PathBuf> = folds.take_while(|path| path.is_dir()).collect();
    if folds.is_empty() { vec![path.to_owned()] } else { folds }
}

/// A row; one that cannot be read is an empty one, and what is wrong.
fn read(cases: &Dataset, row: usize) -> (Sample, Option<String>) {
    match cases.read(row) {
        Ok(sample) => (sample, None),
        Err(fault) => {
            let remark = fault.to_string();
            (Sample { key: fault.key, ..cases.glance(row).unwrap_or_default() }, Some(remark))
        }
    }
}

/// The modalities that can be read; what is damaged is missing, and said.
pub(crate) fn decode(
    modalities: &BTreeMap<Name, Arc<dyn sensorium_contract::Modality>>,
    sample: &Sample,
    hidden: &[Name],
) -> (Decoded, Vec<String>) {
    let mut decoded = Decoded::new();
    let mut faults = Vec::new();
    for (name, modality) in modalities.iter().filter(|(name, _)| !hidden.contains(name)) {
        match modality.decode(sample) {
            Ok(Some(item)) => drop(decoded.insert(name.clone(), item)),
            Ok(None) => {}
            Err(fault) => faults.push(format!("row `{}` is read without `{name}`: {fault}", sample.key)),
        }
    }
    (decoded, faults)
}

/// One answer for each row, the mean of what is said of it; rows in the order in which they come first.
pub fn averaged(said: Vec<Predicted>) -> Vec<Predicted> {
    let mut places = HashMap::new();
    let mut rows: Vec<(Predicted, Vec<f64>, usize)> = Vec::new();
    for row in said {
        let place = *places.entry(row.index).or_insert(rows.len());
        if place == rows.len() {
            rows.push((row.clone(), Vec::new(), 0));
        }
        let (_, sum, models) = &mut rows[place];
        add(sum, &row.answer);
        *models += 1;
    }
    let mean =
        |(row, sum, models): (Predicted, _, usize)| Predicted { answer: mean(&row.answer, sum, models as f64), ..row };
    rows.into_iter().map(mean).collect()
}

fn add(sum: &mut Vec<f64>, answer: &Answer) {
    let values = match answer {
        Answer::Probabilities(values) => values.iter().map(|value| f64::from(*value)).collect(),
        Answer::Number(value) => vec![*value],
    };
    sum.resize(values.len(), 0.0);
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// The mean answer, of the form of `like`.
fn mean(like: &Answer, sum: Vec<f64>, models: f64) -> Answer {
    match like {
        Answer::Probabilities(_) => {
            Answer::Probabilities(sum.into_iter().map(|value| (value / models) as f32).collect())
        }
        Answer::Number(_) => Answer::Number(sum[0] / models),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_the_mean_of_what_is_said_of_it_where_it_came_first() {
        let row = |index: usize, probability: f32| Predicted {
            key: index.to_string(),
            index,
            present: Vec::new(),
            answer: Answer::Probabilities(vec![probability, 1.0 - probability]),
            truth: None,
        };
        let said = averaged(vec![row(7, 0.25), row(2, 0.1), row(7, 0.75)]);
        assert_eq!(said, [row(7, 0.5), row(2, 0.1)]);
    }
}
