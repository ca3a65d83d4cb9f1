use maud::{Markup, PreEscaped, html};

use crate::number::fixed;

/// Rows and columns, sortable where scripts run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Stands above.
    pub title: String,
    /// What a reader must know of it; may be empty.
    pub note: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// One cell a column in each.
    pub rows: Vec<Vec<Cell>>,
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing to say.
    Empty,
    /// Words.
    Text(String),
    /// A number with so many decimals.
    Number {
        /// The number.
        value: f64,
        /// Decimals.
        decimals: usize,
    },
    /// A number with a bar that is full at `full`.
    Bar {
        /// The number.
        value: f64,
        /// Decimals.
        decimals: usize,
        /// The value of a full bar.
        full: f64,
    },
    /// A number on a ground that is strongest at `full`.
    Heat {
        /// The number.
        value: f64,
        /// Decimals.
        decimals: usize,
        /// The value of the strongest ground.
        full: f64,
    },
    /// A tick or a cross.
    Mark(bool),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Cell {
    fn value(&self) -> Option<f64> {
        match self {
            Self::Number { value, .. } | Self::Bar { value, .. } | Self::Heat { value, .. } => Some(*value),
            Self::Mark(mark) => Some(f64::from(u8::from(*mark))),
            Self::Empty | Self::Text(_) => None,
        }
    }

    /// The share of `full`, 0 to 1, with few digits.
    fn share(value: f64, full: f64) -> f64 {
        let share = if full > 0.0 { (value / full).clamp(0.0, 1.0) } else { 0.0 };
        if share.is_finite() { (share * 1000.0).round() / 1000.0 } else { 0.0 }
    }
}

/// A matrix of values from each name (rows) to each name (columns), as recall by direction.
pub fn recall_matrix(title: &str, note: &str, names: &[String], value: impl Fn(&str, &str) -> Option<f64>) -> Table {
    let cell = |from: &String, to: &String| match value(from, to) {
        Some(value) => Cell::Heat { value, decimals: 3, full: 1.0 },
        None => Cell::Empty,
    };
    let row = |from: &String| {
        std::iter::once(Cell::Text(format!("{from} →"))).chain(names.iter().map(|to| cell(from, to))).collect()
    };
    Table {
        title: title.to_owned(),
        note: note.to_owned(),
        columns: std::iter::once("query ↓ answer →".to_owned()).chain(names.iter().cloned()).collect(),
        rows: names.iter().map(row).collect(),
    }
}

pub(crate) fn table(table: &Table) -> Markup {
    let of = |column: usize| table.rows.iter().filter_map(move |row| row.get(column));
    let heat = |column: usize| of(column).any(|cell| matches!(cell, Cell::Heat { .. }));
    let numeric = |column: usize| of(column).any(|cell| cell.value().is_some());
    html! {
        @if !table.note.is_empty() { p .note { (table.note) } }
        div .scroll {
            table {
                thead { tr { @for (place, name) in table.columns.iter().enumerate() {
                    th scope="col" .number[numeric(place)] .centre[heat(place)] { (name) }
                } } }
                tbody { @for row in &table.rows { tr { @for content in row { (cell(content)) } } } }
            }
        }
    }
}

fn cell(cell: &Cell) -> Markup {
    match cell {
        Cell::Empty => html! { td .empty { "–" } },
        Cell::Text(text) => html! { td { (text) } },
        Cell::Number { value, decimals } => html! { td .number data-value=(value) { (finite(*value, *decimals)) } },
        Cell::Bar { value, decimals, full } => html! {
            td .number.bar data-value=(value) style={ "--share:" (Cell::share(*value, *full)) } {
                i {} span { (finite(*value, *decimals)) }
            }
        },
        Cell::Heat { value, decimals, full } => {
            let share = Cell::share(*value, *full);
            html! {
                td .number.heat.hot[share > 0.55] data-value=(value) style={ "--share:" (share) } { (finite(*value, *decimals)) }
            }
        }
        Cell::Mark(true) => html! { td .number.yes data-value="1" { (PreEscaped("&#10003;")) } },
        Cell::Mark(false) => html! { td .number.no data-value="0" { (PreEscaped("&#10007;")) } },
    }
}

fn finite(value: f64, decimals: usize) -> String {
    if value.is_finite() { fixed(value, decimals) } else { "–".to_owned() }
}
