//! Elementary functions of vectors.

use super::simd::Simd;

/// `e^x` to about one unit in the last place (the polynomial of Cephes' `expf`); inputs below −87
/// give the smallest normal numbers.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.min(s.max(x, s.splat(-87.0)), s.splat(88.0));
    // Adding and subtracting 1.5 · 2^23 rounds to a whole number.
    let magic = s.splat(12_582_912.0);
    let n = s.sub(s.fma(x, s.splat(std::f32::consts::LOG2_E), magic), magic);
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.987_569_1e-4);
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = s.fma(p, r, s.splat(c));
    }
    let y = s.add(s.fma(s.mul(p, r), r, r), s.splat(1.0));
    s.mul(y, s.power_of_two(n))
}

/// `1 / (1 + e^−x)`.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))))
}

/// The normal distribution at a point.
pub(crate) struct Normal<V> {
    /// Φ
    pub(crate) cumulative: V,
    /// φ
    pub(crate) density: V,
}

/// Φ and φ, which share an exponential.
///
/// `erfc(z) = t · e^(−z²) · P(t)` with `t = 1 / (1 + 0.3 z)`, the form of Abramowitz and Stegun
/// 7.1.26. `P` of degree 8 was fitted to a relative error below 2e-8 on 0 ≤ z ≤ 10, so that the
/// lower tail keeps its relative precision.
#[inline(always)]
pub(crate) fn normal<S: Simd>(s: S, x: S::V) -> Normal<S::V> {
    let one = s.splat(1.0);
    let z = s.mul(s.abs(x), s.splat(std::f32::consts::FRAC_1_SQRT_2));
    let t = s.div(one, s.fma(z, s.splat(0.3), one));
    let mut p = s.splat(-0.129_522_32);
    for c in [
        0.485_560_24,
        -0.512_271_7,
        0.547_712_36,
        -0.094_645_19,
        0.214_923_59,
        0.148_339_83,
        0.170_715_13,
        0.169_188_01,
    ] {
        p = s.fma(p, t, s.splat(c));
    }
    let e = exp(s, s.sub(s.splat(0.0), s.mul(z, z)));
    let tail = s.mul(s.mul(p, t), s.mul(e, s.splat(0.5)));
    Normal { cumulative: s.if_negative(x, tail, s.sub(one, tail)), density: s.mul(e, s.splat(0.398_942_28)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flex::{
        rows::{get, put},
        simd::{Kernel, dispatch, on_each_level},
    };

    struct Evaluate<'a> {
        x: &'a [f32],
        exp: &'a mut [f32],
        cumulative: &'a mut [f32],
    }

    impl Kernel for Evaluate<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for i in (0..self.x.len()).step_by(S::LANES) {
                let x = get(s, self.x, i);
                put(s, self.exp, i, exp(s, x));
                put(s, self.cumulative, i, normal(s, x).cumulative);
            }
        }
    }

    fn check() {
        let x: Vec<f32> = (-8000..=8000).map(|i| i as f32 * 1e-2).collect();
        let (mut e, mut cumulative) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        dispatch(Evaluate { x: &x, exp: &mut e, cumulative: &mut cumulative });
        for (i, &x) in x.iter().enumerate() {
            let expected = f64::from(x).exp();
            assert!((f64::from(e[i]) / expected - 1.0).abs() < 3e-7, "exp({x}) = {}", e[i]);
            // Rounding z² costs the lower tail as many last places as z² is large.
            let (found, exact) = (f64::from(cumulative[i]), reference(f64::from(x)));
            let tolerance = 4e-7 * (1.0 + f64::from(x).powi(2)) * exact;
            assert!(x < -9.0 || (found - exact).abs() < tolerance, "Φ({x}) = {found}, {exact}");
        }
    }

    /// Φ by Simpson's rule from far below.
    fn reference(x: f64) -> f64 {
        if x < -12.0 {
            return 0.0;
        }
        if x > 12.0 {
            return 1.0;
        }
        let (from, steps) = (-13.0, 4000);
        let h = (x - from) / steps as f64;
        let density = |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt();
        let inner = |i: usize| (if i % 2 == 1 { 4.0 } else { 2.0 }) * density(from + i as f64 * h);
        h / 3.0 * (density(from) + density(x) + (1..steps).map(inner).sum::<f64>())
    }

    #[test]
    fn exponential_and_normal_are_exact_to_the_last_places() {
        check();
        on_each_level(check);
    }
}
