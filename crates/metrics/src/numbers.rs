use crate::{
    Detail, Metric, MetricsError, NumberDetail, Predictions, confusion::weighed_mean, error::check_length,
    ranking::Ranking,
};

/// Predicted numbers.
#[derive(Clone, Debug)]
pub struct Numbers {
    truth: Vec<f64>,
    predicted: Vec<f64>,
    absolute: Vec<f64>,
    squared: Vec<f64>,
    /// Of the truth and of the predictions.
    rankings: [Ranking; 2],
}

/// Rows that are kept to be drawn.
const POINTS: usize = 1000;

impl Numbers {
    /// # Errors
    /// If there are no rows, lengths differ, or a number is not finite.
    pub fn new(truth: Vec<f64>, predicted: Vec<f64>) -> Result<Self, MetricsError> {
        check_length("predicted numbers", truth.len(), predicted.len())?;
        if truth.is_empty() {
            return Err(MetricsError::Empty);
        }
        for (what, values) in [("truth", &truth), ("prediction", &predicted)] {
            if let Some((row, &found)) = values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
                return Err(MetricsError::NotFinite { what, row, found });
            }
        }
        let errors = || truth.iter().zip(&predicted).map(|(truth, predicted)| predicted - truth);
        Ok(Self {
            absolute: errors().map(f64::abs).collect(),
            squared: errors().map(|error| error * error).collect(),
            rankings: [&truth, &predicted].map(|values| Ranking::new(values)),
            truth,
            predicted,
        })
    }
}

impl Predictions for Numbers {
    fn rows(&self) -> usize {
        self.truth.len()
    }

    fn measure(&self, counts: &[u32]) -> Vec<(Metric, Option<f64>)> {
        let squared = weighed_mean(&self.squared, counts);
        let [truth, predicted] = self.rankings.each_ref().map(|ranking| ranking.ranks(counts));
        let explained = |squared: f64| {
            let variance = covariance(&self.truth, &self.truth, counts)?;
            (variance > 0.0).then(|| 1.0 - squared / variance)
        };
        vec![
            (Metric::Mae, weighed_mean(&self.absolute, counts)),
            (Metric::Rmse, squared.map(f64::sqrt)),
            (Metric::R2, squared.and_then(explained)),
            (Metric::Spearman, correlation(&truth, &predicted, counts)),
        ]
    }

    fn detail(&self) -> Detail {
        let rows = self.truth.len();
        let count = rows.min(POINTS);
        let point = |at: usize| [self.truth[at * rows / count], self.predicted[at * rows / count]];
        Detail::Numbers(NumberDetail { points: (0..count).map(point).collect() })
    }
}

fn covariance(a: &[f64], b: &[f64], counts: &[u32]) -> Option<f64> {
    let (mean_a, mean_b) = (weighed_mean(a, counts)?, weighed_mean(b, counts)?);
    let products: Vec<f64> = a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).collect();
    weighed_mean(&products, counts)
}

/// Pearson's; nothing if either does not vary.
fn correlation(a: &[f64], b: &[f64], counts: &[u32]) -> Option<f64> {
    let spread = (covariance(a, a, counts)? * covariance(b, b, counts)?).sqrt();
    (spread > 0.0).then_some(covariance(a, b, counts)? / spread)
}
