//! What a model forgets while it is fine-tuned, and how to give some of it back.

use std::{path::Path, sync::Arc};

use sensorium_adapt::{AdaptError, Adapted, GuardConfig, Predictor, Proposal, headline};
use sensorium_contract::Name;
use sensorium_metrics::Metric;
use sensorium_model::Model;
use sensorium_report::{Cell, Chart, Section, Series, Table};
use sensorium_retrieve::{classify::zero_shot, retrieval};
use sensorium_samples::{Dataset, LoaderConfig, Prepared};
use serde::Serialize;

use crate::{AnyModel, Error, LabelledTable, Prompts, Samples, embed, sharpness, text_of};

/// Samples that are looked for at most, evenly from all over.
const SAMPLES: usize = 2000;
/// Shares of the way from the start to the fine-tuned model at which both are measured.
const SHARES: u32 = 10;

/// What measures a model that is started from.
pub(crate) struct Guard {
    samples: Dataset,
    /// Prompts with their file, and the field of the classes.
    classes: Option<(Prompts, std::path::PathBuf, String)>,
}

/// How a model does what the one that it was started from did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Kept {
    /// Mean recall@1 over all directions.
    pub recall_at_1: f64,
    /// Accuracy of zero-shot classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zero_shot: Option<f64>,
}

/// Both at one share of the way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TradePoint {
    /// 0 is the start (with the new parts as they were learned), 1 the fine-tuned model.
    pub share: f64,
    /// How well validation cases are told.
    pub task: f64,
    /// What is left of what the start could do.
    pub kept: Kept,
}

/// What fine-tuning gains and what it costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trade {
    /// What `task` is.
    pub metric: Metric,
    /// By share.
    pub points: Vec<TradePoint>,
    /// The share that was chosen.
    pub chosen: f64,
    /// Samples that were looked for.
    pub samples: usize,
}

impl Guard {
    /// Opens the samples, and sees to it that the start can be judged on them.
    pub fn open(config: &GuardConfig, start: &Model) -> Result<Self, Error> {
        let all = Samples { data: config.data.clone(), ..Samples::default() }.open()?;
        let count = all.len().min(SAMPLES);
        let chosen: Vec<usize> = (0..count).map(|at| at * all.len() / count).collect();
        let classes = match (&config.prompts, &config.label) {
            (None, None) => None,
            (prompts, Some(label)) => {
                let path = prompts.clone().unwrap_or_default();
                let prompts = prompts.as_deref().map(Prompts::read).transpose()?.unwrap_or_default();
                Some((prompts, path, label.clone()))
            }
            (Some(_), None) => {
                let problem = "--guard-prompts: expected --guard-label FIELD beside it, found none";
                return Err(Error::Usage(problem.to_owned()));
            }
        };
        let guard = Self { samples: all.choose(&chosen)?, classes };
        guard.measure(start)?;
        Ok(guard)
    }

    /// How well a model finds the samples, and tells their classes from words alone.
    fn measure(&self, model: &Model) -> Result<Kept, Error> {
        let preparation = Arc::new(model.preparation().clone());
        let data = Prepared::new(self.samples.clone(), preparation, LoaderConfig::default())?;
        let report = retrieval(&embed(model, &data, &mut |_, _| ())?);
        let Some(recall_at_1) = report.mean_recall_at_1() else {
            let names: Vec<&str> = model.preparation().modalities.keys().map(|name| &**name).collect();
            let problem = format!("--guard: no sample has two of the modalities {}", names.join(", "));
            return Err(Error::Usage(problem));
        };
        let zero_shot = match &self.classes {
            Some((prompts, path, label)) => {
                Some(told_by_words(model, &data, (prompts, path.as_path(), label.as_str()))?)
            }
            None => None,
        };
        Ok(Kept { recall_at_1, zero_shot })
    }

    /// Measures the fine-tuned model on its validation cases, and what is left of the start, all along the way.
    /// `progress` is told how many points of how many are done.
    pub fn trade(
        &self,
        proposal: &Proposal,
        adapted: &Adapted,
        validation: &[usize],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Option<Trade>, Error> {
        let Some((start, config)) = proposal.start() else { return Ok(None) };
        let cases: Dataset = proposal.data.choose(validation)?;
        let mut points = Vec::new();
        let mut metric = None;
        for step in 0..=SHARES {
            let share = f64::from(step) / f64::from(SHARES);
            let model = start.moved_back(config, adapted.tuned.clone(), share as f32)?;
            let recipe = &proposal.recipe;
            let mut predictor = Predictor::of(vec![model], recipe.objective.clone(), recipe.data.reading.clone());
            let predicted = predictor.predict(&cases, &[], &mut |_, _| {})?;
            let Some((found, task)) = headline(predictor.config(), &predicted)? else {
                let problem = "the validation cases have no label that is known".to_owned();
                return Err(AdaptError::NothingToJudge(problem).into());
            };
            metric = Some(found);
            let kept = self.measure(&start.moved_on(config, &adapted.tuned, share as f32)?)?;
            points.push(TradePoint { share, task, kept });
            progress(points.len(), SHARES as usize + 1);
        }
        let chosen = proposal.recipe.request.blend.unwrap_or(1.0);
        Ok(metric.map(|metric| Trade { metric, points, chosen, samples: self.samples.len() }))
    }
}

/// Accuracy of telling a field's classes by their names, from all modalities but the text.
fn told_by_words(model: &Model, data: &Prepared, classes: (&Prompts, &Path, &str)) -> Result<f64, Error> {
    let (prompts, path, label) = classes;
    let labelled = LabelledTable::embed(model, data, label, &mut |_, _| ())?;
    let model = AnyModel::Own(model.clone());
    let (text, _) = text_of(&model)?;
    let names = prompts.labels(labelled.classes(), path)?;
    let others: Vec<Name> = labelled.table.modalities().filter(|name| **name != text).cloned().collect();
    let column = labelled.column(&others, &names)?;
    let vectors = prompts.vectors(&model, &names)?;
    let found = zero_shot(column.column.vectors.view(), vectors.view(), sharpness(&model));
    let most =
        |row: ndarray::ArrayView1<f64>| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(at, _)| at);
    let right =
        found.rows().into_iter().zip(&column.classes).filter(|(row, class)| most(*row) == Some(**class)).count();
    Ok(right as f64 / column.classes.len().max(1) as f64)
}

impl Trade {
    /// The trade as a table and two drawings.
    pub(crate) fn sections(&self) -> Vec<Section> {
        let number = |value: f64| Cell::Number { value, decimals: 3 };
        let zero_shot = self.points.iter().any(|point| point.kept.zero_shot.is_some());
        let row = |point: &TradePoint| {
            let mut row = vec![
                Cell::Number { value: point.share, decimals: 1 },
                number(point.task),
                number(point.kept.recall_at_1),
            ];
            row.extend(point.kept.zero_shot.map(number));
            row
        };
        let task = self.metric.to_string();
        let mut columns = vec!["share".to_owned(), task.clone(), "mean recall@1".to_owned()];
        columns.extend(zero_shot.then(|| "zero-shot accuracy".to_owned()));
        let line = |name: &str, y: &dyn Fn(&TradePoint) -> Option<f64>| {
            Series::new(name, self.points.iter().filter_map(|point| Some((point.share, y(point)?))).collect())
        };
        let mut series =
            vec![line(&task, &|point| Some(point.task)), line("mean recall@1", &|point| Some(point.kept.recall_at_1))];
        series.extend(zero_shot.then(|| line("zero-shot accuracy", &|point| point.kept.zero_shot)));
        let along = Chart {
            title: "Along the way".to_owned(),
            note: "0: the start; 1: the fine-tuned model.".to_owned(),
            x_label: "share".to_owned(),
            series,
            plain: true,
            ..Chart::default()
        };
        let both = self.points.iter().map(|point| (point.kept.recall_at_1, point.task)).collect();
        let against = Chart {
            title: "One against the other".to_owned(),
            note: "Each point is a share.".to_owned(),
            x_label: "mean recall@1".to_owned(),
            y_label: task,
            series: vec![Series { scattered: true, ..Series::new("shares", both) }],
            plain: true,
            ..Chart::default()
        };
        let note = format!(
            "The weights that were taken over lie between the start and the fine-tuned model (Wortsman et al. 2022); \
             what is new stays as it was learned. The task is measured on the validation cases, recall on {} samples \
             of the guard. `--blend SHARE` with the same command writes the model of another share; this one has {}.",
            self.samples, self.chosen
        );
        vec![
            Section::ChartGrid {
                title: "What is gained and what is forgotten".to_owned(),
                note,
                charts: vec![along, against],
            },
            Section::Table(Table {
                title: String::new(),
                note: String::new(),
                columns,
                rows: self.points.iter().map(row).collect(),
            }),
        ]
    }
}

/// For terminals.
impl std::fmt::Display for Trade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:>5}  {:>10}  {:>13}  zero-shot", "share", self.metric, "mean recall@1")?;
        for TradePoint { share, task, kept } in &self.points {
            let zero_shot = kept.zero_shot.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
            let mark = if (share - self.chosen).abs() < 1e-9 { "  ← this model" } else { "" };
            writeln!(f, "{share:>5.1}  {task:>10.3}  {:>13.3}  {zero_shot:>9}{mark}", kept.recall_at_1)?;
        }
        Ok(())
    }
}
