use serde::{Deserialize, Serialize};

/// Scaled numbers stay within this bound, so that one absurd cell cannot drown a batch.
const BOUND: f64 = 10.0;
/// Ranks stay this far from 0 and 1: three deviations.
const MARGIN: f64 = 0.001;
/// Quantiles that are kept.
const KNOTS: usize = 257;

/// How the numbers of one column become inputs of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Scaling {
    /// `(x - mean) / deviation`, at most 10 from 0.
    Standard {
        /// Over the training data.
        mean: f64,
        /// Over the training data, greater than 0.
        deviation: f64,
    },
    /// By the rank among the training data, to a normal distribution.
    Quantile {
        /// Quantiles at equal steps from the least to the greatest value, ascending.
        knots: Vec<f64>,
    },
}

impl Scaling {
    /// The scaling to mean 0 and deviation 1; a deviation of 0 only shifts.
    pub(super) fn standard(mean: f64, deviation: f64) -> Self {
        let usable = deviation.is_finite() && deviation > 0.0;
        Self::Standard { mean, deviation: if usable { deviation } else { 1.0 } }
    }

    /// The scaling by rank among these values, of which there must be one.
    pub(super) fn quantile(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let last = values.len().saturating_sub(1);
        let knots = (0..KNOTS.min(values.len()).max(2)).map(|knot| {
            let place = knot as f64 / (KNOTS.min(values.len()).max(2) - 1) as f64 * last as f64;
            let (below, part) = (place.floor() as usize, place.fract());
            values[below] * (1.0 - part) + values[(below + 1).min(last)] * part
        });
        Self::Quantile { knots: knots.collect() }
    }

    /// The scaled number.
    pub fn apply(&self, value: f64) -> f32 {
        match self {
            Self::Standard { mean, deviation } => ((value - mean) / deviation).clamp(-BOUND, BOUND) as f32,
            Self::Quantile { knots } => normal_quantile(rank(knots, value).clamp(MARGIN, 1.0 - MARGIN)) as f32,
        }
    }
}

/// The share of values below, between 0 and 1. A value that takes several quantiles gets the middle
/// of them.
fn rank(knots: &[f64], value: f64) -> f64 {
    let steps = (knots.len() - 1) as f64;
    let (below, upto) = (knots.partition_point(|&knot| knot < value), knots.partition_point(|&knot| knot <= value));
    if upto > below {
        return (below + upto - 1) as f64 / 2.0 / steps;
    }
    if below == 0 || below == knots.len() {
        return if below == 0 { 0.0 } else { 1.0 };
    }
    let (left, right) = (knots[below - 1], knots[below]);
    ((below - 1) as f64 + (value - left) / (right - left)) / steps
}

/// The inverse of the normal distribution function, by Acklam's rational approximation (2003;
/// relative error below 1.2e-9).
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 6] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 5] = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1.0];
    let polynomial = |factors: &[f64], x: f64| factors.iter().fold(0.0, |sum, factor| sum * x + factor);
    let tail = |p: f64| {
        let q = (-2.0 * p.ln()).sqrt();
        polynomial(&C, q) / polynomial(&D, q)
    };
    if p < 0.02425 {
        tail(p)
    } else if p > 1.0 - 0.02425 {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        q * polynomial(&A, q * q) / polynomial(&B, q * q)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_quantile_agrees_with_tables() {
        for (p, x) in [(0.5, 0.0), (0.975, 1.959964), (0.001, -3.090232), (0.01, -2.326348), (0.8413447, 1.0)] {
            assert!((normal_quantile(p) - x).abs() < 1e-5, "{p}: {}", normal_quantile(p));
        }
    }

    #[test]
    fn ranks_become_normal() {
        let skewed: Vec<f64> = (0..10_001).map(|rank| (rank as f64 / 1000.0).exp()).collect();
        let scaling = Scaling::quantile(skewed.clone());
        let scaled: Vec<f64> = skewed.iter().map(|&value| f64::from(scaling.apply(value))).collect();
        let mean = scaled.iter().sum::<f64>() / scaled.len() as f64;
        let deviation = (scaled.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / scaled.len() as f64).sqrt();
        assert!(mean.abs() < 0.02 && (deviation - 1.0).abs() < 0.02, "{mean} {deviation}");
        assert!(scaled.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(scaling.apply(f64::MAX), -scaling.apply(f64::MIN));
        assert!(scaling.apply(f64::MAX) < 3.1);
    }

    #[test]
    fn a_frequent_value_gets_the_middle_of_its_ranks() {
        let scaling = Scaling::quantile([vec![0.0; 500], vec![1.0; 500]].concat());
        assert!((scaling.apply(0.0) + 0.6745).abs() < 0.01, "{}", scaling.apply(0.0));
        assert!((scaling.apply(1.0) - 0.6745).abs() < 0.01, "{}", scaling.apply(1.0));
        assert!(Scaling::quantile(vec![3.0]).apply(3.0).abs() < 1e-6);
    }

    #[test]
    fn extreme_numbers_stay_bounded() {
        let scaling = Scaling::standard(5.0, 2.0);
        assert_eq!((scaling.apply(9.0), scaling.apply(1e300), scaling.apply(-1e300)), (2.0, 10.0, -10.0));
        assert_eq!(Scaling::standard(5.0, 0.0).apply(6.0), 1.0);
    }
}
