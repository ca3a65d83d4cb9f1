//! A whole recipe from a table and few words.

mod media;
mod size;
mod text;

use std::{collections::BTreeMap, path::Path};

use sensorium_backbone::LowRankConfig;
use sensorium_cases::{Cases, CasesError, Column, Joined, Kind, LabelRule, ProblemKind, Roles, Sides, join, sides};
use sensorium_contract::{Name, Seed, Value};
use sensorium_modalities::{
    ModalityConfig,
    table::{ColumnConfig, ColumnKind, Scale, TableConfig},
};
use sensorium_objectives::{SupervisedConfig, Task};
use sensorium_samples::{Dataset, LoaderConfig};
use sensorium_train::TrainConfig;

use crate::{AdaptError, AdaptRecipe, Balance, CaseData, Reading, Request, StartConfig, Training, start::Start};
use size::Size;

/// Share of the training cases that validates.
const VALIDATION: f64 = 0.2;

/// A table, and how it would be learned.
pub struct Proposal {
    /// The table as it is understood.
    pub cases: Cases,
    /// The recipe, with the request's changes.
    pub recipe: AdaptRecipe,
    /// Every case as a model reads it.
    pub data: Dataset,
    /// What the model starts from.
    pub(crate) start: Option<Start>,
}

impl Proposal {
    /// Reads the table and decides everything that the request leaves open; `start` is the model to start from.
    ///
    /// # Errors
    /// Whatever the table or the request lacks.
    pub fn new(request: Request, start: Option<Start>, base: &Path) -> Result<Self, AdaptError> {
        let (mut cases, table) = look(&request, base)?;
        possible(&request, &cases)?;
        let blake3 = table.checksum().blake3;
        let reading = reading(&cases, &request);
        let data = reading.cases(table)?;
        let sides = sides(&cases.cases, &cases.problem, VALIDATION, Seed::new(request.seed))?;
        let mut modalities = modalities(&cases, &data, &sides)?;
        let mut start_config = start.as_ref().map(|start| start.adopt(&mut modalities)).transpose()?;
        lockable(&request.lock, &modalities, start_config.as_ref())?;
        if let (Some(config), Training::Lora) = (&mut start_config, request.adapt) {
            config.low_rank = Some(LowRankConfig::default());
        }
        let size = Size::of(&modalities, sides.train.len());
        let recipe = AdaptRecipe {
            seed: request.seed,
            data: CaseData { validation_share: VALIDATION, reading, blake3 },
            model: match (&start, &start_config) {
                (Some(start), Some(config)) => start.architecture(&modalities, config, &size.trunk()),
                _ => size.model(),
            },
            objective: objective(&cases, &sides, &request, modalities.len()),
            train: TrainConfig { lock: request.lock.clone(), ..size.train(start.is_some(), request.adapt) },
            loader: LoaderConfig { max_damaged: 0.05, ..LoaderConfig::default() },
            start: start_config,
            modalities,
            request,
        };
        let recipe = recipe.with_overrides()?;
        cases.warnings.extend(cut_texts(&recipe, &data, &sides));
        Ok(Self { cases, recipe, data, start })
    }

    /// What the model starts from, and what of it is taken over.
    pub fn start(&self) -> Option<(&Start, &StartConfig)> {
        self.start.as_ref().zip(self.recipe.start.as_ref())
    }

    /// The proposal that a run was begun with; `start` is the model that its recipe starts from.
    ///
    /// # Errors
    /// If the table is not there any more, or is another one.
    pub fn resume(recipe: AdaptRecipe, start: Option<Start>, base: &Path) -> Result<Self, AdaptError> {
        let (cases, table) = look(&recipe.request, base)?;
        if !recipe.data.blake3.is_empty() && recipe.data.blake3 != table.checksum().blake3 {
            return Err(AdaptError::OtherTable { table: recipe.request.data.join(", ") });
        }
        possible(&recipe.request, &cases)?;
        let data = recipe.data.reading.cases(table)?;
        Ok(Self { cases, recipe, data, start })
    }
}

fn look(request: &Request, base: &Path) -> Result<(Cases, Dataset), AdaptError> {
    let rows = Reading::rows(&request.data, base)?;
    let Joined { data: table, warning } = match &request.case {
        Some(column) => join(rows.clone(), column, &LabelRule::of(&rows, &request.label)?)?,
        None => Joined { data: rows, warning: None },
    };
    let mut roles = Roles {
        problem: request.problem,
        case: request.case.clone(),
        group: request.group.clone(),
        split: request.split.clone(),
        ..Roles::default()
    };
    request.columns.iter().try_for_each(|given| roles.read_kinds(given))?;
    let mut cases = Cases::look(&table, &request.label, &roles)?;
    cases.warnings.extend(warning);
    if cases.of(Kind::is_read).next().is_none() {
        return Err(AdaptError::NothingToRead { label: cases.label.name() });
    }
    Ok((cases, table))
}

/// Whether what was asked for goes together.
fn possible(request: &Request, cases: &Cases) -> Result<(), AdaptError> {
    let wrong = |option, problem: String| Err(CasesError::Option { option, problem }.into());
    if request.adapt != Training::Full && request.from.is_none() {
        return wrong("--adapt", "expected a model to start from (--from MODEL), found none".to_owned());
    }
    if request.from.is_none() && (request.guard.is_some() || request.blend.is_some()) {
        let option = if request.guard.is_some() { "--guard" } else { "--blend" };
        return wrong(option, "expected a model to start from (--from MODEL), found none".to_owned());
    }
    if request.guard.is_some() && request.folds.is_some() {
        return wrong("--guard", "expected one model to judge, found several folds".to_owned());
    }
    match (request.repeats, request.folds) {
        (Some(_), None) => return wrong("--repeats", "expected --folds beside it, found none".to_owned()),
        (Some(0), Some(_)) => return wrong("--repeats", "expected at least 1, found 0".to_owned()),
        _ => {}
    }
    if let Some(share) = request.blend.filter(|share| !(0.0..=1.0).contains(share)) {
        return wrong("--blend", format!("expected a share between 0 and 1, found {share}"));
    }
    let classes = matches!(cases.problem.kind, ProblemKind::Classes | ProblemKind::Ordinal);
    if request.balance.is_some() && !classes {
        return wrong(
            "--balance",
            format!("expected classes, of which one is rarer than another; the label is {}", cases.problem),
        );
    }
    Ok(())
}

/// Whether each lock is a modality that knows something already, or may be a pattern of parameters.
fn lockable(
    locks: &[String],
    modalities: &BTreeMap<Name, ModalityConfig>,
    start: Option<&StartConfig>,
) -> Result<(), AdaptError> {
    let wrong = |problem| Err(CasesError::Option { option: "--lock", problem }.into());
    for lock in locks.iter().filter(|lock| !lock.contains(['*', '.'])) {
        let name = Name::new(lock);
        if !modalities.contains_key(&name) {
            let names = modalities.keys().map(|name| &**name).collect::<Vec<_>>().join(", ");
            return wrong(format!("expected a modality ({names}) or a pattern of parameters, found `{lock}`"));
        }
        if !start.is_some_and(|start| start.modalities.contains_key(&name)) {
            return wrong(format!("`{lock}` starts from drawn weights: expected a modality that --from brings along"));
        }
    }
    Ok(())
}

fn reading(cases: &Cases, request: &Request) -> Reading {
    let names = |is: &dyn Fn(Kind) -> bool| cases.of(is).map(|column| column.name.clone()).collect();
    Reading {
        label: cases.label.clone(),
        dates: names(&|kind| kind == Kind::Date),
        single: names(&|kind| kind == Kind::Audio),
        case: request.case.clone(),
        group: request.group.clone(),
    }
}

/// One modality for all cells, and one for each column of pictures, sounds and texts: called by its
/// kind, or by its column where there are several of a kind.
fn modalities(cases: &Cases, data: &Dataset, sides: &Sides) -> Result<BTreeMap<Name, ModalityConfig>, AdaptError> {
    let mut modalities = BTreeMap::new();
    type Is = fn(Kind) -> bool;
    let kinds: [(&str, Is); 3] = [
        ("image", |kind| kind == Kind::Image),
        ("audio", |kind| kind == Kind::Audio),
        ("text", |kind| matches!(kind, Kind::Text(_))),
    ];
    for (kind, is) in kinds {
        let columns: Vec<&Column> = cases.of(is).collect();
        for column in &columns {
            let name = free_name(&modalities, if columns.len() == 1 { kind } else { &column.name });
            let config = match column.kind {
                Kind::Image => ModalityConfig::Image(media::image(&column.name, &examples(data, sides, &column.name))),
                Kind::Audio => ModalityConfig::Audio(media::audio(&column.name, &examples(data, sides, &column.name))),
                Kind::Text(writing) => {
                    let texts = texts(data, sides, &column.name);
                    ModalityConfig::Text(text::text(column, writing, sides.train.len(), &texts))
                }
                _ => continue,
            };
            modalities.insert(name, config);
        }
    }
    let cells: Vec<ColumnConfig> = cases.of(Kind::is_cell).map(cell).collect();
    if !cells.is_empty() {
        modalities.insert(Name::new("table"), ModalityConfig::Table(table(cells, sides.train.len())));
    }
    Ok(modalities)
}

/// What a user should know of texts that are not read to their end, where the tokenizer is the table's own.
fn cut_texts(recipe: &AdaptRecipe, data: &Dataset, sides: &Sides) -> Vec<String> {
    let taken = |name: &Name| recipe.start.as_ref().is_some_and(|start| start.modalities.contains_key(name));
    let cut = |(name, config): (&Name, &ModalityConfig)| match config {
        ModalityConfig::Text(config) if !taken(name) => text::cut(name, config, &texts(data, sides, &config.field)),
        _ => None,
    };
    recipe.modalities.iter().filter_map(cut).collect()
}

/// The name nearest to `wanted` that no other modality has.
fn free_name(taken: &BTreeMap<Name, ModalityConfig>, wanted: &str) -> Name {
    let names = (2..).map(|number| Name::like(&format!("{number} {wanted}")));
    let mut free = std::iter::once(Name::like(wanted)).chain(names).filter(|name| !taken.contains_key(name));
    free.next().unwrap_or_else(|| Name::like(wanted))
}

fn cell(column: &Column) -> ColumnConfig {
    let kind = if column.kind == Kind::Category { ColumnKind::Category } else { ColumnKind::Numeric };
    ColumnConfig { name: column.name.clone(), kind }
}

/// Rows of which fewer are few.
const FEW: usize = 2000;

fn table(columns: Vec<ColumnConfig>, rows: usize) -> TableConfig {
    // Few rows are learned by heart where numbers are told by waves.
    let (cell_dropout, waves) = if rows < FEW { (0.15, 0) } else { (0.05, 12) };
    TableConfig { columns: Some(columns), scale: Scale::Quantile, waves, cell_dropout, ..TableConfig::default() }
}

/// A few pictures or sounds of a column, evenly from all over the training cases.
fn examples(data: &Dataset, sides: &Sides, column: &str) -> Vec<Value> {
    const MOST: usize = 24;
    let step = (sides.train.len() / MOST).max(1);
    let chosen = sides.train.iter().step_by(step);
    chosen.filter_map(|&index| data.read(index).ok()?.fields.remove(column)).take(2 * MOST).collect()
}

/// Some texts of a column, evenly from all over the training cases.
fn texts(data: &Dataset, sides: &Sides, column: &str) -> Vec<Value> {
    const MOST: usize = 500;
    let step = sides.train.len().div_ceil(MOST).max(1);
    let chosen = sides.train.iter().step_by(step);
    chosen.filter_map(|&index| data.glance(index).ok()?.fields.remove(column)).collect()
}

fn objective(cases: &Cases, sides: &Sides, request: &Request, modalities: usize) -> SupervisedConfig {
    let problem = &cases.problem;
    let classes = problem.classes.clone();
    let task = match problem.kind {
        ProblemKind::Classes => Task::Classes { classes },
        ProblemKind::Ordinal => Task::Ordinal { classes },
        ProblemKind::Labels => Task::Labels { classes },
        ProblemKind::Number => standardised(cases, sides),
    };
    let balanced = request.balance == Some(Balance::Weights);
    let all: usize = problem.counts.iter().sum();
    let weight = |&count: &usize| all as f32 / (problem.counts.len() * count.max(1)) as f32;
    SupervisedConfig {
        label: cases.label.name(),
        task,
        modalities: Vec::new(),
        shares: problem.counts.iter().map(|&count| count as f32 / cases_labelled(cases).max(1) as f32).collect(),
        class_weights: if balanced { problem.counts.iter().map(weight).collect() } else { Vec::new() },
        label_smoothing: 0.0,
        modality_dropout: if modalities > 1 { 0.3 } else { 0.0 },
        temperature: 1.0,
        weight: 1.0,
    }
}

fn cases_labelled(cases: &Cases) -> usize {
    cases.cases.iter().filter(|case| case.label.is_some()).count()
}

/// Mean and deviation of a numeric label over the training cases.
fn standardised(cases: &Cases, sides: &Sides) -> Task {
    let train: std::collections::BTreeSet<usize> = sides.train.iter().copied().collect();
    let own = cases.cases.iter().filter(|case| train.contains(&case.index));
    let numbers: Vec<f64> = own.filter_map(|case| case.label.as_ref()?.as_text()?.trim().parse().ok()).collect();
    let n = numbers.len().max(1) as f64;
    let mean = numbers.iter().sum::<f64>() / n;
    let deviation = (numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / n).sqrt();
    Task::Number { mean, deviation: if deviation > 0.0 { deviation } else { 1.0 } }
}
