//! The sections of a report about a table and what was told of its cases.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use sensorium_adapt::{AdaptError, Importance, Judgement, Mistake, Predictor, judge_cases};
use sensorium_cases::{Cases, CasesError, Column};
use sensorium_contract::Name;
use sensorium_metrics::{Metric, Report, presence};
use sensorium_report::{
    Answer, Bar, Bars, Cell, Media, Section, Table, Wall, WallQuery, metric_sections, training_sections,
};
use sensorium_samples::Dataset;

use crate::{Error, Reading, readings, to_media};

/// Mistakes that are shown.
const SHOWN: usize = 12;

/// The columns of a table, what each is read as, and why.
pub fn column_section(cases: &Cases) -> Section {
    let row = |column: &Column| {
        let Column { name, kind, reason, missing, example, leak, .. } = column;
        let reason = leak.as_ref().map_or(reason.clone(), |leak| format!("{reason}; may give the label away: {leak}"));
        vec![
            Cell::Text(name.clone()),
            Cell::Text(kind.to_string()),
            Cell::Text(reason),
            Cell::Bar { value: *missing, decimals: 2, full: 1.0 },
            Cell::Text(example.chars().take(60).collect()),
        ]
    };
    Section::Table(Table {
        title: "Columns".to_owned(),
        note: "What each column is read as, and why.".to_owned(),
        columns: ["column", "read as", "because", "missing", "example"].map(str::to_owned).to_vec(),
        rows: cases.columns.iter().map(row).collect(),
    })
}

/// The cases that were told most wrongly, with all that is known of them; nothing if there are none.
pub fn mistakes_section(readings: &BTreeMap<Name, Reading>, table: &Dataset, mistakes: &[Mistake]) -> Option<Section> {
    let query = |mistake: &Mistake| {
        let sample = table.read(mistake.index).or_else(|_| table.glance(mistake.index)).ok()?;
        let query = readings.keys().flat_map(|name| to_media(readings, name, &sample)).collect();
        let said = Answer { media: vec![Media::Text(mistake.said.clone())], score: mistake.by as f32, correct: false };
        Some(WallQuery { query, answers: vec![said], wanted: vec![Media::Text(mistake.truth.clone())] })
    };
    let queries: Vec<WallQuery> = mistakes.iter().take(SHOWN).filter_map(query).collect();
    (!queries.is_empty()).then(|| {
        Section::Wall(Wall {
            title: "Most confident mistakes".to_owned(),
            note: "What the model says, how sure it is (of numbers: how far off), and what is true.".to_owned(),
            queries,
        })
    })
}

/// How much worse cases are told with a modality or a column exchanged; nothing if none was.
pub(crate) fn importance_section(importance: &[Importance]) -> Option<Section> {
    let first = importance.first()?;
    let drawing = |title: &str, of: &dyn Fn(&Importance) -> Option<String>| {
        let bar = |found: &Importance| {
            let (value, interval) = (Some(found.loss), Some(found.interval));
            Some(Bar { name: of(found)?, detail: String::new(), value, interval })
        };
        let mut bars: Vec<Bar> = importance.iter().filter_map(bar).collect();
        bars.sort_by(|a, b| b.value.unwrap_or(0.0).total_cmp(&a.value.unwrap_or(0.0)));
        (!bars.is_empty()).then(|| Bars { title: title.to_owned(), note: String::new(), bars, full: None })
    };
    let modalities = drawing("Modalities", &|found| found.column.is_none().then(|| found.modality.to_string()));
    let columns = drawing("Columns", &|found| found.column.clone());
    Some(Section::Bars {
        title: "What the model relies on".to_owned(),
        note: format!(
            "How much worse {} is when a modality or a column is exchanged between {} cases at random, on the mean of \
             {} times, with its 95 % interval. What two columns tell alike is not missed when one of them is exchanged.",
            first.metric, first.cases, first.permutations
        ),
        bars: modalities.into_iter().chain(columns).collect(),
    })
}

/// Losses over the steps of the (first) training.
pub(crate) fn fold_sections(out: &Path, models: usize) -> Result<Vec<Section>, Error> {
    let folder = if models > 1 { out.join("fold-1") } else { out.to_owned() };
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|source| Error::Io { path, source })
    };
    Ok(training_sections(&read("metrics.jsonl")?, &read("timing.jsonl")?))
}

/// How well a table's cases are told.
pub struct JudgedTable {
    /// With all modalities that the rows have.
    pub judgement: Judgement,
    /// With some of the modalities only: which, and how well.
    pub subsets: Vec<(Vec<Name>, Report)>,
    /// What could not be read.
    pub remarks: Vec<String>,
}

/// Modalities up to which every subset of them is measured.
const ALL_SUBSETS: usize = 4;

impl JudgedTable {
    /// Tells the cases of a table and compares with their labels: over all rows, by the modalities
    /// present, by the values of the columns `by`, and with only some of the modalities read.
    ///
    /// # Errors
    /// If a column of `by` is not there, or no row can be judged.
    pub fn new(
        predictor: &mut Predictor,
        table: &Dataset,
        by: &[String],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, Error> {
        let first = table.glance(0).unwrap_or_default();
        let any =
            |name: &String| (0..table.len()).any(|row| table.glance(row).is_ok_and(|s| s.fields.contains_key(name)));
        if let Some(name) = by.iter().find(|name| !first.fields.contains_key(*name) && !any(name)) {
            let known = first.fields.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(AdaptError::from(CasesError::NoColumn { option: "--by", name: name.clone(), known }).into());
        }
        let predicted = predictor.predict(table, &[], progress)?;
        let judgement = judge_cases(predictor.config(), &predicted, table, by)?;
        let names: Vec<Name> = predictor.models()[0].preparation().modalities.keys().cloned().collect();
        let present = |name: &Name| predicted.iter().any(|row| row.present.contains(name));
        let names: Vec<Name> = names.into_iter().filter(present).collect();
        let mut subsets = Vec::new();
        for subset in proper_subsets(&names) {
            let hidden: Vec<Name> = names.iter().filter(|name| !subset.contains(name)).cloned().collect();
            let said = predictor.predict(table, &hidden, progress)?;
            subsets.push((subset, judge_cases(predictor.config(), &said, table, &[])?.report));
        }
        Ok(Self { judgement, subsets, remarks: predictor.remarks() })
    }

    /// The page's sections: metrics, subsets, mistakes.
    pub fn sections(&self, title: &str, predictor: &Predictor, table: &Dataset) -> Vec<Section> {
        let mut sections = metric_sections(title, &self.judgement.report);
        sections.extend(self.subset_section());
        let readings = readings(&predictor.models()[0].architecture().modalities);
        sections.extend(mistakes_section(&readings, table, &self.judgement.mistakes));
        sections
    }

    /// What each subset of the modalities tells; nothing of a single one.
    fn subset_section(&self) -> Option<Section> {
        if self.subsets.is_empty() {
            return None;
        }
        let metrics: Vec<Metric> = self.judgement.report.measures.iter().map(|measure| measure.metric).collect();
        let row = |(name, report): (String, &Report)| {
            let cell = |metric: &Metric| match report.get(*metric) {
                Some(value) => Cell::Number { value, decimals: 3 },
                None => Cell::Empty,
            };
            std::iter::once(Cell::Text(name)).chain(metrics.iter().map(cell)).collect()
        };
        let some = self.subsets.iter().map(|(names, report)| (presence(names.iter().map(|name| &**name)), report));
        let columns = std::iter::once("read".to_owned()).chain(metrics.iter().map(Metric::to_string)).collect();
        Some(Section::Table(Table {
            title: "What each modality tells".to_owned(),
            note: "The same cases with the other modalities taken for missing.".to_owned(),
            columns,
            rows: some.chain([("all".to_owned(), &self.judgement.report)]).map(row).collect(),
        }))
    }
}

/// For terminals: the judgement, then what each subset tells.
impl fmt::Display for JudgedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.judgement.report)?;
        if self.judgement.skipped > 0 {
            writeln!(f, "\n{} rows without a known label were not judged", self.judgement.skipped)?;
        }
        if !self.subsets.is_empty() {
            writeln!(f, "\nwith only some modalities read:")?;
        }
        for (names, report) in &self.subsets {
            let name = presence(names.iter().map(|name| &**name));
            let shown = report.measures.iter().filter_map(|measure| Some((measure.metric, measure.value?))).take(4);
            let shown: Vec<String> = shown.map(|(metric, value)| format!("{metric} {value:.3}")).collect();
            writeln!(f, "{name:24} {}", shown.join("  "))?;
        }
        Ok(())
    }
}

/// Every subset that is neither empty nor whole; of many modalities each alone.
fn proper_subsets(names: &[Name]) -> Vec<Vec<Name>> {
    match names.len() {
        0 | 1 => Vec::new(),
        ..=ALL_SUBSETS => (1..(1_usize << names.len()) - 1)
            .map(|bits| (0..names.len()).filter(|at| bits >> at & 1 == 1).map(|at| names[at].clone()).collect())
            .collect(),
        _ => names.iter().map(|name| vec![name.clone()]).collect(),
    }
}
