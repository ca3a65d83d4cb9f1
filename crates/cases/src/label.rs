use std::{collections::BTreeMap, fmt};

use sensorium_contract::Value;
use sensorium_samples::Dataset;
use serde::{Deserialize, Serialize};

use crate::{
    CasesError,
    cell::{is_missing, number},
    look::columns,
};

/// Different whole numbers up to which a numeric label is taken for classes.
const MOST_NUMBERED: usize = 20;

/// Where the label comes from: a column, or a question about one whose answer is yes or no
/// (`target > 0`, `finding = COVID-19`, `finding ~ COVID`: contains).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelRule {
    /// The column.
    pub column: String,
    /// The comparison and what the column is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<[String; 2]>,
}

const COMPARISONS: [&str; 7] = [">=", "<=", "!=", ">", "<", "=", "~"];

impl LabelRule {
    /// Reads what `--label` was given: the name of one of these columns, or a question.
    ///
    /// # Errors
    /// If it names no column.
    pub fn read(given: &str, columns: &[String]) -> Result<Self, CasesError> {
        if columns.iter().any(|column| column == given) {
            return Ok(Self { column: given.to_owned(), test: None });
        }
        let first = COMPARISONS
            .iter()
            .filter_map(|sign| Some((given.find(sign)?, *sign)))
            .min_by_key(|(at, s)| (*at, 9 - s.len()));
        if let Some((at, sign)) = first {
            let (column, value) = (given[..at].trim().to_owned(), given[at + sign.len()..].trim().to_owned());
            if columns.contains(&column) && !value.is_empty() {
                return Ok(Self { column, test: Some([sign.to_owned(), value]) });
            }
        }
        Err(CasesError::no_column("--label", given, columns))
    }

    /// [`LabelRule::read`] for the columns of a table.
    ///
    /// # Errors
    /// If it names no column.
    pub fn of(data: &Dataset, given: &str) -> Result<Self, CasesError> {
        Self::read(given, &columns(data))
    }

    /// What the label is called.
    pub fn name(&self) -> String {
        match &self.test {
            None => self.column.clone(),
            Some([sign, value]) => format!("{} {sign} {value}", self.column),
        }
    }

    /// The label of a case whose column holds this; nothing if it is not known.
    pub fn apply(&self, value: &Value) -> Option<Value> {
        if value.as_text().is_some_and(|text| is_missing(&text)) {
            return None;
        }
        let Some([sign, wanted]) = &self.test else { return Some(value.clone()) };
        let text = value.as_text()?;
        let order = match (number(value), wanted.parse::<f64>().ok()) {
            (Some(found), Some(wanted)) => found.partial_cmp(&wanted),
            _ => Some((*text).cmp(wanted.as_str())),
        }?;
        let answer = match sign.as_str() {
            ">" => order.is_gt(),
            "<" => order.is_lt(),
            ">=" => order.is_ge(),
            "<=" => order.is_le(),
            "!=" => order.is_ne(),
            "~" => text.contains(wanted.as_str()),
            _ => order.is_eq(),
        };
        Some(Value::Text(if answer { "yes" } else { "no" }.to_owned()))
    }
}

/// The kinds of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// One of two or more classes.
    Classes,
    /// One of several grades in their order.
    Ordinal,
    /// Any number of classes at once.
    Labels,
    /// A number.
    Number,
}

/// What the label is.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Which kind.
    pub kind: ProblemKind,
    /// The classes, numbers in their order and texts in that of the alphabet; none of a number.
    pub classes: Vec<String>,
    /// Cases of each class.
    pub counts: Vec<usize>,
    /// Why it is of this kind.
    pub reason: String,
}

impl Problem {
    /// The problem that these labels pose; `given` if the user says which kind it is.
    pub(crate) fn infer(rule: &LabelRule, labels: &[&Value], given: Option<ProblemKind>) -> Result<Self, CasesError> {
        let wrong = |problem: String| CasesError::Label { label: rule.name(), problem };
        if labels.is_empty() {
            return Err(wrong("it is missing in every row".into()));
        }
        let (kind, reason) = match given {
            Some(kind) => (kind, "as asked".to_owned()),
            None => guess(labels).map_err(wrong)?,
        };
        let counts = match kind {
            ProblemKind::Number => match labels.iter().find(|value| number(value).is_none()) {
                Some(value) => return Err(wrong(format!("expected numbers, found {}", shown(value)))),
                None => BTreeMap::new(),
            },
            ProblemKind::Labels => count(labels.iter().flat_map(|value| value.labels().unwrap_or_default())),
            _ => match labels.iter().find(|value| value.as_text().is_none()) {
                Some(value) => return Err(wrong(format!("expected one class, found {}", shown(value)))),
                None => count(labels.iter().filter_map(|value| value.as_text().map(|text| text.trim().to_owned()))),
            },
        };
        if kind != ProblemKind::Number && counts.len() < if kind == ProblemKind::Labels { 1 } else { 2 } {
            let all = counts.keys().next().cloned().unwrap_or_default();
            return Err(wrong(format!("expected two classes or more, found only `{all}`")));
        }
        let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
        if counts.iter().all(|(class, _)| class.parse::<f64>().is_ok()) {
            let value = |class: &str| class.parse::<f64>().unwrap_or(0.0);
            counts.sort_by(|(a, _), (b, _)| value(a).total_cmp(&value(b)));
        }
        let (classes, counts) = counts.into_iter().unzip();
        Ok(Self { kind, classes, counts, reason })
    }
}

fn count(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}

fn guess(labels: &[&Value]) -> Result<(ProblemKind, String), String> {
    if labels.iter().any(|value| matches!(value, Value::List(_))) {
        return Ok((ProblemKind::Labels, "it holds lists".into()));
    }
    if let Some(value) = labels.iter().find(|value| value.as_text().is_none()) {
        return Err(format!("expected words or numbers, found {}", shown(value)));
    }
    let texts: Vec<String> = labels.iter().filter_map(|value| value.as_text().map(|text| text.into_owned())).collect();
    let several = texts.iter().filter(|text| text.contains(';')).count();
    if several * 10 >= texts.len() {
        return Ok((ProblemKind::Labels, "names stand between semicolons".into()));
    }
    let distinct = count(texts.into_iter()).len();
    let numbers: Vec<f64> = labels.iter().filter_map(|value| number(value)).collect();
    let whole = numbers.iter().all(|number| number.fract() == 0.0);
    if numbers.len() == labels.len()
        && distinct > 2
        && !(whole && distinct <= MOST_NUMBERED && distinct * 5 <= labels.len())
    {
        return Ok((ProblemKind::Number, format!("{distinct} different numbers")));
    }
    if distinct * 2 > labels.len() && distinct > 2 {
        return Err(format!("{distinct} different texts in {} rows: classes must repeat", labels.len()));
    }
    Ok((ProblemKind::Classes, format!("{distinct} different values")))
}

fn shown(value: &Value) -> String {
    value.as_text().map_or(value.kind().to_owned(), |text| format!("`{text}`"))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let classes = || {
            let some = self.classes.iter().zip(&self.counts).take(8);
            let some: Vec<String> = some.map(|(class, count)| format!("{class} ({count})")).collect();
            let more = if self.classes.len() > 8 { ", …" } else { "" };
            format!("{}{more}", some.join(", "))
        };
        match self.kind {
            ProblemKind::Classes if self.classes.len() == 2 => write!(f, "binary: {}", classes()),
            ProblemKind::Classes => write!(f, "{} classes: {}", self.classes.len(), classes()),
            ProblemKind::Ordinal => write!(f, "{} grades: {}", self.classes.len(), classes()),
            ProblemKind::Labels => write!(f, "{} labels, any number at once: {}", self.classes.len(), classes()),
            ProblemKind::Number => f.write_str("a number"),
        }?;
        write!(f, "; {}", self.reason)
    }
}
