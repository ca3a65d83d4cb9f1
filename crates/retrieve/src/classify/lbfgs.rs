//! The minimum of a smooth convex function by L-BFGS (Nocedal & Wright 2006, algorithm 7.5).

use std::collections::VecDeque;

use ndarray::Array1;

/// Pairs of steps and changes of the gradient that the curvature is estimated from.
const MEMORY: usize = 10;
/// A step is taken if it falls by at least this share of what the slope promises.
const SUFFICIENT: f64 = 1e-4;
/// Halvings of a step before giving up.
const HALVINGS: usize = 30;

/// A value with its gradient.
pub(crate) struct Evaluated {
    pub value: f64,
    pub gradient: Array1<f64>,
}

/// Goes down from `start` until no number of the gradient is above `tolerance`, or for at most
/// `iterations` steps.
pub(crate) fn minimise(
    start: Array1<f64>,
    tolerance: f64,
    iterations: usize,
    evaluate: impl Fn(&Array1<f64>) -> Evaluated,
) -> Array1<f64> {
    let mut place = start;
    let mut here = evaluate(&place);
    let mut memory: VecDeque<Pair> = VecDeque::new();
    for _ in 0..iterations {
        if here.gradient.iter().all(|slope| slope.abs() <= tolerance) {
            break;
        }
        let direction = downhill(&memory, &here.gradient);
        let slope = direction.dot(&here.gradient);
        // Without curvature yet, the first step must not be longer than the gradient is steep.
        let first = if memory.is_empty() { 1.0 / here.gradient.dot(&here.gradient).sqrt().max(1.0) } else { 1.0 };
        let steps = (0..HALVINGS).map(|halving| first * 0.5_f64.powi(halving as i32));
        let tried = steps.map(|step| &place + &(&direction * step)).zip(0..).find_map(|(next, halving)| {
            let there = evaluate(&next);
            let promised = SUFFICIENT * first * 0.5_f64.powi(halving) * slope;
            (there.value <= here.value + promised).then_some((next, there))
        });
        // Where rounding hides any further fall, this is the minimum.
        let Some((next, there)) = tried else { break };
        let pair = Pair::new(&next - &place, &there.gradient - &here.gradient);
        memory.extend(pair);
        if memory.len() > MEMORY {
            memory.pop_front();
        }
        (place, here) = (next, there);
    }
    place
}

struct Pair {
    step: Array1<f64>,
    change: Array1<f64>,
    /// Of step and change.
    product: f64,
}

impl Pair {
    /// Nothing where rounding hides the curvature.
    fn new(step: Array1<f64>, change: Array1<f64>) -> Option<Self> {
        let product = step.dot(&change);
        (product > f64::EPSILON * change.dot(&change)).then_some(Self { step, change, product })
    }
}

/// Less the gradient times the estimate of the inverse curvature.
fn downhill(memory: &VecDeque<Pair>, gradient: &Array1<f64>) -> Array1<f64> {
    let mut direction = -gradient;
    let mut shares = Vec::with_capacity(memory.len());
    for Pair { step, change, product } in memory.iter().rev() {
        let share = step.dot(&direction) / product;
        direction.scaled_add(-share, change);
        shares.push(share);
    }
    if let Some(Pair { change, product, .. }) = memory.back() {
        direction *= product / change.dot(change);
    }
    for (Pair { step, change, product }, share) in memory.iter().zip(shares.into_iter().rev()) {
        let back = change.dot(&direction) / product;
        direction.scaled_add(share - back, step);
    }
    direction
}
