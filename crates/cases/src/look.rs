use std::collections::{BTreeMap, BTreeSet};

use sensorium_contract::{Sample, Value};
use sensorium_samples::Dataset;

use crate::{CasesError, Column, Kind, LabelRule, Problem, ProblemKind, Roles, infer::infer, leak};

/// Cells that kinds are inferred from at most; rows are taken evenly from all over the table.
const CELLS: usize = 4_000_000;
/// Rows that kinds are inferred from at most.
const ROWS: usize = 20_000;
/// Share of rows that may be damaged.
const DAMAGED: f64 = 0.01;

/// A table as it is understood.
#[derive(Clone, Debug)]
pub struct Cases {
    /// In the order of their names.
    pub columns: Vec<Column>,
    /// The label.
    pub label: LabelRule,
    /// What the label is.
    pub problem: Problem,
    /// Every row that can be read.
    pub cases: Vec<Case>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// What is known of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Its number in the data set.
    pub index: usize,
    /// Its label, if it is known.
    pub label: Option<Value>,
    /// Its group.
    pub group: Option<String>,
    /// What the split column says.
    pub split: Option<String>,
}

impl Cases {
    /// Reads a table once.
    ///
    /// # Errors
    /// A column that is not there, a label that cannot be learned, too many damaged rows.
    pub fn look(data: &Dataset, label: &str, roles: &Roles) -> Result<Self, CasesError> {
        let columns = columns(data);
        let label = LabelRule::read(label, &columns)?;
        let named = roles.group.iter().map(|name| ("--group", name));
        let named = named.chain(roles.split.iter().map(|name| ("--split", name)));
        for (option, name) in named.chain(roles.kinds.keys().map(|name| ("--columns", name))) {
            if !columns.contains(name) {
                return Err(CasesError::no_column(option, name, &columns));
            }
        }
        let table = Table::read(data, &columns, &label, roles)?;
        let labels: Vec<&Value> = table.cases.iter().filter_map(|case| case.label.as_ref()).collect();
        let problem = Problem::infer(&label, &labels, roles.problem)?;
        let columns = table.columns(&label, &problem, roles);
        let warnings = warnings(&table, &columns, &problem);
        Ok(Self { columns, label, problem, cases: table.cases, warnings })
    }

    /// The columns of these kinds.
    pub fn of(&self, is: impl Fn(Kind) -> bool) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(move |column| is(column.kind))
    }
}

/// The names of all fields; a table in rows of unequal fields (JSON Lines) is looked at in full.
pub(crate) fn columns(data: &Dataset) -> Vec<String> {
    let step = (data.len() / ROWS).max(1);
    let mut names: BTreeSet<String> = BTreeSet::new();
    for index in (0..data.len()).step_by(step) {
        names.extend(data.glance(index).map(|sample| sample.fields.into_keys()).into_iter().flatten());
    }
    names.into_iter().collect()
}

/// What was read: all labels, and some rows in full.
struct Table {
    cases: Vec<Case>,
    /// By column, row by row of those that were kept.
    cells: BTreeMap<String, Vec<Option<Value>>>,
    labels: Vec<Option<Value>>,
    damaged: usize,
}

impl Table {
    fn read(data: &Dataset, columns: &[String], label: &LabelRule, roles: &Roles) -> Result<Self, CasesError> {
        let kept = ROWS.min(CELLS / columns.len().max(1)).max(100);
        let step = (data.len() / kept).max(1);
        let mut table = Self { cases: Vec::new(), cells: BTreeMap::new(), labels: Vec::new(), damaged: 0 };
        columns.iter().for_each(|column| drop(table.cells.insert(column.clone(), Vec::new())));
        let mut first = None;
        for index in 0..data.len() {
            match data.glance(index) {
                Ok(sample) => table.add(index, sample, label, roles, index.is_multiple_of(step)),
                Err(fault) => {
                    table.damaged += 1;
                    first.get_or_insert(fault.to_string());
                }
            }
        }
        match first {
            Some(first) if table.damaged as f64 > DAMAGED * data.len() as f64 => {
                Err(CasesError::Damaged { damaged: table.damaged, rows: data.len(), first })
            }
            _ => Ok(table),
        }
    }

    fn add(&mut self, index: usize, mut sample: Sample, label: &LabelRule, roles: &Roles, keep: bool) {
        let text = |name: &Option<String>| {
            let value = sample.fields.get(name.as_ref()?)?;
            Some(value.as_text()?.into_owned())
        };
        let truth = sample.fields.get(&label.column).and_then(|value| label.apply(value));
        let case = Case { index, group: text(&roles.group), split: text(&roles.split), label: truth };
        if keep {
            self.labels.push(case.label.clone());
            for (name, cells) in &mut self.cells {
                cells.push(sample.fields.remove(name).map(head));
            }
        }
        self.cases.push(case);
    }

    fn columns(&self, label: &LabelRule, problem: &Problem, roles: &Roles) -> Vec<Column> {
        let column = |(name, cells): (&String, &Vec<Option<Value>>)| {
            let mut column = infer(name, cells);
            let role = [
                (*name == label.column, Kind::Label, "what is told"),
                (roles.group.as_ref() == Some(name), Kind::Group, "cases of one group stay together"),
                (roles.split.as_ref() == Some(name), Kind::Split, "says on which side a case is"),
                (roles.case.as_ref() == Some(name), Kind::Identifier, "rows that share it are one case"),
            ];
            if let Some((_, kind, reason)) = role.into_iter().find(|(is, ..)| *is) {
                return Column { kind, reason: reason.into(), ..column };
            }
            if let Some(&kind) = roles.kinds.get(name) {
                column = Column { kind, reason: "as asked".into(), ..column };
            }
            if column.kind.is_read() {
                let is_number = problem.kind == ProblemKind::Number;
                let found = leak::leak(&self.labels, cells, is_number);
                column.leak = found.or_else(|| leak::resembles(&label.column, name));
            }
            column
        };
        self.cells.iter().map(column).collect()
    }
}

/// Of bytes the first ones, which say what they are.
fn head(value: Value) -> Value {
    match value {
        Value::Bytes(bytes) => Value::Bytes(bytes[..bytes.len().min(16)].into()),
        Value::List(values) => Value::List(values.into_iter().map(head).collect()),
        other => other,
    }
}

fn warnings(table: &Table, columns: &[Column], problem: &Problem) -> Vec<String> {
    let leaks = columns.iter().filter_map(|column| {
        let leak = column.leak.as_ref()?;
        let name = &column.name;
        Some(format!("column `{name}` may give the label away: {leak}; `--columns drop={name}` leaves it out"))
    });
    let mut warnings: Vec<String> = leaks.collect();
    if table.damaged > 0 {
        warnings.push(format!("{} rows cannot be read and are left out", table.damaged));
    }
    let unlabelled = table.cases.iter().filter(|case| case.label.is_none()).count();
    if unlabelled > 0 {
        warnings.push(format!("{unlabelled} of {} rows have no label and are left out", table.cases.len()));
    }
    let rare: Vec<&str> =
        problem.classes.iter().zip(&problem.counts).filter(|(_, n)| **n < 5).map(|(class, _)| class.as_str()).collect();
    if !rare.is_empty() {
        warnings.push(format!("fewer than 5 cases each of {}: too few to learn or to judge", rare.join(", ")));
    }
    warnings
}
