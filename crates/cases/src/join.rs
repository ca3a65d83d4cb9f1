//! Rows that are one case: the pictures of an examination, the notes of a stay.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use sensorium_contract::{Sample, SampleFault, Value};
use sensorium_samples::{Dataset, Origin, Source, is_picture_path, is_sound_path};

use crate::{
    CasesError, LabelRule,
    cell::{days, is_missing},
    look::columns,
};

/// A table of cases.
pub struct Joined {
    /// One sample a case, in the order of their first rows; its key is what its rows share.
    pub data: Dataset,
    /// What the user should know.
    pub warning: Option<String>,
}

/// Makes one case of all rows that share the value of a column; a row without a value is a case by itself.
///
/// Pictures and sounds of its rows stand in a list. Of a column of numbers a case has the mean, of dates the first, and
/// of texts each different one, between semicolons. Rows of one case whose labels differ leave it without a label.
///
/// # Errors
/// If there is no such column.
pub fn join(data: Dataset, column: &str, label: &LabelRule) -> Result<Joined, CasesError> {
    let names = columns(&data);
    if !names.iter().any(|name| name == column) {
        return Err(CasesError::no_column("--case", column, &names));
    }
    let mut cases: Vec<JoinedCase> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for row in 0..data.len() {
        // A damaged row is found when it is read.
        let fields = data.glance(row).unwrap_or_default().fields;
        let name = fields.get(column).filter(|value| !is_nothing(value)).and_then(Value::as_text);
        let name = name.map(|name| name.trim().to_owned());
        let place = match &name {
            Some(name) => *places.entry(name.clone()).or_insert(cases.len()),
            None => cases.len(),
        };
        if place == cases.len() {
            cases.push(JoinedCase { name, rows: Vec::new(), truth: None, contradicted: false });
        }
        cases[place].add(row, fields.get(&label.column).and_then(|value| label.apply(value)));
    }
    let contradicted: Vec<&str> =
        cases.iter().filter(|case| case.contradicted).filter_map(|case| case.name.as_deref()).collect();
    let warning = contradicted.first().map(|first| {
        let (some, all, label) = (contradicted.len(), cases.len(), label.name());
        format!("{some} of {all} cases have rows with different `{label}`, and count as without it; one is `{first}`")
    });
    let source = JoinedSource { data, cases, label: label.column.clone() };
    Ok(Joined { data: Dataset::new(vec![(Arc::new(source), None)])?, warning })
}

/// Rows of one case.
struct JoinedCase {
    /// What they share.
    name: Option<String>,
    rows: Vec<usize>,
    /// The label that the first of them with one has.
    truth: Option<Value>,
    /// Whether another has another one.
    contradicted: bool,
}

impl JoinedCase {
    fn add(&mut self, row: usize, truth: Option<Value>) {
        self.rows.push(row);
        match (&self.truth, truth) {
            (Some(before), Some(now)) => self.contradicted |= *before != now,
            (None, now) => self.truth = now,
            (Some(_), None) => {}
        }
    }
}

/// A table's cases, read row by row.
struct JoinedSource {
    data: Dataset,
    cases: Vec<JoinedCase>,
    /// The column of the label.
    label: String,
}

impl JoinedSource {
    fn joined(
        &self,
        index: usize,
        read: impl Fn(&Dataset, usize) -> Result<Sample, SampleFault>,
    ) -> Result<Sample, SampleFault> {
        let case = &self.cases[index];
        let rows = case.rows.iter().map(|&row| read(&self.data, row)).collect::<Result<Vec<_>, _>>()?;
        let key = case.name.clone().unwrap_or_else(|| rows[0].key.clone());
        let names: BTreeSet<String> = rows.iter().flat_map(|row| row.fields.keys().cloned()).collect();
        let field = |name: String| {
            let mut values = rows.iter().filter_map(|row| row.fields.get(&name)).filter(|value| !is_nothing(value));
            let value = match name == self.label {
                true => values.next().cloned().filter(|_| !case.contradicted),
                false => one(&values.collect::<Vec<_>>()),
            };
            Some((name, value?))
        };
        Ok(Sample { key, fields: names.into_iter().filter_map(field).collect() })
    }
}

fn is_nothing(value: &Value) -> bool {
    value.as_text().is_some_and(|text| is_missing(&text))
}

/// What a case has where its rows have these values.
fn one(values: &[&Value]) -> Option<Value> {
    let mut different: Vec<&Value> = Vec::new();
    values.iter().flat_map(|value| parts(value)).for_each(|value| {
        if !different.contains(&value) {
            different.push(value);
        }
    });
    let first = *values.first()?;
    let numbers = || values.iter().map(|value| if let Value::Number(n) = value { Some(*n) } else { None });
    let texts = || different.iter().map(|value| value.as_text()).collect::<Option<Vec<_>>>();
    Some(match (numbers().collect::<Option<Vec<f64>>>(), texts()) {
        _ if values.iter().all(|value| *value == first) => first.clone(),
        (Some(numbers), _) => Value::Number(numbers.iter().sum::<f64>() / numbers.len() as f64),
        (None, Some(texts)) if texts.iter().all(|text| days(text).is_some()) => first.clone(),
        (None, Some(texts)) if !texts.iter().all(|text| is_picture_path(text) || is_sound_path(text)) => {
            Value::Text(texts.join("; "))
        }
        _ => Value::List(different.into_iter().cloned().collect()),
    })
}

/// The values of a list; any other is itself one.
fn parts(value: &Value) -> &[Value] {
    match value {
        Value::List(values) => values,
        single => std::slice::from_ref(single),
    }
}

impl Source for JoinedSource {
    fn len(&self) -> usize {
        self.cases.len()
    }

    fn read(&self, index: usize) -> Result<Sample, SampleFault> {
        self.joined(index, Dataset::read)
    }

    fn glance(&self, index: usize) -> Result<Sample, SampleFault> {
        self.joined(index, Dataset::glance)
    }

    fn key(&self, index: usize) -> Result<String, SampleFault> {
        let case = &self.cases[index];
        case.name.clone().map_or_else(|| self.data.key(case.rows[0]), Ok)
    }

    fn place(&self, index: usize) -> String {
        self.data.place(self.cases[index].rows[0])
    }

    fn origin(&self) -> Origin {
        Origin { path: "cases".to_owned(), format: "table".to_owned(), files: 1 }
    }
}
