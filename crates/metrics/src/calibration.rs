use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::{MetricsError, error::check_length};

/// Bins of confidence, of equal width.
const BINS: usize = 15;

/// Rows of similar confidence: are they right as often as they say?
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Rows in it.
    pub rows: u64,
    /// Their mean confidence.
    pub confidence: f64,
    /// The share of them that is right.
    pub accuracy: f64,
}

/// The bins that hold rows, from little confidence to much. Of a bin's two ends the upper one
/// belongs to it.
pub(crate) fn bins(confidence: &[f64], right: &[f64], counts: &[u32]) -> Vec<Bin> {
    let mut bins = [Bin::default(); BINS];
    for ((&confidence, &right), &count) in confidence.iter().zip(right).zip(counts) {
        let place = (confidence * BINS as f64).ceil() as usize;
        let bin = &mut bins[place.clamp(1, BINS) - 1];
        bin.rows += u64::from(count);
        bin.confidence += confidence * f64::from(count);
        bin.accuracy += right * f64::from(count);
    }
    let mean = |bin: Bin| Bin {
        confidence: bin.confidence / bin.rows as f64,
        accuracy: bin.accuracy / bin.rows as f64,
        ..bin
    };
    bins.into_iter().filter(|bin| bin.rows > 0).map(mean).collect()
}

/// See [`crate::Metric::Ece`].
pub(crate) fn calibration_error(bins: &[Bin]) -> Option<f64> {
    let rows: u64 = bins.iter().map(|bin| bin.rows).sum();
    let sum: f64 = bins.iter().map(|bin| bin.rows as f64 * (bin.confidence - bin.accuracy).abs()).sum();
    (rows > 0).then(|| sum / rows as f64)
}

/// One number that logits are divided by, so that probabilities say how often they are right
/// (Guo et al. 2017). It changes no prediction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Temperature(pub f64);

impl Temperature {
    /// Temperatures that are considered; a model that is always right, or never, would want 0 or ∞.
    const RANGE: [f64; 2] = [1e-2, 1e2];

    /// The temperature of the least log loss on held-out rows.
    ///
    /// A label that is on or off is a row of two logits, 0 and its own.
    ///
    /// # Errors
    /// If there are no rows, a class is none, or a logit is not finite.
    ///
    /// # Shapes
    /// `logits` is `[rows, classes]`.
    pub fn fit(logits: ArrayView2<f64>, truth: &[usize]) -> Result<Self, MetricsError> {
        let (rows, classes) = logits.dim();
        check_length("true classes", rows, truth.len())?;
        if rows == 0 {
            return Err(MetricsError::Empty);
        }
        if let Some(((row, _), &found)) = logits.indexed_iter().find(|(_, logit)| !logit.is_finite()) {
            return Err(MetricsError::NotFinite { what: "logit", row, found });
        }
        if let Some((row, &found)) = truth.iter().enumerate().find(|(_, class)| **class >= classes) {
            return Err(MetricsError::Class { row, found, classes });
        }
        // The loss is convex in 1 / temperature: its slope is sought through between two ends.
        let [mut cold, mut hot] = Self::RANGE.map(f64::ln);
        for _ in 0..60 {
            let middle = (cold + hot) / 2.0;
            match slope(logits, truth, (-middle).exp()) > 0.0 {
                true => cold = middle,
                false => hot = middle,
            }
        }
        Ok(Self(((cold + hot) / 2.0).exp()))
    }

    /// Logits to probabilities.
    ///
    /// # Shapes
    /// `[rows, classes]` → `[rows, classes]`, each row adding up to 1
    pub fn probabilities(self, logits: ArrayView2<f64>) -> Array2<f64> {
        probabilities(logits, 1.0 / self.0)
    }
}

/// The slope of the log loss with the factor of the logits: what the probabilities expect of the
/// logits, less the true classes' logits.
fn slope(logits: ArrayView2<f64>, truth: &[usize], factor: f64) -> f64 {
    let expected = (&probabilities(logits, factor) * &logits).sum();
    let found: f64 = truth.iter().enumerate().map(|(row, &class)| logits[[row, class]]).sum();
    expected - found
}

fn probabilities(logits: ArrayView2<f64>, factor: f64) -> Array2<f64> {
    let mut values = &logits * factor;
    for mut row in values.rows_mut() {
        let most = row.fold(f64::NEG_INFINITY, |most, &logit| most.max(logit));
        row.mapv_inplace(|logit| (logit - most).exp());
        let sum = row.sum();
        row /= sum;
    }
    values
}
