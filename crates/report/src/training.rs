//! From the log of a run to the charts that a reader wants first.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::{Chart, Reference, Section, Series};

/// One line of `metrics.jsonl`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    step: Option<f64>,
    lr: Option<f64>,
    grad_norm: Option<f64>,
    loss: Option<f64>,
    samples_per_second: Option<f64>,
    parts: BTreeMap<String, Part>,
    evaluation: BTreeMap<String, Option<f64>>,
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
    /// `lr`, `grad_norm`, `loss`, `samples_per_second`.
    step: Curves,
    unreadable: usize,
}

impl Log {
    fn read(jsonl: &str) -> Self {
        let mut log = Self::default();
        for line in jsonl.lines().filter(|line| !line.trim().is_empty()) {
            match serde_json::from_str::<Line>(line) {
                Ok(Line { step: Some(step), lr, grad_norm, loss, samples_per_second, parts, evaluation }) => {
                    for (name, part) in parts {
                        add(&mut log.parts, name, step, part.value);
                    }
                    for (name, value) in evaluation {
                        add(&mut log.evaluations, name, step, value);
                    }
                    let scalars = [
                        ("lr", lr),
                        ("grad_norm", grad_norm),
                        ("loss", loss),
                        ("samples_per_second", samples_per_second),
                    ];
                    for (name, value) in scalars {
                        add(&mut log.step, name.to_owned(), step, value);
                    }
                }
                _ => log.unreadable += 1,
            }
        }
        log
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

/// The sections of a run's page that come from its `metrics.jsonl`: the losses, recall by direction
/// and the course of the optimisation. Lines that cannot be read (a last one cut short) are skipped
/// and counted on the page.
///
/// Evaluations are known by their names: `loss/NAME` and `loss/NAME/constant` for the loss part
/// `NAME`, `retrieval/FROM→TO/recall@K` and `retrieval/FROM→TO/chance`.
pub fn training_sections(metrics_jsonl: &str) -> Vec<Section> {
    let log = Log::read(metrics_jsonl);
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
    let curve = |from: &str, to: &str, k| log.evaluations.get(&format!("retrieval/{from}→{to}/recall@{k}"));
    let chart = |title: String, series: Vec<Series>, chance: Option<f64>| Chart {
        title,
        x_label: "step".to_owned(),
        y_label: "share of queries".to_owned(),
        series,
        references: chance.map(|value| Reference { label: "chance".to_owned(), value }).into_iter().collect(),
        ..Chart::default()
    };
    let charts: Vec<Chart> = if single.len() > 2 {
        let of_query = |from: &&str| {
            let answers = single.iter().enumerate().filter(|(_, to)| *to != from);
            let line = |(colour, to): (usize, &&str)| {
                Some(Series::new(format!("{from} → {to}"), curve(from, to, 1)?.clone()).coloured(colour))
            };
            let chance = single.iter().filter_map(|to| log.last(&format!("retrieval/{from}→{to}/chance")));
            let chance = chance.reduce(f64::max);
            chart(format!("recall@1, {from} as the query"), answers.filter_map(line).collect(), chance)
        };
        single.iter().map(of_query).collect()
    } else {
        let at = |k: usize| {
            let line =
                |(from, to): &(&str, &str)| Some(Series::new(format!("{from} → {to}"), curve(from, to, k)?.clone()));
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
    let chart = |title: &str, y_label: &str, name: &str, log_y: bool| {
        let points = log.step.get(name)?.clone();
        let line = Series::new(title, points);
        let series = vec![if name == "lr" { line } else { line.smoothed() }];
        Some(Chart {
            title: title.to_owned(),
            x_label: "step".to_owned(),
            y_label: y_label.to_owned(),
            series,
            log_y,
            ..Chart::default()
        })
    };
    let charts = [
        chart("weighted sum of the losses", "loss", "loss", false),
        chart("learning rate", "rate", "lr", false),
        chart("gradient norm before clipping", "norm", "grad_norm", true),
        chart("speed", "samples per second", "samples_per_second", false),
    ];
    Section::ChartGrid {
        title: "Optimisation".to_owned(),
        note: String::new(),
        charts: charts.into_iter().flatten().collect(),
    }
}
