//! Noisy curves made readable, long ones made short.

/// A point of a curve.
pub(crate) type Point = (f64, f64);

/// The curve's trend: a centred triangular mean over about a twentieth of the points, narrower at
/// the ends, so that nothing lags.
pub(crate) fn trend(points: &[Point]) -> Vec<Point> {
    let reach = points.len() / 40;
    let means = centred_mean(&centred_mean(&points.iter().map(|point| point.1).collect::<Vec<_>>(), reach), reach);
    points.iter().zip(means).map(|(point, mean)| (point.0, mean)).collect()
}

/// The mean of up to `reach` values on each side, equally many on both.
fn centred_mean(values: &[f64], reach: usize) -> Vec<f64> {
    let mut sums = vec![0.0];
    for value in values {
        sums.push(sums[sums.len() - 1] + value);
    }
    let mean = |place: usize| {
        let reach = reach.min(place).min(values.len() - 1 - place);
        (sums[place + reach + 1] - sums[place - reach]) / (2 * reach + 1) as f64
    };
    (0..values.len()).map(mean).collect()
}

/// At most about `count` points of a smooth curve, its ends among them.
pub(crate) fn thin(points: &[Point], count: usize) -> Vec<Point> {
    let stride = points.len().div_ceil(count).max(1);
    let last = points.last().filter(|_| !(points.len().max(1) - 1).is_multiple_of(stride));
    points.iter().step_by(stride).chain(last).copied().collect()
}

/// At most about `count` points of a noisy curve, keeping the least and the greatest of each stretch.
pub(crate) fn thin_noisy(points: &[Point], count: usize) -> Vec<Point> {
    let stretch = (2 * points.len()).div_ceil(count).max(1);
    if stretch <= 2 {
        return points.to_vec();
    }
    let extremes = |stretch: &[Point]| {
        let places = 0..stretch.len();
        let least = places.clone().min_by(|&a, &b| stretch[a].1.total_cmp(&stretch[b].1)).unwrap_or(0);
        let greatest = places.max_by(|&a, &b| stretch[a].1.total_cmp(&stretch[b].1)).unwrap_or(0);
        [stretch[least.min(greatest)], stretch[least.max(greatest)]]
    };
    points.chunks(stretch).flat_map(extremes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_a_line() {
        let line: Vec<Point> = (0..500).map(|x| (x as f64, 3.0 * x as f64 + 1.0)).collect();
        for (point, smoothed) in line.iter().zip(trend(&line)) {
            assert!(point.0 == smoothed.0 && (point.1 - smoothed.1).abs() < 1e-6);
        }
    }

    #[test]
    fn noise_shrinks() {
        let noise: Vec<Point> = (0..400).map(|x| (x as f64, if x % 2 == 0 { 1.0 } else { -1.0 })).collect();
        assert!(trend(&noise)[50..350].iter().all(|point| point.1.abs() < 0.05));
    }

    #[test]
    fn thinning_keeps_ends_and_extremes() {
        let mut points: Vec<Point> = (0..10_001).map(|x| (x as f64, 0.0)).collect();
        points[4321].1 = 9.0;
        let thinned = thin(&points, 300);
        assert!(thinned.len() <= 302 && thinned[0].0 == 0.0 && thinned[thinned.len() - 1].0 == 10_000.0);
        let noisy = thin_noisy(&points, 300);
        assert!(noisy.len() <= 302 && noisy.contains(&(4321.0, 9.0)));
        assert!(noisy.is_sorted_by(|a, b| a.0 <= b.0));
        assert_eq!((thin(&[], 5), thin_noisy(&[], 5), trend(&[])), (vec![], vec![], vec![]));
    }
}
