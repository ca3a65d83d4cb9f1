use ndarray::Array2;

use crate::{
    Detail, LabelDetail, LabelScores, Metric, MetricsError, Predictions,
    calibration::bins,
    confusion::{mean, weighed_mean},
    error::check_length,
    ranking::Ranking,
};

/// Probabilities of labels, any number of which are on in a row.
#[derive(Clone, Debug)]
pub struct Labels {
    names: Vec<String>,
    /// `[rows, labels]`
    truth: Array2<bool>,
    /// `[rows, labels]`
    probabilities: Array2<f64>,
    /// One a label.
    rankings: Vec<Ranking>,
    /// Mean squared error of each row.
    brier: Vec<f64>,
}

impl Labels {
    /// # Errors
    /// If there are no rows or labels, shapes differ, or a probability is not between 0 and 1.
    ///
    /// # Shapes
    /// Both `[rows, labels]`.
    pub fn new(names: Vec<String>, truth: Array2<bool>, probabilities: Array2<f64>) -> Result<Self, MetricsError> {
        let (rows, labels) = probabilities.dim();
        check_length("labels with probabilities", names.len(), labels)?;
        check_length("labels with a truth", names.len(), truth.ncols())?;
        check_length("true rows", rows, truth.nrows())?;
        if probabilities.is_empty() {
            return Err(MetricsError::Empty);
        }
        let wrong = |values: &ndarray::ArrayView1<f64>| values.iter().any(|value| !(0.0..=1.0).contains(value));
        if let Some((row, values)) = probabilities.outer_iter().enumerate().find(|(_, values)| wrong(values)) {
            return Err(MetricsError::Probabilities { row, found: values.to_vec() });
        }
        let error = |(p, &on): (&f64, &bool)| (p - f64::from(u8::from(on))).powi(2);
        let row_error = |(values, on): (ndarray::ArrayView1<f64>, ndarray::ArrayView1<bool>)| {
            values.iter().zip(&on).map(error).sum::<f64>() / labels as f64
        };
        Ok(Self {
            rankings: probabilities.columns().into_iter().map(|scores| Ranking::new(&scores.to_vec())).collect(),
            brier: probabilities.outer_iter().zip(truth.outer_iter()).map(row_error).collect(),
            names,
            truth,
            probabilities,
        })
    }

    fn positive(&self, label: usize) -> impl Fn(usize) -> bool {
        move |row| self.truth[[row, label]]
    }

    /// F1 of a label at a probability of one half; nothing if it is never on nor predicted.
    fn f1(&self, label: usize, counts: &[u32]) -> Option<f64> {
        let (mut right, mut wrong) = (0_u64, 0_u64);
        for ((&on, &probability), &count) in
            self.truth.column(label).iter().zip(self.probabilities.column(label)).zip(counts)
        {
            match (on, probability >= 0.5) {
                (true, true) => right += 2 * u64::from(count),
                (false, false) => {}
                _ => wrong += u64::from(count),
            }
        }
        (right + wrong > 0).then(|| right as f64 / (right + wrong) as f64)
    }

    /// The mean over the labels of what there is.
    fn over(&self, value: impl Fn(usize, &Ranking) -> Option<f64>) -> Option<f64> {
        mean(self.rankings.iter().enumerate().filter_map(|(label, ranking)| value(label, ranking)))
    }
}

impl Predictions for Labels {
    fn rows(&self) -> usize {
        self.truth.nrows()
    }

    fn measure(&self, counts: &[u32]) -> Vec<(Metric, Option<f64>)> {
        vec![
            (Metric::Auroc, self.over(|label, ranking| ranking.auroc(counts, self.positive(label)))),
            (Metric::Auprc, self.over(|label, ranking| ranking.average_precision(counts, self.positive(label)))),
            (Metric::F1, self.over(|label, _| self.f1(label, counts))),
            (Metric::Brier, weighed_mean(&self.brier, counts)),
        ]
    }

    fn detail(&self) -> Detail {
        let counts = vec![1; self.rows()];
        let scores = |(label, (name, ranking)): (usize, (&String, &Ranking))| LabelScores {
            name: name.clone(),
            rows: self.truth.column(label).iter().filter(|on| **on).count() as u64,
            auroc: ranking.auroc(&counts, self.positive(label)),
            auprc: ranking.average_precision(&counts, self.positive(label)),
            f1: self.f1(label, &counts),
        };
        let on: Vec<f64> = self.truth.iter().map(|&on| f64::from(u8::from(on))).collect();
        let probabilities: Vec<f64> = self.probabilities.iter().copied().collect();
        Detail::Labels(LabelDetail {
            labels: self.names.iter().zip(&self.rankings).enumerate().map(scores).collect(),
            reliability: bins(&probabilities, &on, &vec![1; on.len()]),
        })
    }
}
