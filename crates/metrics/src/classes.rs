use ndarray::{Array2, ArrayView1};

use crate::{
    ClassDetail, ClassScores, Confusion, Curve, Detail, Metric, MetricsError, Predictions,
    calibration::{bins, calibration_error},
    confusion::{mean, weighed_mean},
    error::check_length,
    ranking::Ranking,
};

/// Probabilities of two or more classes, of which one is true.
#[derive(Clone, Debug)]
pub struct Classes {
    names: Vec<String>,
    truth: Vec<usize>,
    /// The most probable class of each row; of equal ones the first.
    predicted: Vec<usize>,
    /// Its probability.
    confidence: Vec<f64>,
    /// 1 where it is the true class, else 0.
    right: Vec<f64>,
    /// 1 where the true class is among the five most probable, else 0.
    among_five: Vec<f64>,
    log_loss: Vec<f64>,
    brier: Vec<f64>,
    /// Of the second of two classes, else of each.
    rankings: Vec<Ranking>,
}

/// How far a row's probabilities may be from 1 together: they come in single precision.
const TOLERANCE: f64 = 1e-3;
/// ROC curves that are kept at most, those of the most frequent classes.
const CURVES: usize = 8;

impl Classes {
    /// With two classes, the second is the positive one.
    ///
    /// # Errors
    /// If there are no rows or fewer than two classes, lengths differ, a true class is none, or
    /// probabilities do not add up to 1.
    ///
    /// # Shapes
    /// `probabilities` is `[rows, classes]`.
    pub fn new(names: Vec<String>, truth: Vec<usize>, probabilities: &Array2<f64>) -> Result<Self, MetricsError> {
        let (rows, classes) = probabilities.dim();
        check_length("classes with probabilities", names.len(), classes)?;
        check_length("true classes", rows, truth.len())?;
        if rows == 0 {
            return Err(MetricsError::Empty);
        }
        if classes < 2 {
            return Err(MetricsError::Length { what: "classes", expected: 2, found: classes });
        }
        for (row, (values, &class)) in probabilities.outer_iter().zip(&truth).enumerate() {
            if class >= classes {
                return Err(MetricsError::Class { row, found: class, classes });
            }
            if !(values.iter().all(|value| *value >= 0.0) && (values.sum() - 1.0).abs() < TOLERANCE) {
                return Err(MetricsError::Probabilities { row, found: values.to_vec() });
            }
        }
        let of_rows = |value: &dyn Fn(ArrayView1<f64>, usize) -> f64| -> Vec<f64> {
            probabilities.outer_iter().zip(&truth).map(|(row, &class)| value(row, class)).collect()
        };
        let predicted: Vec<usize> = probabilities.outer_iter().map(most_probable).collect();
        let ranked = if classes == 2 { 1..2 } else { 0..classes };
        Ok(Self {
            confidence: predicted.iter().enumerate().map(|(row, &class)| probabilities[[row, class]]).collect(),
            right: predicted.iter().zip(&truth).map(|(found, truth)| f64::from(u8::from(found == truth))).collect(),
            among_five: of_rows(&|row, class| f64::from(u8::from(ahead(row, class) < 5))),
            // The same clipping as scikit-learn's.
            log_loss: of_rows(&|row, class| -row[class].clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()),
            brier: of_rows(&squared_error),
            rankings: ranked.map(|class| Ranking::new(&probabilities.column(class).to_vec())).collect(),
            names,
            truth,
            predicted,
        })
    }

    /// The most probable class of each row.
    pub fn predicted(&self) -> &[usize] {
        &self.predicted
    }

    /// The probability of the most probable class of each row.
    pub fn confidence(&self) -> &[f64] {
        &self.confidence
    }

    /// The true class of each row.
    pub fn truth(&self) -> &[usize] {
        &self.truth
    }

    /// Names of the classes.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What was taken for what.
    pub fn confusion(&self, counts: &[u32]) -> Confusion {
        Confusion::new(self.names.len(), &self.truth, &self.predicted, counts)
    }

    /// The mean over the ranked classes of what there is.
    fn ranked(&self, value: impl Fn(&Ranking, &dyn Fn(usize) -> bool) -> Option<f64>) -> Option<f64> {
        let of = |(class, ranking)| value(ranking, &|row| self.truth[row] == class);
        mean(self.positives().filter_map(of))
    }

    /// The ranked classes.
    fn positives(&self) -> impl Iterator<Item = (usize, &Ranking)> {
        (self.names.len() - self.rankings.len()..).zip(&self.rankings)
    }

    fn curves(&self, counts: &[u32]) -> Vec<Curve> {
        let mut of_class = vec![0_usize; self.names.len()];
        self.truth.iter().for_each(|&class| of_class[class] += 1);
        let mut positives: Vec<(usize, &Ranking)> = self.positives().collect();
        positives.sort_by_key(|(class, _)| std::cmp::Reverse(of_class[*class]));
        let curve = |(class, ranking): &(usize, &Ranking)| {
            let positive = |row: usize| self.truth[row] == *class;
            Some(Curve {
                class: self.names[*class].clone(),
                auroc: ranking.auroc(counts, positive)?,
                points: ranking.roc(counts, positive)?,
            })
        };
        positives.iter().filter_map(curve).take(CURVES).collect()
    }

    /// What there is to look at; also of [`crate::Grades`].
    pub(crate) fn class_detail(&self) -> ClassDetail {
        let counts = vec![1; self.truth.len()];
        let confusion = self.confusion(&counts);
        let scores = |(class, name): (usize, &String)| ClassScores {
            name: name.clone(),
            rows: confusion.rows_of(class),
            precision: confusion.precision(class),
            recall: confusion.recall(class),
            f1: confusion.f1(class),
        };
        let largest = (0..self.names.len()).map(|class| confusion.rows_of(class)).max().unwrap_or(0);
        ClassDetail {
            classes: self.names.iter().enumerate().map(scores).collect(),
            majority: largest as f64 / self.truth.len() as f64,
            reliability: bins(&self.confidence, &self.right, &counts),
            curves: self.curves(&counts),
            confusion,
        }
    }
}

impl Predictions for Classes {
    fn rows(&self) -> usize {
        self.truth.len()
    }

    fn measure(&self, counts: &[u32]) -> Vec<(Metric, Option<f64>)> {
        let confusion = self.confusion(counts);
        let two = self.names.len() == 2;
        let mut measures =
            vec![(Metric::Accuracy, confusion.accuracy()), (Metric::BalancedAccuracy, confusion.balanced_accuracy())];
        if self.names.len() > 5 {
            measures.push((Metric::Top5Accuracy, weighed_mean(&self.among_five, counts)));
        }
        measures.extend([
            (Metric::Auroc, self.ranked(|ranking, positive| ranking.auroc(counts, positive))),
            (Metric::Auprc, self.ranked(|ranking, positive| ranking.average_precision(counts, positive))),
            (Metric::F1, if two { confusion.f1(1) } else { confusion.macro_f1() }),
            (Metric::Brier, weighed_mean(&self.brier, counts)),
            (Metric::Ece, calibration_error(&bins(&self.confidence, &self.right, counts))),
            (Metric::LogLoss, weighed_mean(&self.log_loss, counts)),
        ]);
        measures
    }

    fn detail(&self) -> Detail {
        Detail::Classes(self.class_detail())
    }
}

fn most_probable(row: ArrayView1<f64>) -> usize {
    (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best })
}

/// Classes that stand before the given one: more probable, or as probable with a lower number.
fn ahead(row: ArrayView1<f64>, class: usize) -> usize {
    let before = |(other, &value): (usize, &f64)| value > row[class] || (value == row[class] && other < class);
    row.iter().enumerate().filter(|entry| before(*entry)).count()
}

/// See [`Metric::Brier`].
fn squared_error(row: ArrayView1<f64>, class: usize) -> f64 {
    let error = |(other, &value): (usize, &f64)| (value - f64::from(u8::from(other == class))).powi(2);
    let sum: f64 = row.iter().enumerate().map(error).sum();
    if row.len() == 2 { sum / 2.0 } else { sum }
}
