use sensorium_contract::Pool;
use serde::{Deserialize, Serialize};

use super::TableError;

/// How a row becomes tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TableConfig {
    /// The columns and what they hold; without, both are inferred from the training data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<ColumnConfig>>,
    /// Columns that are not read: labels, identifiers.
    pub exclude: Vec<String>,
    /// How numbers are scaled.
    pub scale: Scale,
    /// Waves that a number is told by beside its own size, a column each of so many sines and cosines of
    /// learned frequency (Gorishniy et al. 2022); 0 for none.
    #[serde(skip_serializing_if = "is_none")]
    pub waves: usize,
    /// The most categories of a column; of more, the rarest count as unknown.
    pub max_categories: usize,
    /// How the tokens become one vector: `class`, `mean` or `statistics`.
    pub pool: Pool,
    /// Share of a row's present cells that masked modelling hides.
    pub mask_ratio: f32,
    /// The chance of each cell to be taken for missing while training.
    #[serde(skip_serializing_if = "is_zero")]
    pub cell_dropout: f32,
}

fn is_none(waves: &usize) -> bool {
    *waves == 0
}

fn is_zero(value: &f32) -> bool {
    *value == 0.0
}

impl Default for TableConfig {
    fn default() -> Self {
        Self {
            columns: None,
            exclude: Vec::new(),
            scale: Scale::Standard,
            waves: 0,
            max_categories: 64,
            pool: Pool::Class,
            mask_ratio: 0.25,
            cell_dropout: 0.0,
        }
    }
}

impl TableConfig {
    /// What no data could make right.
    pub(super) fn validate(&self) -> Result<(), TableError> {
        let wrong = |key, expected, found: String| Err(TableError::Config { key, expected, found });
        if self.pool == Pool::Last {
            return wrong("pool", "class, mean or statistics, as columns have no order", "last".to_owned());
        }
        if !(0.0..=1.0).contains(&self.mask_ratio) {
            return wrong("mask_ratio", "a share between 0 and 1", self.mask_ratio.to_string());
        }
        if !(0.0..1.0).contains(&self.cell_dropout) {
            return wrong("cell_dropout", "a share of at least 0 and below 1", self.cell_dropout.to_string());
        }
        if self.max_categories == 0 {
            return wrong("max_categories", "at least 1", "0".to_owned());
        }
        let columns = self.columns.as_deref().unwrap_or_default();
        for (place, column) in columns.iter().enumerate() {
            if columns[..place].iter().any(|earlier| earlier.name == column.name) {
                return wrong("columns", "each column once", format!("`{}` twice", column.name));
            }
            if self.exclude.contains(&column.name) {
                return wrong("exclude", "no column that `columns` names", format!("`{}`", column.name));
            }
        }
        Ok(())
    }
}

/// A column of a pinned schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnConfig {
    /// The sample's field.
    pub name: String,
    /// What it holds.
    pub kind: ColumnKind,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnKind {
    /// Numbers.
    Numeric,
    /// One of several values.
    Category,
}

impl std::fmt::Display for ColumnKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Numeric => "numeric",
            Self::Category => "category",
        })
    }
}

/// How numbers are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Mean 0, deviation 1.
    #[default]
    Standard,
    /// By rank, to a normal distribution.
    Quantile,
}
