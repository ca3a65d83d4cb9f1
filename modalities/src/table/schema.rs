use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    ColumnConfig, ColumnKind, Scale, Scaling, TableConfig, TableError,
    statistics::{ColumnStatistics, Statistics},
};

/// Share of a column's values that must be numbers for a numeric column.
const NUMERIC: f64 = 0.95;
/// Least share of an inferred categorical column's cells that its categories must cover.
const COVERED: f64 = 0.5;
/// Characters beyond which texts that hardly repeat are taken for prose.
const PROSE: f64 = 40.0;

/// The columns of a table, as learned from the training data. Tokens stand in the order numeric,
/// then categorical.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSchema {
    /// Columns of numbers.
    pub numeric: Vec<NumericColumn>,
    /// Columns of categories.
    pub categorical: Vec<CategoryColumn>,
    /// What was decided about each field of the data, in the order of their names.
    pub decisions: Vec<Decision>,
}

/// A column of numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumericColumn {
    /// The sample's field.
    pub name: String,
    /// How its numbers are scaled.
    pub scaling: Scaling,
}

/// A column of categories.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoryColumn {
    /// The sample's field.
    pub name: String,
    /// The known values, the most frequent first.
    pub values: Vec<String>,
}

/// What was decided about one field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The field.
    pub column: String,
    /// What it is read as; nothing if it is left out.
    pub kind: Option<ColumnKind>,
    /// Why.
    pub reason: String,
    /// Share of the samples without a value.
    pub missing: f64,
}

impl TableSchema {
    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.numeric.len() + self.categorical.len()
    }

    /// The schema that the configuration pins, or else that of the data.
    pub(super) fn new(
        config: &TableConfig,
        statistics: &Statistics,
        used: &BTreeSet<String>,
    ) -> Result<Self, TableError> {
        let schema = match &config.columns {
            Some(columns) => pinned(config, columns, statistics)?,
            None => inferred(config, statistics, used),
        };
        match schema.columns() {
            0 => Err(TableError::NoColumns { decisions: schema.decisions }),
            _ => Ok(schema),
        }
    }

    fn push(&mut self, config: &TableConfig, name: &str, kind: ColumnKind, column: &ColumnStatistics) {
        match kind {
            ColumnKind::Numeric => {
                let scaling = match config.scale {
                    Scale::Standard => Scaling::standard(column.mean, column.deviation()),
                    Scale::Quantile => Scaling::quantile(column.reservoir.clone()),
                };
                self.numeric.push(NumericColumn { name: name.to_owned(), scaling });
            }
            ColumnKind::Category => {
                let (values, _) = column.most_frequent(config.max_categories);
                self.categorical.push(CategoryColumn { name: name.to_owned(), values });
            }
        }
    }

    fn empty() -> Self {
        Self { numeric: Vec::new(), categorical: Vec::new(), decisions: Vec::new() }
    }
}

fn pinned(config: &TableConfig, columns: &[ColumnConfig], statistics: &Statistics) -> Result<TableSchema, TableError> {
    let mut schema = TableSchema::empty();
    for ColumnConfig { name, kind } in columns {
        let found = || statistics.columns.keys().cloned().collect();
        let column = statistics.columns.get(name).filter(|column| column.present > 0);
        let column = column.ok_or_else(|| TableError::MissingColumn { name: name.clone(), found: found() })?;
        if *kind == ColumnKind::Numeric && column.numbers == 0 {
            let example = column.most_frequent(1).0.concat();
            return Err(TableError::NotNumeric { name: name.clone(), values: column.present, example });
        }
        schema.push(config, name, *kind, column);
    }
    let decision = |(name, column): (&String, &ColumnStatistics)| {
        let kind = columns.iter().find(|pinned| pinned.name == *name).map(|pinned| pinned.kind);
        let reason = if kind.is_some() { "pinned by the recipe" } else { "not among the pinned columns" };
        Decision { column: name.clone(), kind, reason: reason.to_owned(), missing: statistics.missing(column) }
    };
    schema.decisions = statistics.columns.iter().map(decision).collect();
    Ok(schema)
}

fn inferred(config: &TableConfig, statistics: &Statistics, used: &BTreeSet<String>) -> TableSchema {
    let mut schema = TableSchema::empty();
    for (name, column) in &statistics.columns {
        let verdict = if used.contains(name) {
            Err("read by another modality".to_owned())
        } else if config.exclude.contains(name) {
            Err("excluded by the recipe".to_owned())
        } else {
            infer(config, column)
        };
        let (kind, reason) = match verdict {
            Ok((kind, reason)) => (Some(kind), reason),
            Err(reason) => (None, reason),
        };
        if let Some(kind) = kind {
            schema.push(config, name, kind, column);
        }
        let missing = statistics.missing(column);
        schema.decisions.push(Decision { column: name.clone(), kind, reason, missing });
    }
    schema
}

/// What a column is read as and why, or why it is left out.
fn infer(config: &TableConfig, column: &ColumnStatistics) -> Result<(ColumnKind, String), String> {
    let distinct = column.values.len();
    if column.others > 0 {
        return Err("holds bytes or lists".to_owned());
    }
    if column.present == 0 {
        return Err("always missing".to_owned());
    }
    if distinct == 1 {
        return Err("always the same value".to_owned());
    }
    let numbers = column.numbers as f64 / column.present as f64;
    if numbers >= NUMERIC {
        if column.counts_up && column.numbers > 2 {
            return Err("an identifier: counts up by one from row to row".to_owned());
        }
        return Ok((ColumnKind::Numeric, share(numbers, "of the values are numbers")));
    }
    if !column.overflowed && distinct as u64 == column.present {
        return Err("an identifier: every value is different".to_owned());
    }
    if column.repeated() < COVERED {
        let prose = column.mean_length() > PROSE;
        return Err(if prose { "long free text" } else { "nearly every value is different" }.to_owned());
    }
    let (_, covered) = column.most_frequent(config.max_categories);
    match covered < COVERED {
        true => {
            Err(format!("too many values: the {} most frequent cover {:.0} %", config.max_categories, 100.0 * covered))
        }
        false if distinct > config.max_categories => Ok((
            ColumnKind::Category,
            share(covered, &format!("of the cells hold one of the {} most frequent values", config.max_categories)),
        )),
        false => Ok((ColumnKind::Category, format!("{distinct} different values"))),
    }
}

fn share(share: f64, what: &str) -> String {
    format!("{:.0} % {what}", 100.0 * share)
}
