//! From values to places along an axis, with ticks at round numbers.

use crate::number::{fixed, scientific};

/// One axis of a chart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    pub low: f64,
    pub high: f64,
    pub log: bool,
    pub ticks: Vec<Tick>,
}

/// A labelled value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub value: f64,
    pub label: String,
}

impl Axis {
    /// From `low` to `high` exactly, ticks inside.
    pub(crate) fn snug(low: f64, high: f64, count: usize) -> Self {
        let (low, high) = widen(low, high);
        let step = round_step((high - low) / count as f64);
        Self { low, high, log: false, ticks: ticks(low, high, step) }
    }

    /// From a tick below `low` to a tick above `high`; from 0 if that wastes little room.
    pub(crate) fn rounded(low: f64, high: f64, count: usize) -> Self {
        let near_zero = low > 0.0 && low < 0.4 * high;
        let (low, high) = widen(if near_zero { 0.0 } else { low }, high);
        let step = round_step((high - low) / count as f64);
        let (low, high) = ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step);
        Self { low, high, log: false, ticks: ticks(low, high, step) }
    }

    /// Logarithmic, for `0 < low <= high`; ticks at powers of ten, and between if there are few.
    pub(crate) fn logarithmic(low: f64, high: f64) -> Self {
        let (low, high) = if low < high { (low, high) } else { (low / 2.0, low * 2.0) };
        let decades = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let dense = high / low < 1e3;
        let every = ((decades.1 - decades.0 + 5) / 6).max(1);
        let parts: &[f64] = if dense { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let powers = (decades.0..=decades.1).filter(|power| power % every == 0);
        let all: Vec<f64> = powers.flat_map(|power| parts.iter().map(move |part| part * 10_f64.powi(power))).collect();
        // Stretch to the ticks just outside.
        let low = all.iter().copied().filter(|tick| *tick <= low * (1.0 + 1e-9)).fold(low, |_, tick| tick);
        let high = all.iter().copied().find(|tick| *tick >= high * (1.0 - 1e-9)).unwrap_or(high);
        let inside = all.into_iter().filter(|tick| (low * 0.999..=high * 1.001).contains(tick));
        let ticks = inside.map(|value| Tick { value, label: plain(value) }).collect();
        Self { low, high, log: true, ticks }
    }

    /// Where a value stands: 0 at the low end, 1 at the high end.
    pub(crate) fn place(&self, value: f64) -> f64 {
        if self.log {
            return (value / self.low).ln() / (self.high / self.low).ln();
        }
        (value - self.low) / (self.high - self.low)
    }

    /// Letters in the longest label.
    pub(crate) fn longest_label(&self) -> usize {
        self.ticks.iter().map(|tick| tick.label.chars().count()).max().unwrap_or(0)
    }
}

fn widen(low: f64, high: f64) -> (f64, f64) {
    if high - low > high.abs() * 1e-9 {
        return (low, high);
    }
    let room = if low == 0.0 { 1.0 } else { low.abs() / 2.0 };
    (low - room, high + room)
}

/// The next 1, 2 or 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let leading = [1.0, 2.0, 5.0].into_iter().find(|leading| leading * power >= step * (1.0 - 1e-9));
    leading.unwrap_or(10.0) * power
}

fn ticks(low: f64, high: f64, step: f64) -> Vec<Tick> {
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    let largest = low.abs().max(high.abs());
    let decimals = (-(step * 1.000_001).log10().floor()).max(0.0) as usize;
    let label = |value: f64| match largest {
        _ if value == 0.0 => "0".to_owned(),
        _ if largest >= 1e4 && step >= 1e2 => thousand(value, step),
        _ if largest < 1e-3 => scientific(value, 1),
        _ => fixed(value, decimals),
    };
    (first..=last).map(|n| n as f64 * step).map(|value| Tick { value, label: label(value) }).collect()
}

/// `20k`, `1.5M`.
fn thousand(value: f64, step: f64) -> String {
    let (unit, name) = if step >= 1e5 { (1e6, "M") } else { (1e3, "k") };
    let decimals = (-(step / unit * 1.000_001).log10().floor()).max(0.0) as usize;
    format!("{}{name}", fixed(value / unit, decimals))
}

fn plain(value: f64) -> String {
    match value {
        _ if (1e4..1e6).contains(&value) => thousand(value, 1e3),
        _ if (1e-3..1e4).contains(&value) => value.to_string(),
        _ => scientific(value, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&Axis::rounded(0.31, 4.83, 5)), ["0", "1", "2", "3", "4", "5"]);
        assert_eq!(
            labels(&Axis::rounded(0.003, 0.41, 5)),
            ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"].map(|l| if l == "0.0" { "0" } else { l })
        );
        assert_eq!(labels(&Axis::rounded(4.1, 4.9, 4)), ["4.0", "4.2", "4.4", "4.6", "4.8", "5.0"]);
        assert_eq!(labels(&Axis::snug(1.0, 690.0, 5)), ["200", "400", "600"]);
        assert_eq!(labels(&Axis::snug(0.0, 60_000.0, 4)), ["0", "20k", "40k", "60k"]);
        assert_eq!(labels(&Axis::rounded(0.0, 3e-4, 3)), ["0", "1e−4", "2e−4", "3e−4"]);
        assert_eq!(labels(&Axis::rounded(-2.0, 1.0, 3)), ["−2", "−1", "0", "1"]);
        assert_eq!(labels(&Axis::logarithmic(0.3, 40.0)), ["0.2", "0.5", "1", "2", "5", "10", "20", "50"]);
        assert_eq!(labels(&Axis::logarithmic(1e-4, 40.0)).len(), 7);
    }

    #[test]
    fn places_run_from_end_to_end() {
        for axis in [
            Axis::rounded(0.3, 7.7, 4),
            Axis::logarithmic(0.02, 300.0),
            Axis::snug(5.0, 5.0, 3),
            Axis::snug(0.0, 0.0, 3),
        ] {
            assert!(axis.place(axis.low).abs() < 1e-9 && (axis.place(axis.high) - 1.0).abs() < 1e-9);
            assert!(axis.ticks.iter().all(|tick| (-1e-6..=1.000_001).contains(&axis.place(tick.value))), "{axis:?}");
            assert!((1..=9).contains(&axis.ticks.len()), "{axis:?}");
        }
    }
}
