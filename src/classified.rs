//! What a model's vectors tell of classes, as JSON, text and sections of a page.

use std::{collections::BTreeMap, fmt};

use sensorium_contract::{Name, Sample};
use sensorium_metrics::{Classes, Metric, Report};
use sensorium_report::{Answer, Bar, Bars, Media, Section, Wall, WallQuery, metric_sections};
use sensorium_retrieve::classify::Swept;
use sensorium_samples::Dataset;
use serde::Serialize;

use crate::{LabelledColumn, LabelledTable, Reading, to_media};

/// Classes told from the vectors of one subset of modalities.
#[derive(Serialize)]
pub struct Classified {
    /// What the vectors are made of.
    pub modalities: Vec<Name>,
    /// How good the predictions are.
    pub report: Report,
    /// Accuracy on the samples that every subset has, if some have others too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy_on_common: Option<f64>,
    /// What each strength of a linear probe's penalty reached on held-out samples.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub swept: Vec<Swept>,
    /// Sample of the table that each row is of.
    #[serde(skip)]
    pub rows: Vec<usize>,
    /// The predictions.
    #[serde(skip)]
    pub classes: Classes,
    /// `[rows, classes]`
    #[serde(skip)]
    pub probabilities: ndarray::Array2<f64>,
}

/// A task with its result on each subset of modalities.
#[derive(Serialize)]
pub struct Task {
    /// `zero-shot`, `knn`, `linear-probe`
    pub task: String,
    /// How it was done, in a sentence.
    pub method: String,
    /// The field that the classes come from.
    pub label: String,
    /// Accuracy of a guess: 1 divided by the number of classes.
    pub chance: f64,
    /// Samples that every subset has.
    pub common: usize,
    /// One a subset.
    pub subsets: Vec<Classified>,
}

impl Task {
    /// Fills in what is known only of all subsets together.
    pub fn new(task: &str, method: String, label: &str, classes: usize, mut subsets: Vec<Classified>) -> Self {
        let in_all = |row: &usize| subsets.iter().all(|subset| subset.rows.binary_search(row).is_ok());
        let common: Vec<usize> =
            subsets.first().map(|subset| subset.rows.iter().copied().filter(in_all).collect()).unwrap_or_default();
        if subsets.iter().any(|subset| subset.rows.len() > common.len()) {
            subsets.iter_mut().for_each(|subset| subset.accuracy_on_common = subset.accuracy_on(&common));
        }
        let (task, label) = (task.to_owned(), label.to_owned());
        Self { task, method, label, chance: 1.0 / classes.max(1) as f64, common: common.len(), subsets }
    }
}

impl Classified {
    /// The subset's name, `image + text`.
    pub fn name(&self) -> String {
        sensorium_metrics::presence(self.modalities.iter().map(|name| &**name))
    }

    fn accuracy_on(&self, samples: &[usize]) -> Option<f64> {
        let counts: Vec<u32> = self.rows.iter().map(|row| u32::from(samples.binary_search(row).is_ok())).collect();
        self.classes.confusion(&counts).accuracy()
    }

    /// Accuracy of who always says the most frequent class.
    fn majority(&self) -> f64 {
        let sensorium_metrics::Detail::Classes(detail) = &self.report.detail else { return 0.0 };
        detail.majority
    }
}

/// For terminals.
impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: `{}`. {}", self.task, self.label, self.method)?;
        for subset in &self.subsets {
            writeln!(f, "\n{}", subset.name())?;
            write!(f, "{}", subset.report)?;
            writeln!(f, "{:20} {:8.3}", "chance", self.chance)?;
            writeln!(f, "{:20} {:8.3}", "most frequent class", subset.majority())?;
            if let Some(accuracy) = subset.accuracy_on_common {
                writeln!(f, "accuracy on the {} samples that all subsets have: {accuracy:.3}", self.common)?;
            }
        }
        Ok(())
    }
}

/// Samples on a wall.
const SHOWN: usize = 24;
/// Most probable classes that are shown of each.
const ANSWERS: usize = 5;

/// Sections of a page: subsets beside each other, metrics of the first, and samples with what they
/// were taken for.
pub fn classified_sections(
    readings: &BTreeMap<Name, Reading>,
    dataset: &Dataset,
    labelled: &LabelledTable,
    task: &Task,
) -> Vec<Section> {
    let Some(first) = task.subsets.first() else { return Vec::new() };
    let mut sections = vec![Section::Prose { title: "How it was measured".into(), text: task.method.clone() }];
    sections.push(subsets(task));
    sections.extend(metric_sections(&format!("From {}", first.name()), &first.report));
    let wall = |title: &str, note: &str, rows: Vec<usize>| {
        let query = |row| query(readings, dataset, labelled, first, row);
        let (title, note) = (title.to_owned(), note.to_owned());
        Section::Wall(Wall { title, note, queries: rows.into_iter().map(query).collect() })
    };
    let count = first.rows.len().min(SHOWN);
    let spread = (0..count).map(|at| at * first.rows.len() / count).collect();
    sections.push(wall("Some of all", "Evenly from all over the data, with their most probable classes.", spread));
    sections.push(wall("Most confident mistakes", "Wrong, and sure of it.", sure_mistakes(first)));
    sections
}

/// The accuracy of each subset, beside chance.
fn subsets(task: &Task) -> Section {
    let bar = |subset: &Classified| {
        let accuracy = subset.report.measures.iter().find(|measure| measure.metric == Metric::Accuracy);
        let on_common = subset.accuracy_on_common.map(|accuracy| format!(", {accuracy:.3} on common ones"));
        Bar {
            name: subset.name(),
            detail: format!("{} samples{}", subset.report.rows, on_common.unwrap_or_default()),
            value: accuracy.and_then(|measure| measure.value),
            interval: accuracy.and_then(|measure| measure.interval),
        }
    };
    let guess = |name: &str, value| Bar { name: name.to_owned(), value: Some(value), ..Bar::default() };
    let majority = task.subsets.first().map(|subset| guess("always the most frequent class", subset.majority()));
    let bars = task.subsets.iter().map(bar).chain(majority).chain([guess("a guess", task.chance)]).collect();
    Section::Bars {
        title: "By the modalities that are present".to_owned(),
        note: format!("{} samples have the modalities of every subset.", task.common),
        bars: vec![Bars { title: "Accuracy".to_owned(), bars, full: Some(1.0), ..Bars::default() }],
    }
}

fn sure_mistakes(subset: &Classified) -> Vec<usize> {
    let classes = &subset.classes;
    let wrong = |row: &usize| classes.predicted()[*row] != classes.truth()[*row];
    let mut rows: Vec<usize> = (0..subset.rows.len()).filter(wrong).collect();
    rows.sort_by(|&a, &b| classes.confidence()[b].total_cmp(&classes.confidence()[a]));
    rows.truncate(SHOWN);
    rows
}

fn query(
    readings: &BTreeMap<Name, Reading>,
    dataset: &Dataset,
    labelled: &LabelledTable,
    subset: &Classified,
    row: usize,
) -> WallQuery {
    let sample: Sample = dataset.read(labelled.places[subset.rows[row]]).unwrap_or_default();
    let probabilities = subset.probabilities.row(row);
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    let (names, truth) = (subset.classes.names(), subset.classes.truth()[row]);
    let answer = |&class: &usize| Answer {
        media: vec![Media::Text(names[class].clone())],
        score: probabilities[class] as f32,
        correct: class == truth,
    };
    WallQuery {
        query: subset.modalities.iter().flat_map(|name| to_media(readings, name, &sample)).collect(),
        answers: order.iter().take(ANSWERS).map(answer).collect(),
        wanted: vec![Media::Text(names[truth].clone())],
    }
}

impl Classified {
    /// Measures what was predicted of a column's rows.
    ///
    /// # Errors
    /// If the probabilities are none.
    ///
    /// # Shapes
    /// `probabilities` `[rows, classes]`
    pub fn new(
        column: LabelledColumn,
        names: &[String],
        probabilities: ndarray::Array2<f64>,
        swept: Vec<Swept>,
    ) -> Result<Self, crate::Error> {
        let classes = Classes::new(names.to_vec(), column.classes, &probabilities)?;
        let bootstrap = sensorium_metrics::Bootstrap::new(sensorium_contract::Seed::new(0));
        let report = sensorium_metrics::judge(&classes, &[], &bootstrap)?;
        let (modalities, rows) = (column.modalities, column.column.rows);
        Ok(Self { modalities, report, accuracy_on_common: None, swept, rows, classes, probabilities })
    }
}
