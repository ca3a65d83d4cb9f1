use std::collections::{BTreeMap, HashMap};

use rand::RngExt;
use sensorium_contract::{Rng, Sample, Seed, Value};

/// Distinct values that are counted a column; beyond, only that there are more.
const MAX_DISTINCT: usize = 10_000;
/// Numbers that are kept a column for quantiles, by reservoir sampling (Vitter 1985).
const RESERVOIR: usize = 10_000;

/// A cell as the table sees it.
#[derive(Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Number(f64),
    Text(&'a str),
}

/// What a field holds for a table; nothing if it is missing or no scalar.
pub(super) fn cell(value: &Value) -> Option<Cell<'_>> {
    match value {
        Value::Number(number) if number.is_finite() => Some(Cell::Number(*number)),
        Value::Text(text) if !text.trim().is_empty() => Some(Cell::Text(text.trim())),
        _ => None,
    }
}

/// What is known of all columns after one reading, in bounded memory.
#[derive(Default)]
pub(super) struct Statistics {
    pub samples: u64,
    pub columns: BTreeMap<String, ColumnStatistics>,
}

/// What is known of one column.
pub(super) struct ColumnStatistics {
    /// Samples that have a scalar there.
    pub present: u64,
    pub numbers: u64,
    /// Samples that have bytes or a list there.
    pub others: u64,
    pub mean: f64,
    squares: f64,
    /// A fair draw of the numbers.
    pub reservoir: Vec<f64>,
    /// Whether each number is one more than the number before.
    pub counts_up: bool,
    last: f64,
    /// Distinct values as text, with their counts, up to [`MAX_DISTINCT`].
    pub values: HashMap<String, u64>,
    /// Whether there were more.
    pub overflowed: bool,
    characters: u64,
    rng: Rng,
}

impl Statistics {
    pub fn add(&mut self, sample: &Sample) {
        self.samples += 1;
        for (name, value) in &sample.fields {
            if !self.columns.contains_key(name) {
                self.columns.insert(name.clone(), ColumnStatistics::new(name));
            }
            if let Some(column) = self.columns.get_mut(name) {
                column.add(value);
            }
        }
    }

    /// Share of the samples without a value.
    pub fn missing(&self, column: &ColumnStatistics) -> f64 {
        1.0 - column.present as f64 / self.samples.max(1) as f64
    }
}

impl ColumnStatistics {
    pub fn new(name: &str) -> Self {
        Self {
            present: 0,
            numbers: 0,
            others: 0,
            mean: 0.0,
            squares: 0.0,
            reservoir: Vec::new(),
            counts_up: true,
            last: f64::NAN,
            values: HashMap::new(),
            overflowed: false,
            characters: 0,
            // Which numbers are drawn depends on the column and the data's order only.
            rng: Seed::new(0).named("reservoir").named(name).rng(),
        }
    }

    fn add(&mut self, value: &Value) {
        match cell(value) {
            Some(Cell::Number(number)) => {
                self.present += 1;
                self.add_number(number);
                self.count(&number.to_string());
            }
            Some(Cell::Text(text)) => {
                self.present += 1;
                self.characters += text.chars().count() as u64;
                self.count(text);
            }
            None => self.others += u64::from(matches!(value, Value::Bytes(_) | Value::List(_))),
        }
    }

    /// Mean and deviation by Welford's method.
    fn add_number(&mut self, number: f64) {
        self.numbers += 1;
        let distance = number - self.mean;
        self.mean += distance / self.numbers as f64;
        self.squares += distance * (number - self.mean);
        self.counts_up &= self.last.is_nan() || number == self.last + 1.0;
        self.last = number;
        if self.reservoir.len() < RESERVOIR {
            self.reservoir.push(number);
        } else {
            let place = self.rng.random_range(0..self.numbers);
            if let Some(kept) = self.reservoir.get_mut(place as usize) {
                *kept = number;
            }
        }
    }

    fn count(&mut self, value: &str) {
        if let Some(count) = self.values.get_mut(value) {
            *count += 1;
        } else if self.values.len() < MAX_DISTINCT {
            self.values.insert(value.to_owned(), 1);
        } else {
            self.overflowed = true;
        }
    }

    pub fn deviation(&self) -> f64 {
        (self.squares / self.numbers.max(1) as f64).sqrt()
    }

    /// Of the texts.
    pub fn mean_length(&self) -> f64 {
        self.characters as f64 / (self.present - self.numbers).max(1) as f64
    }

    /// The most frequent values (of equally frequent the alphabetically first) and the share of
    /// present cells that they cover.
    pub fn most_frequent(&self, most: usize) -> (Vec<String>, f64) {
        let mut values: Vec<(&String, u64)> = self.values.iter().map(|(value, &count)| (value, count)).collect();
        values.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        values.truncate(most);
        let covered: u64 = values.iter().map(|(_, count)| count).sum();
        (values.into_iter().map(|(value, _)| value.clone()).collect(), covered as f64 / self.present.max(1) as f64)
    }

    /// The share of present cells whose value occurs at least twice.
    pub fn repeated(&self) -> f64 {
        let repeated: u64 = self.values.values().filter(|&&count| count > 1).sum();
        repeated as f64 / self.present.max(1) as f64
    }
}
