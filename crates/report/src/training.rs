//! From the log of a run to the charts that a reader wants first.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::{Chart, Reference, Section, Series};

/// One line of `metrics.jsonl`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    step: Option<f64>,
    epoch: Option<f64>,
    lr: Option<f64>,
    grad_norm: Option<f64>,
    loss: Option<f64>,
    parts: BTreeMap<String, Part>,
    evaluation: BTreeMap<String, Option<f64>>,
}

/// One line of `timing.jsonl`; times are seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Timing {
    step: Option<f64>,
    samples_per_second: Option<f64>,
    wait: Option<f64>,
    gradients: Option<f64>,
    optimizer: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Part {
    value: Option<f64>,
}

/// `(step, value)` by name.
type Curves = BTreeMap<String, Vec<(f64, f64)>>;

/// A log as curves.
#[derive(Debug, Default)]
struct Log {
    /// Parts of the loss, in training.
    parts: Curves,
    /// What evaluations found.
    evaluations: Curves,
    /// `lr`, `grad_norm`, `loss`, `epoch`, and what `timing.jsonl` tells.
    step: Curves,
    unreadable: usize,
}

impl Log {
    fn read(metrics: &str, timing: &str) -> Self {
        let mut log = Self::default();
        for line in metrics.lines().filter(|line| !line.trim().is_empty()) {
            match serde_json::from_str::<Line>(line) {
                Ok(Line { step: Some(step), epoch, lr, grad_norm, loss, parts, evaluation }) => {
                    for (name, part) in parts {
                        add(&mut log.parts, name, step, part.value);
                    }
                    for (name, value) in evaluation {
                        add(&mut log.evaluations, name, step, value);
                    }
                    log.add_scalars(step, [("epoch", epoch), ("lr", lr), ("grad_norm", grad_norm), ("loss", loss)]);
                }
                _ => log.unreadable += 1,
            }
        }
        for line in timing.lines() {
            // The last line may be cut short, and times are no loss.
            let Ok(Timing { step: Some(step), samples_per_second, wait, gradients, optimizer }) =
                serde_json::from_str(line)
            else {
                continue;
            };
            let milliseconds = |time: Option<f64>| time.map(|seconds| seconds * 1e3);
            let times = [("wait", wait), ("gradients", gradients), ("optimizer", optimizer)];
            log.add_scalars(step, times.map(|(name, time)| (name, milliseconds(time))));
            log.add_scalars(step, [("samples_per_second", samples_per_second)]);
        }
        log
    }

    fn add_scalars<const N: usize>(&mut self, step: f64, scalars: [(&str, Option<f64>); N]) {
        for (name, value) in scalars {
            add(&mut self.step, name.to_owned(), step, value);
        }
    }

    /// The curve of an evaluation, over epochs if the log tells them.
    fn by_epoch(&self, name: &str) -> Option<Vec<(f64, f64)>> {
        let curve = self.evaluations.get(name)?;
        let Some(epochs) = self.step.get("epoch") else { return Some(curve.clone()) };
        let epoch =
            |step: f64| epochs.get(epochs.partition_point(|point| point.0 < step)).map_or(step, |point| point.1);
        Some(curve.iter().map(|point| (epoch(point.0), point.1)).collect())
    }

    fn last(&self, name: &str) -> Option<f64> {
        self.evaluations.get(name)?.last().map(|point| point.1)
    }
}

/// A run that was resumed may log a step again: the later line counts.
fn add(curves: &mut Curves, name: String, step: f64, value: Option<f64>) {
    let Some(value) = value else { return };
    let curve = curves.entry(name).or_default();
    curve.truncate(curve.partition_point(|point| point.0 < step));
    curve.push((step, value));
}

/// The sections of a run's page that come from its `metrics.jsonl` and `timing.jsonl` (which may be
/// empty): the losses, recall by direction and the course of the optimisation. Lines that cannot be read (a last one cut short) are skipped
/// and counted on the page.
///
/// Evaluations are known by their names: `loss/NAME` and `loss/NAME/constant` for the loss part
/// `NAME`, `retrieval/FROM→TO/recall@K` and `retrieval/FROM→TO/chance`.
pub fn training_sections(metrics_jsonl: &str, timing_jsonl: &str) -> Vec<Section> {
    let log = Log::read(metrics_jsonl, timing_jsonl);
    let mut sections = vec![losses(&log)];
    sections.extend(recall(&log));
    sections.push(optimisation(&log));
    if log.unreadable > 0 {
        let text = format!("{} lines of the log could not be read and are not shown.", log.unreadable);
        sections.push(Section::Prose { title: "About the log".to_owned(), text });
    }
    sections
}

fn losses(log: &Log) -> Section {
    let names: BTreeSet<&String> = log.parts.keys().collect();
    let chart = |name: &String| {
        let training = Series::new("training", log.parts.get(name).cloned().unwrap_or_default()).smoothed();
        let held_out = log.evaluations.get(&format!("loss/{name}")).cloned();
        let constant = log.last(&format!("loss/{name}/constant"));
        Chart {
            title: name.clone(),
            x_label: "step".to_owned(),
            y_label: "loss".to_owned(),
            series: [training].into_iter().chain(held_out.map(|points| Series::new("held-out", points))).collect(),
            references: constant
                .map(|value| Reference { label: "best constant".to_owned(), value })
                .into_iter()
                .collect(),
            ..Chart::default()
        }
    };
    Section::ChartGrid {
        title: "Losses".to_owned(),
        note: "One chart an objective. The faint line is each step, the strong one its trend; the dotted line is \
               the least loss that a prediction which ignores the input has on held-out data."
            .to_owned(),
        charts: names.into_iter().map(chart).collect(),
    }
}

/// `retrieval/image→text/recall@1` as `("image", "text")`.
fn direction(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("retrieval/")?.strip_suffix("/recall@1")?.split_once('→').filter(|(_, to)| !to.contains('/'))
}

fn recall(log: &Log) -> Option<Section> {
    let pairs: Vec<(&str, &str)> = log.evaluations.keys().filter_map(|name| direction(name)).collect();
    let names: Vec<&str> =
        pairs.iter().flat_map(|(from, to)| [*from, *to]).collect::<BTreeSet<_>>().into_iter().collect();
    let single: Vec<&str> = names.iter().copied().filter(|name| !name.contains('+')).collect();
    let curve = |from: &str, to: &str, k| log.by_epoch(&format!("retrieval/{from}→{to}/recall@{k}"));
    let x_label = if log.step.contains_key("epoch") { "epoch" } else { "step" };
    let chart = |title: String, series: Vec<Series>, chance: Option<f64>| Chart {
        title,
        x_label: x_label.to_owned(),
        y_label: "share of queries".to_owned(),
        series,
        references: chance.map(|value| Reference { label: "chance".to_owned(), value }).into_iter().collect(),
        ..Chart::default()
    };
    let charts: Vec<Chart> = if single.len() > 2 {
        let of_query = |from: &&str| {
            let answers = single.iter().enumerate().filter(|(_, to)| *to != from);
            let line = |(colour, to): (usize, &&str)| {
                Some(Series::new(format!("{from} → {to}"), curve(from, to, 1)?).coloured(colour))
            };
            let chance = single.iter().filter_map(|to| log.last(&format!("retrieval/{from}→{to}/chance")));
            let chance = chance.reduce(f64::max);
            chart(format!("recall@1, {from} as the query"), answers.filter_map(line).collect(), chance)
        };
        single.iter().map(of_query).collect()
    } else {
        let at = |k: usize| {
            let line = |(from, to): &(&str, &str)| Some(Series::new(format!("{from} → {to}"), curve(from, to, k)?));
            let chance = pairs.iter().filter_map(|(from, to)| log.last(&format!("retrieval/{from}→{to}/chance")));
            chart(
                format!("recall@{k}"),
                pairs.iter().filter_map(line).collect(),
                chance.reduce(f64::max).filter(|_| k == 1),
            )
        };
        [1, 5, 10].map(at).into()
    };
    (!pairs.is_empty()).then(|| Section::ChartGrid {
        title: "Retrieval of held-out samples".to_owned(),
        note: "The share of queries whose own partner is among the first answers; ties count against the model."
            .to_owned(),
        charts,
    })
}

fn optimisation(log: &Log) -> Section {
    let chart = |title: &str, y_label: &str, lines: &[(&str, &str)], log_y: bool| {
        let line = |(name, key): &(&str, &str)| {
            let line = Series::new(*name, log.step.get(*key)?.clone());
            Some(if *key == "lr" { line } else { line.smoothed() })
        };
        let series: Vec<Series> = lines.iter().filter_map(line).collect();
        (!series.is_empty()).then(|| Chart {
            title: title.to_owned(),
            x_label: "step".to_owned(),
            y_label: y_label.to_owned(),
            series,
            log_y,
            ..Chart::default()
        })
    };
    let single = |title: &str, y_label: &str, key: &str, log_y| chart(title, y_label, &[(title, key)], log_y);
    let times = [("waiting for data", "wait"), ("forward and backward", "gradients"), ("update", "optimizer")];
    let charts = [
        single("weighted sum of the losses", "loss", "loss", false),
        single("learning rate", "rate", "lr", false),
        single("gradient norm before clipping", "norm", "grad_norm", true),
        single("speed", "samples per second", "samples_per_second", false),
        chart("where a step's time goes", "milliseconds", &times, true),
    ];
    Section::ChartGrid {
        title: "Optimisation".to_owned(),
        note: String::new(),
        charts: charts.into_iter().flatten().collect(),
    }
}
