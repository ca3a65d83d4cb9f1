//! Columns that give the label away.

use std::collections::{BTreeSet, HashMap};

use sensorium_contract::Value;

use crate::cell::number;

/// Share of the rows whose label a column must tell to be suspected.
const TELLS: f64 = 0.98;
/// Rows below which nothing is suspected.
const LEAST: usize = 20;
/// Bins of a numeric column.
const BINS: usize = 16;

/// Why a column may be a copy of the label; `labels` and `cells` row by row.
pub(crate) fn leak(labels: &[Option<Value>], cells: &[Option<Value>], label_is_number: bool) -> Option<String> {
    match label_is_number {
        true => correlation(labels, cells),
        false => tells(labels, cells),
    }
}

/// Why a column's name gives rise to doubt.
pub(crate) fn resembles(label: &str, column: &str) -> Option<String> {
    let words = |name: &str| -> BTreeSet<String> {
        let parts = name.split(|letter: char| !letter.is_alphanumeric()).filter(|part| part.len() > 1);
        parts.map(str::to_lowercase).collect()
    };
    let (label, column) = (words(label), words(column));
    let common = label.intersection(&column).count();
    let close = common >= 2 && common * 3 >= label.len() * 2;
    close.then(|| "its name resembles the label's".to_owned())
}

fn tells(labels: &[Option<Value>], cells: &[Option<Value>]) -> Option<String> {
    let keys = keys(cells)?;
    let mut counts: HashMap<&str, HashMap<String, usize>> = HashMap::new();
    let mut classes: HashMap<String, usize> = HashMap::new();
    let mut rows = 0;
    for (label, key) in labels.iter().zip(&keys) {
        let Some(label) = label.as_ref().and_then(|label| label.as_text()) else { continue };
        *counts.entry(key.as_str()).or_default().entry(label.to_string()).or_default() += 1;
        *classes.entry(label.into_owned()).or_default() += 1;
        rows += 1;
    }
    if rows < LEAST || counts.len() * 4 > rows {
        return None;
    }
    let right: usize = counts.values().filter_map(|labels| labels.values().max()).sum();
    let base = classes.values().max().copied().unwrap_or(0) as f64 / rows as f64;
    let share = right as f64 / rows as f64;
    // Telling must be more than always saying the most frequent class.
    (share >= TELLS && 1.0 - share <= 0.2 * (1.0 - base))
        .then(|| format!("its value tells the label of {:.1} % of the rows", 100.0 * share))
}

/// What stands for each cell: its text, or the bin of its number; nothing for lists and bytes.
fn keys(cells: &[Option<Value>]) -> Option<Vec<String>> {
    if cells.iter().flatten().any(|value| value.as_text().is_none()) {
        return None;
    }
    let mut numbers: Vec<f64> = cells.iter().flatten().filter_map(number).collect();
    let all_numbers = numbers.len() == cells.iter().flatten().count();
    numbers.sort_unstable_by(f64::total_cmp);
    let mut distinct = numbers.clone();
    distinct.dedup();
    let key = |value: &Value| match number(value) {
        Some(found) if all_numbers && distinct.len() > BINS => {
            format!("{}", numbers.partition_point(|other| *other < found) * BINS / numbers.len())
        }
        _ => value.as_text().map(|text| text.into_owned()).unwrap_or_default(),
    };
    Some(cells.iter().map(|value| value.as_ref().map(key).unwrap_or_default()).collect())
}

fn correlation(labels: &[Option<Value>], cells: &[Option<Value>]) -> Option<String> {
    let both = labels.iter().zip(cells).filter_map(|(a, b)| Some((number(a.as_ref()?)?, number(b.as_ref()?)?)));
    let pairs: Vec<(f64, f64)> = both.collect();
    if pairs.len() < LEAST {
        return None;
    }
    let n = pairs.len() as f64;
    let (a, b) = (pairs.iter().map(|p| p.0).sum::<f64>() / n, pairs.iter().map(|p| p.1).sum::<f64>() / n);
    let sum = |f: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(f).sum::<f64>();
    let (ab, aa, bb) = (sum(&|p| (p.0 - a) * (p.1 - b)), sum(&|p| (p.0 - a).powi(2)), sum(&|p| (p.1 - b).powi(2)));
    let r = ab / (aa * bb).sqrt();
    (r.abs() >= TELLS).then(|| format!("it correlates with the label at {r:.3}"))
}
