//! What a [`Report`] of metrics looks like.

use sensorium_metrics::{
    Bin, ClassDetail, Curve, Detail, Group, Grouping, LabelDetail, Measure, Metric, NumberDetail, Report,
};

use crate::{Bar, Bars, Cell, Chart, Matrix, Section, Series, Table};

/// Tables, charts and a confusion matrix of a report of metrics.
pub fn metric_sections(title: &str, report: &Report) -> Vec<Section> {
    let mut sections = vec![Section::Table(measures(title, report))];
    match &report.detail {
        Detail::Classes(detail) => sections.extend(of_classes(detail)),
        Detail::Labels(detail) => sections.extend(of_labels(detail)),
        Detail::Numbers(detail) => sections.push(of_numbers(detail)),
    }
    sections.extend(report.groupings.iter().map(grouped));
    sections
}

fn measures(title: &str, report: &Report) -> Table {
    let row = |measure: &Measure| {
        let end = |place: usize| measure.interval.map_or(Cell::Empty, |ends| number(ends[place]));
        let value = match measure.value {
            Some(value) if is_share(measure.metric) => Cell::Bar { value, decimals: 3, full: 1.0 },
            value => value.map_or(Cell::Empty, number),
        };
        let better = if measure.metric.higher_is_better() { "more" } else { "less" };
        vec![measure.metric.name().into(), value, end(0), end(1), better.into()]
    };
    Table {
        title: title.to_owned(),
        note: format!(
            "Of {} rows. Between the two ends lie 95 % of the values that rows drawn again, with replacement, give.",
            report.rows
        ),
        columns: ["metric", "value", "from", "to", "better is"].map(str::to_owned).to_vec(),
        rows: report.measures.iter().map(row).collect(),
    }
}

fn number(value: f64) -> Cell {
    Cell::Number { value, decimals: 3 }
}

/// Whether a metric is a share of 1 of which more is better.
fn is_share(metric: Metric) -> bool {
    use Metric::{Accuracy, Auprc, Auroc, BalancedAccuracy, F1, Top5Accuracy};
    [Accuracy, BalancedAccuracy, Top5Accuracy, Auroc, Auprc, F1].contains(&metric)
}

fn of_classes(detail: &ClassDetail) -> Vec<Section> {
    let share = |value: Option<f64>| value.map_or(Cell::Empty, |value| Cell::Bar { value, decimals: 3, full: 1.0 });
    let row = |class: &sensorium_metrics::ClassScores| {
        let rows = Cell::Number { value: class.rows as f64, decimals: 0 };
        vec![class.name.clone().into(), rows, share(class.recall), share(class.precision), share(class.f1)]
    };
    let classes = Table {
        title: "Each class".to_owned(),
        note: format!("The most frequent class has {:.1} % of the rows.", 100.0 * detail.majority),
        columns: ["class", "rows", "recall", "precision", "F1"].map(str::to_owned).to_vec(),
        rows: detail.classes.iter().map(row).collect(),
    };
    let matrix = Matrix {
        title: "What was taken for what".to_owned(),
        note: "Numbers of rows; the ground is the share of the true class.".to_owned(),
        names: detail.classes.iter().map(|class| class.name.clone()).collect(),
        counts: detail.confusion.clone().into(),
    };
    let mut charts = vec![calibration(&detail.reliability, "confidence", "share that is right")];
    charts.extend((!detail.curves.is_empty()).then(|| roc(&detail.curves)));
    vec![Section::Matrix(matrix), curves(charts), Section::Table(classes)]
}

fn of_labels(detail: &LabelDetail) -> Vec<Section> {
    let share = |value: Option<f64>| value.map_or(Cell::Empty, |value| Cell::Bar { value, decimals: 3, full: 1.0 });
    let row = |label: &sensorium_metrics::LabelScores| {
        let rows = Cell::Number { value: label.rows as f64, decimals: 0 };
        vec![label.name.clone().into(), rows, share(label.auroc), share(label.auprc), share(label.f1)]
    };
    let labels = Table {
        title: "Each label".to_owned(),
        note: "F1 at a probability of one half.".to_owned(),
        columns: ["label", "rows", "AUROC", "AUPRC", "F1"].map(str::to_owned).to_vec(),
        rows: detail.labels.iter().map(row).collect(),
    };
    vec![curves(vec![calibration(&detail.reliability, "probability", "share that is on")]), Section::Table(labels)]
}

fn of_numbers(detail: &NumberDetail) -> Section {
    let points: Vec<(f64, f64)> = detail.points.iter().map(|[truth, predicted]| (*truth, *predicted)).collect();
    let ends = points
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| (low.min(point.0), high.max(point.0)));
    curves(vec![Chart {
        title: "Prediction and truth".to_owned(),
        x_label: "truth".to_owned(),
        y_label: "prediction".to_owned(),
        series: vec![
            Series { scattered: true, ..Series::new("rows", points) },
            Series { dashed: true, ..Series::new("exact", vec![(ends.0, ends.0), (ends.1, ends.1)]) },
        ],
        plain: true,
        ..Chart::default()
    }])
}

fn curves(charts: Vec<Chart>) -> Section {
    Section::ChartGrid { title: "Confidence and truth".to_owned(), note: String::new(), charts }
}

fn calibration(bins: &[Bin], x: &str, y: &str) -> Chart {
    let points = bins.iter().map(|bin| (bin.confidence, bin.accuracy)).collect();
    Chart {
        title: "Calibration".to_owned(),
        note: "Below the dashed line the model is too sure, above it not sure enough.".to_owned(),
        x_label: x.to_owned(),
        y_label: y.to_owned(),
        series: vec![Series::new("rows of similar confidence", points), diagonal("perfect")],
        plain: true,
        ..Chart::default()
    }
}

fn roc(found: &[Curve]) -> Chart {
    let curve = |curve: &Curve| {
        let points = curve.points.iter().map(|[x, y]| (*x, *y)).collect();
        Series::new(format!("{} ({:.3})", curve.class, curve.auroc), points)
    };
    Chart {
        title: "ROC".to_owned(),
        note: "Each class against the rest, with the area below its curve.".to_owned(),
        x_label: "share of others taken for it".to_owned(),
        y_label: "share found".to_owned(),
        series: found.iter().map(curve).chain([diagonal("chance")]).collect(),
        plain: true,
        ..Chart::default()
    }
}

fn diagonal(name: &str) -> Series {
    Series { dashed: true, ..Series::new(name, vec![(0.0, 0.0), (1.0, 1.0)]).coloured(7) }
}

/// Metrics of which bars are drawn for groups.
const DRAWN: usize = 4;

/// Bars of the first few metrics, one a group.
fn grouped(grouping: &Grouping) -> Section {
    let metrics = grouping.groups.first().map(|group| &group.measures[..group.measures.len().min(DRAWN)]);
    let of = |(place, measure): (usize, &Measure)| {
        let bar = |group: &Group| Bar {
            name: group.name.clone(),
            detail: format!("{} rows", group.rows),
            value: group.measures[place].value,
            interval: group.measures[place].interval,
        };
        Bars {
            title: measure.metric.name().to_owned(),
            note: String::new(),
            bars: grouping.groups.iter().map(bar).collect(),
            full: is_share(measure.metric).then_some(1.0),
        }
    };
    Section::Bars {
        title: format!("By {}", grouping.name),
        note: "With 95 % intervals: groups whose intervals overlap may not differ.".to_owned(),
        bars: metrics.into_iter().flatten().enumerate().map(of).collect(),
    }
}
