//! Agreement with the references' numbers, and what must hold of intervals and groups.

use std::collections::BTreeMap;

use ndarray::Array2;
use sensorium_contract::Seed;
use serde::Deserialize;

use crate::*;

#[derive(Deserialize)]
struct Golden {
    classes: Vec<ClassCase>,
    labels: LabelCase,
    numbers: NumberCase,
}

#[derive(Deserialize)]
struct ClassCase {
    truth: Vec<usize>,
    probabilities: Vec<Vec<f64>>,
    logits: Vec<Vec<f64>>,
    counts: Vec<u32>,
    expected: BTreeMap<String, f64>,
    temperature: f64,
    confusion: Vec<Vec<u64>>,
    roc: Option<Vec<[f64; 2]>>,
}

#[derive(Deserialize)]
struct LabelCase {
    truth: Vec<Vec<bool>>,
    probabilities: Vec<Vec<f64>>,
    expected: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct NumberCase {
    truth: Vec<f64>,
    predicted: Vec<f64>,
    counts: Vec<u32>,
    expected: BTreeMap<String, f64>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

fn matrix<T: Copy>(rows: &[Vec<T>]) -> Array2<T> {
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(row, column)| rows[row][column])
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|class| format!("class {class}")).collect()
}

fn classes(case: &ClassCase) -> Classes {
    Classes::new(names(case.confusion.len()), case.truth.clone(), &matrix(&case.probabilities)).unwrap()
}

/// All that is expected is measured, and agrees.
fn agree(predictions: &dyn Predictions, counts: &[u32], expected: &BTreeMap<String, f64>) {
    let measured = predictions.measure(counts);
    assert_eq!(measured.len(), expected.len());
    for (metric, found) in measured {
        let (found, expected) = (found.unwrap(), expected[metric.name()]);
        let tolerance = if metric == Metric::Ece { 3e-6 } else { 1e-12 };
        assert!((found - expected).abs() < tolerance, "{metric}: found {found}, expected {expected}");
    }
}

#[test]
fn classes_and_grades_agree_with_scikit_learn() {
    for case in golden().classes {
        let classes = classes(&case);
        assert_eq!(classes.confusion(&case.counts).counts(), matrix(&case.confusion));
        agree(&Grades(classes), &case.counts, &case.expected);
    }
}

#[test]
fn labels_agree_with_scikit_learn() {
    let LabelCase { truth, probabilities, expected } = golden().labels;
    let labels = Labels::new(names(3), matrix(&truth), matrix(&probabilities)).unwrap();
    agree(&labels, &vec![1; truth.len()], &expected);
}

#[test]
fn numbers_agree_with_scikit_learn_and_scipy() {
    let NumberCase { truth, predicted, counts, expected } = golden().numbers;
    agree(&Numbers::new(truth, predicted).unwrap(), &counts, &expected);
}

#[test]
fn roc_curves_have_the_corners_of_scikit_learn() {
    let case = golden().classes.remove(0);
    let Detail::Classes(detail) = classes(&case).detail() else { panic!() };
    let [curve] = &detail.curves[..] else { panic!("one curve for two classes") };
    let expected = case.roc.unwrap();
    // scikit-learn keeps some points that are no corners.
    assert!(curve.points.iter().all(|point| {
        expected.iter().any(|other| (point[0] - other[0]).abs() + (point[1] - other[1]).abs() < 1e-12)
    }));
    let area = |points: &[[f64; 2]]| points.windows(2).map(|p| (p[1][0] - p[0][0]) * (p[1][1] + p[0][1]) / 2.0).sum();
    let areas: [f64; 2] = [area(&curve.points), area(&expected)];
    assert!((areas[0] - areas[1]).abs() < 1e-12 && (areas[0] - curve.auroc).abs() < 1e-12);
}

#[test]
fn the_temperature_of_least_loss_is_found() {
    for case in golden().classes {
        let logits = matrix(&case.logits);
        let temperature = Temperature::fit(logits.view(), &case.truth).unwrap();
        assert!((temperature.0 - case.temperature).abs() < 1e-5, "{temperature:?}, {}", case.temperature);
        let tenfold = Temperature::fit((&logits * 10.0).view(), &case.truth).unwrap();
        assert!((tenfold.0 / temperature.0 - 10.0).abs() < 1e-6);
        let sums = temperature.probabilities(logits.view()).sum_axis(ndarray::Axis(1));
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-12));
    }
    let sure = Temperature::fit(ndarray::array![[0.0, 1.0]].view(), &[1]).unwrap();
    assert!(sure.0.is_finite() && sure.0 > 0.0);
}

#[test]
fn intervals_hold_the_value_and_narrow_with_rows() {
    let NumberCase { truth, predicted, .. } = golden().numbers;
    let bootstrap = Bootstrap::new(Seed::new(3));
    let judged = |times: usize| {
        let numbers = Numbers::new(truth.repeat(times), predicted.repeat(times)).unwrap();
        judge(&numbers, &[], &bootstrap).unwrap()
    };
    let (few, many) = (judged(1), judged(16));
    for (few, many) in few.measures.iter().zip(&many.measures) {
        let ([low, high], [closer_low, closer_high]) = (few.interval.unwrap(), many.interval.unwrap());
        assert!(low < few.value.unwrap() && few.value.unwrap() < high, "{few:?}");
        let ratio = (high - low) / (closer_high - closer_low);
        assert!((2.8..5.6).contains(&ratio), "16 times the rows: a quarter of the width, found {ratio} of {few:?}");
    }
    assert_eq!(few, judged(1), "a seed gives the same intervals again");
}

/// The standard error of a mean is known; the bootstrap must find it.
#[test]
fn intervals_are_as_wide_as_theory_says() {
    let truth: Vec<usize> = (0..400).map(|row| usize::from(row % 4 == 0)).collect();
    let always = Array2::from_shape_fn((400, 2), |(_, class)| if class == 0 { 0.9 } else { 0.1 });
    let classes = Classes::new(names(2), truth, &always).unwrap();
    let report = judge(&classes, &[], &Bootstrap::new(Seed::new(0))).unwrap();
    let [low, high] = report.measures[0].interval.unwrap();
    let expected = 2.0 * 1.96 * (0.75_f64 * 0.25 / 400.0).sqrt();
    assert!(((high - low) / expected - 1.0).abs() < 0.1, "{low} {high}");
    assert_eq!(report.get(Metric::Accuracy), Some(0.75));
    let Detail::Classes(detail) = report.detail else { panic!() };
    assert_eq!(detail.majority, 0.75);
    assert_eq!(detail.reliability.len(), 1);
}

/// Rows that are written four times say no more than once, and it shows where they are known to be one group.
#[test]
fn intervals_of_groups_are_as_wide_as_those_of_what_they_stand_for() {
    let NumberCase { truth, predicted, .. } = golden().numbers;
    let rows = truth.len();
    let judged = |times: usize, groups: Option<Vec<usize>>| {
        let numbers = Numbers::new(truth.repeat(times), predicted.repeat(times)).unwrap();
        let report = judge(&numbers, &[], &Bootstrap { groups, ..Bootstrap::new(Seed::new(3)) }).unwrap();
        let [low, high] = report.measures[0].interval.unwrap();
        high - low
    };
    let grouped = judged(4, Some((0..4 * rows).map(|row| row % rows).collect()));
    assert!((grouped / judged(1, None) - 1.0).abs() < 1e-9, "{grouped}");
    assert!(judged(4, None) < 0.6 * grouped);
}

#[test]
fn groups_are_measured_as_if_they_were_alone() {
    let case = golden().classes.remove(2);
    let values: Vec<String> =
        (0..case.truth.len()).map(|row| presence(["image", "text"].into_iter().take(row % 3))).collect();
    let column = Column { name: "modalities".into(), values: values.clone() };
    let bootstrap = Bootstrap { resamples: 50, ..Bootstrap::new(Seed::new(1)) };
    let report = judge(&classes(&case), &[column], &bootstrap).unwrap();
    let groups = &report.groupings[0].groups;
    assert_eq!(groups.iter().map(|group| &*group.name).collect::<Vec<_>>(), ["image", "image + text", "none"]);
    for group in groups {
        let of = |row: &usize| values[*row] == group.name;
        let rows: Vec<usize> = (0..values.len()).filter(of).collect();
        let truth = rows.iter().map(|&row| case.truth[row]).collect();
        let probabilities = matrix(&case.probabilities).select(ndarray::Axis(0), &rows);
        let alone = Classes::new(names(4), truth, &probabilities).unwrap();
        let alone = judge(&alone, &[], &bootstrap).unwrap();
        assert_eq!((group.rows, &group.measures), (rows.len(), &alone.measures));
    }
}

#[test]
fn what_is_not_defined_is_nothing() {
    let sure = Array2::from_shape_fn((3, 2), |(_, class)| class as f64);
    let one_class = Classes::new(names(2), vec![1; 3], &sure).unwrap();
    let report = judge(&one_class, &[], &Bootstrap::new(Seed::new(0))).unwrap();
    assert_eq!((report.get(Metric::Auroc), report.get(Metric::Accuracy)), (None, Some(1.0)));
    assert!(report.measures.iter().find(|m| m.metric == Metric::Auroc).unwrap().interval.is_none());
    let constant = judge(&Numbers::new(vec![2.0; 3], vec![1.0; 3]).unwrap(), &[], &Bootstrap::new(Seed::new(0)));
    let constant = constant.unwrap();
    assert_eq!((constant.get(Metric::R2), constant.get(Metric::Spearman)), (None, None));
    assert_eq!(constant.get(Metric::Mae), Some(1.0));
}

#[test]
fn reports_are_read_back_as_they_were_written() {
    let case = golden().classes.remove(3);
    let column = Column { name: "half".into(), values: (0..80).map(|row| (row / 40).to_string()).collect() };
    let report = judge(&Grades(classes(&case)), &[column], &Bootstrap::new(Seed::new(0))).unwrap();
    let text = serde_json::to_string(&report).unwrap();
    let back: Report = serde_json::from_str(&text).unwrap();
    // A number's last digit may change on the way.
    for (back, report) in back.measures.iter().zip(&report.measures) {
        assert_eq!(back.metric, report.metric);
        assert!((back.value.unwrap() - report.value.unwrap()).abs() < 1e-12);
    }
    let (Detail::Classes(back_detail), Detail::Classes(detail)) = (&back.detail, &report.detail) else { panic!() };
    assert_eq!(back_detail.confusion, detail.confusion);
    assert_eq!((back.rows, back.groupings.len()), (80, 1));
    assert!(text.contains("\"balanced accuracy\""));
    assert!(report.to_string().contains("quadratic kappa"));
}

#[test]
fn wrong_predictions_are_refused_by_name() {
    let p = || Array2::from_elem((2, 2), 0.5);
    let refused = |result: Result<Classes, MetricsError>| result.unwrap_err().to_string();
    assert_eq!(refused(Classes::new(names(3), vec![0, 1], &p())), "classes with probabilities: expected 3, found 2");
    assert_eq!(refused(Classes::new(names(2), vec![0], &p())), "true classes: expected 2, found 1");
    assert_eq!(refused(Classes::new(names(2), vec![0, 2], &p())), "row 1: class 2, but there are 2 classes");
    assert_eq!(refused(Classes::new(names(2), vec![], &Array2::zeros((0, 2)))), "no rows to measure");
    for wrong in [0.7, f64::NAN, -0.5] {
        let mut p = p();
        p[[1, 0]] = wrong;
        assert!(refused(Classes::new(names(2), vec![0, 1], &p)).starts_with("row 1: expected probabilities"));
    }
    let error = Numbers::new(vec![1.0], vec![f64::NAN]).unwrap_err().to_string();
    assert_eq!(error, "row 0: expected a finite prediction, found NaN");
    let error = judge(
        &Numbers::new(vec![1.0], vec![1.0]).unwrap(),
        &[Column { name: "sex".into(), values: vec![] }],
        &Bootstrap::new(Seed::new(0)),
    );
    assert_eq!(error.unwrap_err().to_string(), "values to group by: expected 1, found 0");
    assert!(Temperature::fit(ndarray::array![[0.0, f64::NAN]].view(), &[1]).is_err());
    assert!(Labels::new(names(1), Array2::from_elem((1, 1), true), Array2::from_elem((1, 1), 1.5)).is_err());
}
