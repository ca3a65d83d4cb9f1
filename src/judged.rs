//! The sections of a report about a table and what was told of its cases.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use sensorium_adapt::{AdaptError, Importance, Judgement, Mistake, Predicted, judge_cases};
use sensorium_cases::{Cases, CasesError, Column};
use sensorium_contract::Name;
use sensorium_metrics::{Measure, presence};
use sensorium_report::{
    Answer, Bar, Bars, Cell, Media, Section, Table, Wall, WallQuery, metric_sections, training_sections,
};
use sensorium_samples::Dataset;
use serde::{Serialize, Serializer};

use crate::{Error, Examination, Reading, readings, to_media};

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
#[derive(Serialize)]
pub struct JudgedTable {
    /// With all modalities that the rows have.
    #[serde(flatten, serialize_with = "report_alone")]
    pub judgement: Judgement,
    /// With some of the modalities only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subsets: Vec<Subset>,
    /// What was said with all modalities.
    #[serde(skip)]
    pub predicted: Vec<Predicted>,
    /// What could not be read.
    #[serde(skip)]
    pub remarks: Vec<String>,
}

/// How well the same cases are told where the other modalities are taken for missing.
#[derive(Serialize)]
pub struct Subset {
    /// What is read.
    pub modalities: Vec<Name>,
    /// How well.
    pub measures: Vec<Measure>,
}

fn report_alone<S: Serializer>(judgement: &Judgement, serializer: S) -> Result<S::Ok, S::Error> {
    judgement.report.serialize(serializer)
}

/// Modalities up to which every subset of them is measured.
const ALL_SUBSETS: usize = 4;

impl JudgedTable {
    /// Tells the cases of an examination and compares with their labels: over all rows, by the modalities
    /// present, by the values of the columns `by`, and with only some of the modalities read: `subsets`, or
    /// if none are asked for every one.
    ///
    /// # Errors
    /// If a column of `by` or a modality of `subsets` is not there, or no row can be judged.
    pub fn new(
        examination: &mut Examination,
        by: &[String],
        subsets: &[Vec<Name>],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, Error> {
        known_columns(&examination.table, by)?;
        let subsets = match subsets {
            [] => None,
            asked => Some(known_subsets(examination, asked)?),
        };
        let predicted = examination.tell(&[], progress)?;
        let (config, reading) = (examination.predictor().config().clone(), examination.predictor().reading().clone());
        let table = examination.table.clone();
        let judge = |predicted: &[Predicted], by: &[String]| judge_cases(&config, &reading, predicted, &table, by);
        let judgement = judge(&predicted, by)?;
        let present = |name: &Name| predicted.iter().any(|row| row.present.contains(name));
        let names: Vec<Name> = modalities(examination).into_iter().filter(present).collect();
        let mut told = Vec::new();
        for modalities in subsets.unwrap_or_else(|| proper_subsets(&names)) {
            let hidden: Vec<Name> = names.iter().filter(|name| !modalities.contains(name)).cloned().collect();
            let measures = judge(&examination.tell(&hidden, progress)?, &[])?.report.measures;
            told.push(Subset { modalities, measures });
        }
        Ok(Self { judgement, subsets: told, predicted, remarks: examination.remarks() })
    }

    /// The page's sections: metrics, subsets, mistakes.
    pub fn sections(&self, title: &str, examination: &Examination) -> Vec<Section> {
        let mut sections = metric_sections(title, &self.judgement.report);
        sections.extend(self.subset_section());
        let readings = readings(&examination.predictor().models()[0].architecture().modalities);
        sections.extend(mistakes_section(&readings, &examination.table, &self.judgement.mistakes));
        sections
    }

    /// What each subset of the modalities tells; nothing of a single one.
    fn subset_section(&self) -> Option<Section> {
        if self.subsets.is_empty() {
            return None;
        }
        let row = |(name, measures): (String, &[Measure])| {
            let cells = measures.iter().map(|measure| Cell::Text(measure.to_string().trim().to_owned()));
            std::iter::once(Cell::Text(name)).chain(cells).collect()
        };
        let all = &self.judgement.report.measures;
        let some = self.subsets.iter().map(|subset| (subset.name(), &subset.measures[..]));
        let columns = std::iter::once("read".to_owned()).chain(all.iter().map(|measure| measure.metric.to_string()));
        Some(Section::Table(Table {
            title: "What each modality tells".to_owned(),
            note: "The same cases with the other modalities taken for missing; with 95 % intervals.".to_owned(),
            columns: columns.collect(),
            rows: some.chain([("all".to_owned(), &all[..])]).map(row).collect(),
        }))
    }
}

impl Subset {
    fn name(&self) -> String {
        presence(self.modalities.iter().map(|name| &**name))
    }
}

/// Metrics of a subset that a terminal has room for.
const TOLD: usize = 4;

/// For terminals: the judgement, then what each subset tells.
impl fmt::Display for JudgedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.judgement.report)?;
        if self.judgement.skipped > 0 {
            writeln!(f, "\n{} rows without a known label were not judged", self.judgement.skipped)?;
        }
        let Some(first) = self.subsets.first() else { return Ok(()) };
        let width = self.subsets.iter().map(|subset| subset.name().chars().count()).max().unwrap_or(0).max(9);
        let shown = |subset: &Subset| subset.measures.iter().take(TOLD).copied().collect::<Vec<Measure>>();
        write!(f, "\n{:width$}", "only read")?;
        shown(first).iter().try_for_each(|measure| write!(f, "  {:26}", measure.metric))?;
        for subset in &self.subsets {
            write!(f, "\n{:width$}", subset.name())?;
            shown(subset).iter().try_for_each(|measure| write!(f, "  {:26}", measure.to_string()))?;
        }
        writeln!(f)
    }
}

/// An error unless some row has each of these columns.
fn known_columns(table: &Dataset, by: &[String]) -> Result<(), Error> {
    let first = table.glance(0).unwrap_or_default();
    let any = |name: &String| (0..table.len()).any(|row| table.glance(row).is_ok_and(|s| s.fields.contains_key(name)));
    match by.iter().find(|name| !first.fields.contains_key(*name) && !any(name)) {
        None => Ok(()),
        Some(name) => {
            let known: Vec<String> = first.fields.into_keys().collect();
            Err(AdaptError::from(CasesError::no_column("--by", name, &known)).into())
        }
    }
}

/// What the models read.
fn modalities(examination: &Examination) -> Vec<Name> {
    examination.predictor().models()[0].preparation().modalities.keys().cloned().collect()
}

/// The subsets that were asked for, if the models read all of their modalities.
fn known_subsets(examination: &Examination, asked: &[Vec<Name>]) -> Result<Vec<Vec<Name>>, Error> {
    let known = modalities(examination);
    match asked.iter().flatten().find(|name| !known.contains(name)) {
        None => Ok(asked.to_vec()),
        Some(name) => {
            let known = known.iter().map(|name| &**name).collect::<Vec<_>>().join(", ");
            let problem = format!("expected modalities that the model reads ({known}), found `{name}`");
            Err(AdaptError::from(CasesError::Option { option: "--subset", problem }).into())
        }
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
