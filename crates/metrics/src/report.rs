use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{Bootstrap, Detail, Metric, MetricsError, Predictions, error::check_length};

/// How good predictions are: over all rows, and over groups of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Rows that were measured.
    pub rows: usize,
    /// Over all rows.
    pub measures: Vec<Measure>,
    /// By each column that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groupings: Vec<Grouping>,
    /// What there is to look at.
    pub detail: Detail,
}

/// A metric's value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Which metric.
    pub metric: Metric,
    /// Nothing where it is not defined, as an AUROC of rows of one class.
    pub value: Option<f64>,
    /// 95 % of the bootstrap's values lie between these.
    pub interval: Option<[f64; 2]>,
}

/// Rows by what a column says of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grouping {
    /// The column's name.
    pub name: String,
    /// In the order of their names.
    pub groups: Vec<Group>,
}

/// Rows that share a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The value.
    pub name: String,
    /// How many rows.
    pub rows: usize,
    /// Over these rows.
    pub measures: Vec<Measure>,
}

/// What each row is grouped by.
#[derive(Clone, Debug)]
pub struct Column {
    /// What it is called.
    pub name: String,
    /// One value a row.
    pub values: Vec<String>,
}

/// Measures predictions over all rows and over the groups of each column.
///
/// # Errors
/// If a column, or the bootstrap's groups, are not as many as there are rows.
pub fn judge(predictions: &dyn Predictions, columns: &[Column], bootstrap: &Bootstrap) -> Result<Report, MetricsError> {
    let rows = predictions.rows();
    columns.iter().try_for_each(|column| check_length("values to group by", rows, column.values.len()))?;
    bootstrap.groups.iter().try_for_each(|groups| check_length("groups to draw", rows, groups.len()))?;
    let all: Vec<usize> = (0..rows).collect();
    Ok(Report {
        rows,
        measures: measures(predictions, &all, bootstrap),
        groupings: columns.iter().map(|column| grouping(predictions, column, bootstrap)).collect(),
        detail: predictions.detail(),
    })
}

/// Which modalities a row has, as a group's name: `image + text`, or `none`.
pub fn presence<'a>(present: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = present.into_iter().collect();
    if names.is_empty() { "none".to_owned() } else { names.join(" + ") }
}

fn grouping(predictions: &dyn Predictions, column: &Column, bootstrap: &Bootstrap) -> Grouping {
    let mut members: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    column.values.iter().enumerate().for_each(|(row, value)| members.entry(value).or_default().push(row));
    let group = |(name, rows): (&str, Vec<usize>)| Group {
        name: name.to_owned(),
        rows: rows.len(),
        measures: measures(predictions, &rows, bootstrap),
    };
    Grouping { name: column.name.clone(), groups: members.into_iter().map(group).collect() }
}

fn measures(predictions: &dyn Predictions, rows: &[usize], bootstrap: &Bootstrap) -> Vec<Measure> {
    let mut counts = vec![0; predictions.rows()];
    rows.iter().for_each(|&row| counts[row] = 1);
    let values = predictions.measure(&counts);
    let intervals = bootstrap.intervals(predictions, rows);
    let measure = |((metric, value), (_, interval))| Measure { metric, value, interval };
    values.into_iter().zip(intervals).map(measure).collect()
}

impl Report {
    /// A metric's value over all rows; nothing if it is not measured or not defined.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.measures.iter().find(|measure| measure.metric == metric)?.value
    }
}

/// A table for terminals: metrics with their intervals, then each grouping.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:20} {:>8}  95 % interval", format!("{} rows", self.rows), "value")?;
        self.measures.iter().try_for_each(|measure| writeln!(f, "{:20} {measure}", measure.metric))?;
        for grouping in &self.groupings {
            let width = grouping.groups.iter().map(|group| group.name.chars().count()).max().unwrap_or(0).max(8);
            write!(f, "\n{:width$} {:>7}", grouping.name, "rows")?;
            let shown = |group: &Group| group.measures.iter().take(SHOWN).copied().collect::<Vec<Measure>>();
            let heads = grouping.groups.first().map(shown).unwrap_or_default();
            heads.iter().try_for_each(|measure| write!(f, "  {:26}", measure.metric))?;
            for group in &grouping.groups {
                write!(f, "\n{:width$} {:>7}", group.name, group.rows)?;
                shown(group).iter().try_for_each(|measure| write!(f, "  {:26}", measure.to_string()))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Metrics of a group that a terminal has room for.
const SHOWN: usize = 4;

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, "{value:8.3}")?,
            None => write!(f, "{:>8}", "–")?,
        }
        match self.interval {
            Some([low, high]) => write!(f, "  {low:.3} to {high:.3}"),
            None => Ok(()),
        }
    }
}
