//! Noisy curves made readable, long ones made short.

/// A point of a curve.
pub(crate) type Point = (f64, f64);

/// The curve's trend: twice a local linear fit over about a twentieth of the points. Within the
/// curve that is a centred mean; at its ends neither lag nor the noise of single points shows.
pub(crate) fn trend(points: &[Point]) -> Vec<Point> {
    let reach = points.len() / 40;
    let values: Vec<f64> = points.iter().map(|point| point.1).collect();
    let fitted = local_line(&local_line(&values, reach), reach);
    points.iter().zip(fitted).map(|(point, value)| (point.0, value)).collect()
}

/// At each place, the line of least squares through the values up to `reach` places away.
fn local_line(values: &[f64], reach: usize) -> Vec<f64> {
    // Sums of all values before a place, and of these times their places.
    let mut sums = vec![(0.0, 0.0)];
    for (place, value) in values.iter().enumerate() {
        let (sum, moment) = sums[place];
        sums.push((sum + value, moment + place as f64 * value));
    }
    let fit = |place: usize| {
        let (start, end) = (place.saturating_sub(reach), (place + reach + 1).min(values.len()));
        let (sum, moment) = (sums[end].0 - sums[start].0, sums[end].1 - sums[start].1);
        let count = (end - start) as f64;
        let centre = (start + end - 1) as f64 / 2.0;
        let spread = count * (count * count - 1.0) / 12.0;
        let slope = if spread > 0.0 { (moment - centre * sum) / spread } else { 0.0 };
        sum / count + slope * (place as f64 - centre)
    };
    (0..values.len()).map(fit).collect()
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
        assert!(trend(&noise).iter().all(|point| point.1.abs() < 0.2));
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
