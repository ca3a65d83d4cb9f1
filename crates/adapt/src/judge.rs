//! Predictions beside the truth.

use std::collections::BTreeMap;

use ndarray::Array2;
use sensorium_contract::{Seed, Value};
use sensorium_metrics::{
    Bootstrap, Classes, Column, Grades, Labels, Metric, Numbers, Predictions, Report, judge, presence,
};
use sensorium_objectives::{Answer, SupervisedConfig, Task};
use sensorium_samples::Dataset;

use crate::{AdaptError, Predicted, Reading};

/// Values of a column of numbers beyond which it is grouped by quarters.
const GROUPS: usize = 8;

/// How good predictions are.
pub struct Judgement {
    /// Metrics over all rows, by the modalities present, and by further columns.
    pub report: Report,
    /// The rows that were judged, the most wrong first.
    pub mistakes: Vec<Mistake>,
    /// Rows that could not be judged: without a label, or of one that the model does not know.
    pub skipped: usize,
}

/// A row that was told wrongly.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    /// Its number in the table.
    pub index: usize,
    /// What the table says.
    pub truth: String,
    /// What the model says.
    pub said: String,
    /// How wrong it is: the confidence in a wrong class, or the distance of numbers.
    pub by: f64,
}

/// Measures predictions whose truth is known, over all rows, by modalities present, and by the
/// values of each column of `by`; intervals are those of the groups that `reading` names, if it does.
///
/// # Errors
/// If no row can be judged.
pub fn judge_cases(
    config: &SupervisedConfig,
    reading: &Reading,
    predicted: &[Predicted],
    table: &Dataset,
    by: &[String],
) -> Result<Judgement, AdaptError> {
    let known: Vec<(&Predicted, Truth)> =
        predicted.iter().filter_map(|row| Some((row, Truth::of(&config.task, row.truth.as_ref()?)?))).collect();
    if known.is_empty() {
        let problem = format!("none has a label `{}` that the model knows", config.label);
        return Err(AdaptError::NothingToJudge(problem));
    }
    let skipped = predicted.len() - known.len();
    let mut columns = vec![Column {
        name: "modalities present".to_owned(),
        values: known.iter().map(|(row, _)| presence(row.present.iter().map(|name| &**name))).collect(),
    }];
    if columns[0].values.iter().all(|value| *value == columns[0].values[0]) {
        columns.clear();
    }
    columns.extend(by.iter().map(|name| grouped(name, &known, table)));
    let groups = reading.group.as_deref().map(|name| groups(name, &known, table));
    let bootstrap = Bootstrap { groups, ..Bootstrap::new(Seed::new(0).named("bootstrap")) };
    let report = judge(&*predictions(config, &known)?, &columns, &bootstrap)?;
    let mut mistakes: Vec<Mistake> = known.iter().filter_map(|(row, truth)| truth.mistake(&config.task, row)).collect();
    mistakes.sort_by(|a, b| b.by.total_cmp(&a.by));
    Ok(Judgement { report, mistakes, skipped })
}

/// Metrics by how willingly one number is given for all.
const HEADLINES: [Metric; 4] = [Metric::Auroc, Metric::Accuracy, Metric::Rmse, Metric::Mae];

/// One number that says how well cases are told, with its metric; nothing if none of them has a known label.
///
/// # Errors
/// If they cannot be measured.
pub fn headline(config: &SupervisedConfig, predicted: &[Predicted]) -> Result<Option<(Metric, f64)>, AdaptError> {
    let all = measured(config, predicted)?;
    let known = |metric: &Metric| Some((*metric, all.iter().find(|(found, _)| found == metric)?.1?));
    Ok(HEADLINES.iter().find_map(known))
}

/// The metrics alone.
pub(crate) fn measured(
    config: &SupervisedConfig,
    predicted: &[Predicted],
) -> Result<Vec<(Metric, Option<f64>)>, AdaptError> {
    let known: Vec<(&Predicted, Truth)> =
        predicted.iter().filter_map(|row| Some((row, Truth::of(&config.task, row.truth.as_ref()?)?))).collect();
    match known.is_empty() {
        true => Ok(Vec::new()),
        false => Ok(predictions(config, &known)?.measure(&vec![1; known.len()])),
    }
}

/// A label as metrics read it.
enum Truth {
    Class(usize),
    Labels(Vec<bool>),
    Number(f64),
}

impl Truth {
    /// Nothing if the model does not know it.
    fn of(task: &Task, value: &Value) -> Option<Self> {
        let place = |name: &str| task.classes().iter().position(|class| class == name.trim());
        Some(match task {
            Task::Classes { .. } | Task::Ordinal { .. } => Self::Class(place(&value.as_text()?)?),
            Task::Labels { classes } => {
                let mut on = vec![false; classes.len()];
                for name in value.labels()? {
                    on[place(&name)?] = true;
                }
                Self::Labels(on)
            }
            Task::Number { .. } => Self::Number(value.as_text()?.trim().parse().ok()?),
        })
    }

    fn mistake(&self, task: &Task, row: &Predicted) -> Option<Mistake> {
        let (truth, said, by) = match (self, &row.answer) {
            (Self::Class(class), Answer::Probabilities(found)) => {
                let (said, confidence) = found.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
                if said == *class {
                    return None;
                }
                (task.classes()[*class].clone(), task.classes()[said].clone(), f64::from(*confidence))
            }
            (Self::Labels(on), Answer::Probabilities(found)) => {
                let wrong = found.iter().zip(on).map(|(p, on)| f64::from(if *on { 1.0 - p } else { *p }));
                let by = wrong.fold(0.0, f64::max);
                if by <= 0.5 {
                    return None;
                }
                let names = |is: &dyn Fn(usize) -> bool| {
                    let names = task.classes().iter().enumerate().filter(|(place, _)| is(*place));
                    names.map(|(_, name)| name.as_str()).collect::<Vec<_>>().join("; ")
                };
                (names(&|place| on[place]), names(&|place| found[place] > 0.5), by)
            }
            (Self::Number(truth), Answer::Number(found)) => {
                (format!("{truth:.4}"), format!("{found:.4}"), (truth - found).abs())
            }
            _ => return None,
        };
        Some(Mistake { index: row.index, truth, said, by })
    }
}

fn predictions(config: &SupervisedConfig, known: &[(&Predicted, Truth)]) -> Result<Box<dyn Predictions>, AdaptError> {
    let names = config.task.classes().to_vec();
    let probabilities = || {
        Array2::from_shape_fn((known.len(), names.len()), |(row, class)| match &known[row].0.answer {
            Answer::Probabilities(found) => f64::from(found[class]),
            Answer::Number(_) => 0.0,
        })
    };
    let class = |(_, truth): &(&Predicted, Truth)| if let Truth::Class(class) = truth { *class } else { 0 };
    Ok(match &config.task {
        Task::Classes { .. } => {
            Box::new(Classes::new(names.clone(), known.iter().map(class).collect(), &probabilities())?)
        }
        Task::Ordinal { .. } => {
            Box::new(Grades(Classes::new(names.clone(), known.iter().map(class).collect(), &probabilities())?))
        }
        Task::Labels { .. } => {
            let on = |(row, label): (usize, usize)| matches!(&known[row].1, Truth::Labels(on) if on[label]);
            let truth = Array2::from_shape_fn((known.len(), names.len()), on);
            Box::new(Labels::new(names.clone(), truth, probabilities())?)
        }
        Task::Number { .. } => {
            let pairs = known.iter().map(|(row, truth)| match (truth, &row.answer) {
                (Truth::Number(truth), Answer::Number(found)) => (*truth, *found),
                _ => (0.0, 0.0),
            });
            let (truth, found) = pairs.unzip();
            Box::new(Numbers::new(truth, found)?)
        }
    })
}

/// The number of each row's group; a row that is in none is one of its own.
fn groups(name: &str, known: &[(&Predicted, Truth)], table: &Dataset) -> Vec<usize> {
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let cell = |row: &Predicted| Some(table.glance(row.index).ok()?.fields.get(name)?.as_text()?.into_owned());
    let group = |(place, (row, _)): (usize, &(&Predicted, Truth))| match cell(row) {
        Some(group) => *numbers.entry(group).or_insert(place),
        None => place,
    };
    known.iter().enumerate().map(group).collect()
}

/// A column's values; numbers of many values by quarters.
fn grouped(name: &str, known: &[(&Predicted, Truth)], table: &Dataset) -> Column {
    let cell = |(row, _): &(&Predicted, Truth)| table.glance(row.index).ok()?.fields.remove(name);
    let cells: Vec<Option<Value>> = known.iter().map(cell).collect();
    let text = |cell: &Option<Value>| match cell {
        Some(value) => value.as_text().map_or_else(|| value.kind().to_owned(), |text| text.into_owned()),
        None => "missing".to_owned(),
    };
    let mut numbers: Vec<f64> =
        cells.iter().flatten().filter_map(|value| if let Value::Number(n) = value { Some(*n) } else { None }).collect();
    numbers.sort_unstable_by(f64::total_cmp);
    let mut distinct = numbers.clone();
    distinct.dedup();
    let present = cells.iter().flatten().count();
    if numbers.len() < present || distinct.len() <= GROUPS {
        return Column { name: name.to_owned(), values: cells.iter().map(text).collect() };
    }
    let knot = |quarter: usize| numbers[quarter * (numbers.len() - 1) / 4];
    let quarter = |cell: &Option<Value>| match cell {
        Some(Value::Number(number)) => {
            let at = (1..4).filter(|&quarter| *number > knot(quarter)).count();
            format!("{} to {}", knot(at), knot(at + 1))
        }
        other => text(other),
    };
    Column { name: name.to_owned(), values: cells.iter().map(quarter).collect() }
}
