//! What a prediction can reach that does not look at the input.

use sensorium_contract::{Head, MaskTarget, Truth, Values};

/// Least mean loss over all targets, with one constant prediction a head: the entropy of the
/// classes' frequencies, the variance of the numbers.
pub(super) fn least_loss(heads: &[Head], targets: &[&MaskTarget]) -> Option<f32> {
    let mut total = 0.0;
    let mut items = 0;
    for (index, head) in heads.iter().enumerate() {
        let own: Vec<&Truth> =
            targets.iter().filter(|target| target.head == index).map(|target| &target.truth).collect();
        let (sum, count) = match head.values {
            Values::Classes(classes) => entropy(&own, classes),
            Values::Numbers(numbers) => variance(&own, numbers),
        };
        total += sum;
        items += count;
    }
    (items > 0).then(|| (total / items as f64) as f32)
}

/// Sum of `-ln(frequency)` over the items, and their number.
fn entropy(truths: &[&Truth], classes: usize) -> (f64, usize) {
    let mut counts = vec![0_usize; classes];
    for truth in truths {
        if let Truth::Classes(ids) = truth {
            ids.iter().for_each(|&id| counts[id as usize] += 1);
        }
    }
    let total: usize = counts.iter().sum();
    let share = |&count: &usize| count as f64 / total as f64;
    let sum = counts.iter().filter(|&&count| count > 0).map(|count| -(*count as f64) * share(count).ln()).sum();
    (sum, total)
}

/// Sum over the items of the mean squared distance from the mean, and their number.
fn variance(truths: &[&Truth], numbers: usize) -> (f64, usize) {
    let (mut sums, mut squares, mut total) = (vec![0.0; numbers], vec![0.0; numbers], 0);
    for truth in truths {
        if let Truth::Numbers(values) = truth {
            total += values.nrows();
            for row in values.rows() {
                for (at, &value) in row.iter().enumerate() {
                    sums[at] += f64::from(value);
                    squares[at] += f64::from(value) * f64::from(value);
                }
            }
        }
    }
    let spread = |(sum, square): (&f64, &f64)| square - sum * sum / (total.max(1)) as f64;
    (sums.iter().zip(&squares).map(spread).sum::<f64>() / numbers as f64, total)
}
