//! Operations on the rows of a matrix: norms and their backward passes, sums of columns.

use rayon::prelude::*;

use super::{
    buffer::Buffer,
    simd::{Kernel, Simd, dispatch},
};

/// The vector at `at`; lanes beyond the slice are 0.
#[inline(always)]
pub(crate) fn get<S: Simd>(s: S, x: &[f32], at: usize) -> S::V {
    let left = x.len() - at;
    // SAFETY: reads no more than the `left` numbers from `at`, which is within the slice.
    unsafe {
        let at = x.as_ptr().add(at);
        if left >= S::LANES { s.load(at) } else { s.load_first(at, left) }
    }
}

/// Writes the vector at `at`; lanes beyond the slice are dropped.
#[inline(always)]
pub(crate) fn put<S: Simd>(s: S, x: &mut [f32], at: usize, v: S::V) {
    let left = x.len() - at;
    // SAFETY: writes no more than the `left` numbers from `at`, which is within the slice.
    unsafe {
        let at = x.as_mut_ptr().add(at);
        if left >= S::LANES { s.store(at, v) } else { s.store_first(at, left, v) }
    }
}

struct Moments {
    mean: f32,
    /// One over the standard deviation.
    inverse: f32,
}

/// In two passes, so that a large mean costs no precision.
#[inline(always)]
fn moments<S: Simd>(s: S, x: &[f32], epsilon: f32) -> Moments {
    let width = x.len() as f32;
    let mut sum = s.splat(0.0);
    for i in (0..x.len()).step_by(S::LANES) {
        sum = s.add(sum, get(s, x, i));
    }
    let mean = s.sum(sum) / width;
    let mut squares = s.splat(0.0);
    let whole = x.len() / S::LANES * S::LANES;
    for i in (0..whole).step_by(S::LANES) {
        let centred = s.sub(get(s, x, i), s.splat(mean));
        squares = s.fma(centred, centred, squares);
    }
    let rest: f32 = x[whole..].iter().map(|x| (x - mean) * (x - mean)).sum();
    let variance = (s.sum(squares) + rest) / width;
    Moments { mean, inverse: 1.0 / (variance + epsilon).sqrt() }
}

/// Layer normalisation of rows as wide as `gamma`.
pub(crate) struct Norm<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) gamma: &'a [f32],
    pub(crate) beta: &'a [f32],
    pub(crate) epsilon: f32,
}

impl Norm<'_> {
    /// Writes the normalised rows.
    pub(crate) fn forward(self, output: &mut [f32]) {
        dispatch(Forward { norm: self, output });
    }

    /// Adds the gradient of `x` to `dx`, and those of the parameters to `dgamma` and `dbeta`.
    /// Writes the normalised rows again to `output`, if wanted.
    pub(crate) fn backward(self, dy: &[f32], gradients: NormGradients, output: Option<&mut [f32]>) {
        dispatch(Reverse { norm: self, dy, gradients, output });
    }
}

/// Where [`Norm::backward`] adds.
pub(crate) struct NormGradients<'a> {
    pub(crate) dx: &'a mut [f32],
    pub(crate) dgamma: &'a mut [f32],
    pub(crate) dbeta: &'a mut [f32],
}

struct Forward<'a> {
    norm: Norm<'a>,
    output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Norm { x, gamma, beta, epsilon } = self.norm;
        let width = gamma.len();
        for (x, y) in x.chunks_exact(width).zip(self.output.chunks_exact_mut(width)) {
            let Moments { mean, inverse } = moments(s, x, epsilon);
            write_normed(s, x, [gamma, beta], [mean, inverse], y);
        }
    }
}

#[inline(always)]
fn write_normed<S: Simd>(s: S, x: &[f32], [gamma, beta]: [&[f32]; 2], [mean, inverse]: [f32; 2], y: &mut [f32]) {
    for i in (0..x.len()).step_by(S::LANES) {
        let normed = s.mul(s.sub(get(s, x, i), s.splat(mean)), s.splat(inverse));
        put(s, y, i, s.fma(normed, get(s, gamma, i), get(s, beta, i)));
    }
}

struct Reverse<'a> {
    norm: Norm<'a>,
    dy: &'a [f32],
    gradients: NormGradients<'a>,
    output: Option<&'a mut [f32]>,
}

impl Kernel for Reverse<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let Norm { x, gamma, beta, epsilon } = self.norm;
        let NormGradients { dx, dgamma, dbeta } = self.gradients;
        let width = gamma.len();
        let rows = x.chunks_exact(width).zip(self.dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
        for (row, ((x, dy), dx)) in rows.enumerate() {
            let Moments { mean, inverse } = moments(s, x, epsilon);
            // With n the normalised row and w = dy · gamma: dx = inverse · (w − mean(w) − n · mean(w · n)).
            let (mut sum, mut product) = (s.splat(0.0), s.splat(0.0));
            for i in (0..width).step_by(S::LANES) {
                let normed = s.mul(s.sub(get(s, x, i), s.splat(mean)), s.splat(inverse));
                let dy = get(s, dy, i);
                let w = s.mul(dy, get(s, gamma, i));
                sum = s.add(sum, w);
                product = s.fma(w, normed, product);
                put(s, dgamma, i, s.fma(dy, normed, get(s, dgamma, i)));
                put(s, dbeta, i, s.add(dy, get(s, dbeta, i)));
            }
            let sum = s.splat(s.sum(sum) / width as f32);
            let product = s.splat(s.sum(product) / width as f32);
            for i in (0..width).step_by(S::LANES) {
                let normed = s.mul(s.sub(get(s, x, i), s.splat(mean)), s.splat(inverse));
                let w = s.mul(get(s, dy, i), get(s, gamma, i));
                let change = s.sub(s.sub(w, sum), s.mul(normed, product));
                put(s, dx, i, s.fma(change, s.splat(inverse), get(s, dx, i)));
            }
            if let Some(output) = &mut self.output {
                write_normed(s, x, [gamma, beta], [mean, inverse], &mut output[row * width..][..width]);
            }
        }
    }
}

/// Numbers in a part of rows of a width that one thread takes at a time. Sums over rows are made of
/// parts, so this depends on the matrix alone.
pub(crate) fn part_length(numbers: usize, width: usize) -> usize {
    let rows = numbers / width.max(1);
    (rows.div_ceil(256).max((1 << 14) / width.max(1)).max(1) * width).max(1)
}

/// Each column's sum over the rows of `x`, the same on any number of threads.
pub(crate) fn column_sums(x: &[f32], width: usize) -> Buffer {
    let part = part_length(x.len(), width);
    let mut shares = Buffer::zeros(x.len().div_ceil(part) * width);
    x.par_chunks(part).zip(shares.par_chunks_mut(width)).for_each(|(x, share)| add_column_sums(x, share));
    let mut sums = Buffer::zeros(width);
    add_column_sums(&shares, &mut sums);
    sums
}

/// Adds each column's sum over the rows of `x` to `sums`.
pub(crate) fn add_column_sums(x: &[f32], sums: &mut [f32]) {
    dispatch(ColumnSums { x, sums });
}

struct ColumnSums<'a> {
    x: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for ColumnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.sums.len();
        for x in self.x.chunks_exact(width) {
            for i in (0..width).step_by(S::LANES) {
                put(s, self.sums, i, s.add(get(s, self.sums, i), get(s, x, i)));
            }
        }
    }
}
