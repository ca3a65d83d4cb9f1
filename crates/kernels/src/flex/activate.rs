//! Activations over slices.

use std::marker::PhantomData;

use super::{
    math::{normal, sigmoid},
    rows::{get, put},
    simd::{Kernel, Simd, dispatch},
};
use crate::Activation;

/// A function of one number with its derivative.
trait Function {
    fn value<S: Simd>(s: S, x: S::V) -> S::V;
    fn value_and_slope<S: Simd>(s: S, x: S::V) -> [S::V; 2];
}

struct Gelu;
struct GeluTanh;
struct QuickGelu;
struct Relu;
struct Silu;

impl Function for Gelu {
    #[inline(always)]
    fn value<S: Simd>(s: S, x: S::V) -> S::V {
        s.mul(x, normal(s, x).cumulative)
    }
    #[inline(always)]
    fn value_and_slope<S: Simd>(s: S, x: S::V) -> [S::V; 2] {
        let normal = normal(s, x);
        [s.mul(x, normal.cumulative), s.fma(x, normal.density, normal.cumulative)]
    }
}

/// `x · σ(scale · x)` and its slope `σ + x · σ · (1 − σ) · scale`.
#[inline(always)]
fn swish<S: Simd>(s: S, x: S::V, scale: f32) -> [S::V; 2] {
    let gate = sigmoid(s, s.mul(x, s.splat(scale)));
    let value = s.mul(x, gate);
    let change = s.mul(s.mul(value, s.sub(s.splat(1.0), gate)), s.splat(scale));
    [value, s.add(gate, change)]
}

impl Function for GeluTanh {
    #[inline(always)]
    fn value<S: Simd>(s: S, x: S::V) -> S::V {
        Self::value_and_slope(s, x)[0]
    }
    /// `½ x (1 + tanh u) = x · σ(2u)` with `u = √(2/π) (x + 0.044715 x³)`.
    #[inline(always)]
    fn value_and_slope<S: Simd>(s: S, x: S::V) -> [S::V; 2] {
        const ROOT: f32 = 1.595_769_1; // 2 √(2/π)
        let square = s.mul(x, x);
        let inner = s.fma(square, s.splat(ROOT * 0.044_715), s.splat(ROOT));
        let slope = s.fma(square, s.splat(3.0 * ROOT * 0.044_715), s.splat(ROOT));
        let gate = sigmoid(s, s.mul(x, inner));
        let value = s.mul(x, gate);
        [value, s.fma(s.mul(value, s.sub(s.splat(1.0), gate)), slope, gate)]
    }
}

impl Function for QuickGelu {
    #[inline(always)]
    fn value<S: Simd>(s: S, x: S::V) -> S::V {
        swish(s, x, 1.702)[0]
    }
    #[inline(always)]
    fn value_and_slope<S: Simd>(s: S, x: S::V) -> [S::V; 2] {
        swish(s, x, 1.702)
    }
}

impl Function for Relu {
    #[inline(always)]
    fn value<S: Simd>(s: S, x: S::V) -> S::V {
        s.max(x, s.splat(0.0))
    }
    #[inline(always)]
    fn value_and_slope<S: Simd>(s: S, x: S::V) -> [S::V; 2] {
        let zero = s.splat(0.0);
        // At 0 the slope is 0, as in Burn and PyTorch: only what is above has a negative opposite.
        [s.max(x, zero), s.if_negative(s.sub(zero, x), s.splat(1.0), zero)]
    }
}

impl Function for Silu {
    #[inline(always)]
    fn value<S: Simd>(s: S, x: S::V) -> S::V {
        swish(s, x, 1.0)[0]
    }
    #[inline(always)]
    fn value_and_slope<S: Simd>(s: S, x: S::V) -> [S::V; 2] {
        swish(s, x, 1.0)
    }
}

/// `y = activation(x + bias)`, where the bias, if there is one, repeats over rows of its length.
pub(crate) fn activate(activation: Activation, x: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    match activation {
        Activation::Gelu => dispatch(Forward::<Gelu> { x, bias, y, function: PhantomData }),
        Activation::GeluTanh => dispatch(Forward::<GeluTanh> { x, bias, y, function: PhantomData }),
        Activation::QuickGelu => dispatch(Forward::<QuickGelu> { x, bias, y, function: PhantomData }),
        Activation::Relu => dispatch(Forward::<Relu> { x, bias, y, function: PhantomData }),
        Activation::Silu => dispatch(Forward::<Silu> { x, bias, y, function: PhantomData }),
    }
}

/// Multiplies `gradient` by the slope at `x + bias`, and writes the activation again to `y`, if wanted.
pub(crate) fn reverse(
    activation: Activation,
    x: &[f32],
    bias: Option<&[f32]>,
    gradient: &mut [f32],
    y: Option<&mut [f32]>,
) {
    match activation {
        Activation::Gelu => dispatch(Reverse::<Gelu> { x, bias, gradient, y, function: PhantomData }),
        Activation::GeluTanh => dispatch(Reverse::<GeluTanh> { x, bias, gradient, y, function: PhantomData }),
        Activation::QuickGelu => dispatch(Reverse::<QuickGelu> { x, bias, gradient, y, function: PhantomData }),
        Activation::Relu => dispatch(Reverse::<Relu> { x, bias, gradient, y, function: PhantomData }),
        Activation::Silu => dispatch(Reverse::<Silu> { x, bias, gradient, y, function: PhantomData }),
    }
}

struct Forward<'a, F> {
    x: &'a [f32],
    bias: Option<&'a [f32]>,
    y: &'a mut [f32],
    function: PhantomData<F>,
}

impl<F: Function> Kernel for Forward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.bias.map_or(self.x.len(), <[f32]>::len).max(1);
        for (x, y) in self.x.chunks_exact(width).zip(self.y.chunks_exact_mut(width)) {
            for i in (0..width).step_by(S::LANES) {
                let mut x = get(s, x, i);
                if let Some(bias) = self.bias {
                    x = s.add(x, get(s, bias, i));
                }
                put(s, y, i, F::value(s, x));
            }
        }
    }
}

struct Reverse<'a, F> {
    x: &'a [f32],
    bias: Option<&'a [f32]>,
    gradient: &'a mut [f32],
    y: Option<&'a mut [f32]>,
    function: PhantomData<F>,
}

impl<F: Function> Kernel for Reverse<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let width = self.bias.map_or(self.x.len(), <[f32]>::len).max(1);
        for (row, (x, gradient)) in self.x.chunks_exact(width).zip(self.gradient.chunks_exact_mut(width)).enumerate() {
            for i in (0..width).step_by(S::LANES) {
                let mut x = get(s, x, i);
                if let Some(bias) = self.bias {
                    x = s.add(x, get(s, bias, i));
                }
                let [value, slope] = F::value_and_slope(s, x);
                put(s, gradient, i, s.mul(get(s, gradient, i), slope));
                if let Some(y) = &mut self.y {
                    put(s, &mut y[row * width..][..width], i, value);
                }
            }
        }
    }
}
