//! Attention of one sample from the rows of a fused projection. Scores exist for a few queries at
//! a time and are computed again in the backward pass.

use super::{
    buffer::Buffer,
    math::exp,
    panels::{Panels, Strided},
    product::{Product, Start, Window},
    rows::{get, put},
    simd::{Kernel, Simd, dispatch},
};
use crate::AttentionOptions;

/// Scores that are held at a time: half of a usual second cache, in both directions together.
const SCORES: usize = 24 * 1024;

/// Memory that one thread needs, used again from sample to sample.
#[derive(Default)]
pub(crate) struct Scratch {
    weights: Buffer,
    changes: Buffer,
    keys: Panels,
    keys_transposed: Panels,
    values: Panels,
    queries: Panels,
    gradients: Panels,
}

/// Self-attention of one sample, all of whose tokens are real.
#[derive(Clone, Copy)]
pub(crate) struct Sample<'a> {
    /// `[tokens, 3 · width]`
    pub(crate) qkv: &'a [f32],
    pub(crate) tokens: usize,
    pub(crate) width: usize,
    pub(crate) options: AttentionOptions,
}

/// Where a head's queries, keys and values begin in a row.
#[derive(Clone, Copy)]
struct Head {
    query: usize,
    key: usize,
    value: usize,
    output: usize,
}

impl<'a> Sample<'a> {
    fn heads(self) -> impl Iterator<Item = Head> {
        let (width, head_width) = (self.width, self.head_width());
        (0..self.options.heads).map(move |head| {
            let output = head * head_width;
            Head { query: output, key: width + output, value: 2 * width + output, output }
        })
    }

    fn head_width(self) -> usize {
        self.width / self.options.heads
    }

    fn scale(self) -> f32 {
        (self.head_width() as f32).sqrt().recip()
    }

    /// Distance of rows of scores: whole cache lines.
    fn stride(self) -> usize {
        self.tokens.next_multiple_of(16)
    }

    /// Ranges of queries whose scores are held together.
    fn query_blocks(self) -> impl Iterator<Item = (usize, usize)> {
        let most = (SCORES / self.stride()).max(8);
        let blocks = self.tokens.div_ceil(most);
        let length = self.tokens.div_ceil(blocks);
        (0..blocks).map(move |block| (block * length, length.min(self.tokens - block * length)))
    }

    fn rows(self, column: usize) -> Strided<'a> {
        Strided::rows(&self.qkv[column..], 3 * self.width)
    }

    fn transposed(self, column: usize) -> Strided<'a> {
        Strided::columns(&self.qkv[column..], 3 * self.width)
    }

    /// `weights[queries of the block, keys]`, the softmax of the scores.
    fn weigh(self, head: Head, (first, count): (usize, usize), keys: &Panels, weights: &mut [f32]) {
        let left = self.rows(first * 3 * self.width + head.query);
        let stride = self.stride();
        Product { left, right: keys, rows: count, output: Window::new(weights, stride), start: Start::Zero }.run();
        let visible = if self.options.causal { Visible::UpTo(first) } else { Visible::All };
        dispatch(Softmax { scores: weights, stride, rows: count, keys: self.tokens, visible, scale: self.scale() });
    }

    /// Writes `[tokens, width]`.
    pub(crate) fn forward(self, output: &mut [f32], scratch: &mut Scratch) {
        if self.tokens == 0 {
            return;
        }
        let (tokens, width, head_width) = (self.tokens, self.width, self.head_width());
        let Scratch { weights, keys_transposed, values, .. } = scratch;
        for head in self.heads() {
            keys_transposed.repack(self.transposed(head.key), head_width, tokens);
            values.repack(self.rows(head.value), tokens, head_width);
            for (first, count) in self.query_blocks() {
                weights.resize(count * self.stride());
                self.weigh(head, (first, count), keys_transposed, weights);
                let left = Strided::rows(weights, self.stride());
                let output = &mut output[first * width + head.output..];
                Product { left, right: values, rows: count, output: Window::new(output, width), start: Start::Zero }
                    .run();
            }
        }
    }

    /// Writes the gradient of `qkv`, from that of the output.
    pub(crate) fn backward(self, gradient: &[f32], output: &mut [f32], scratch: &mut Scratch) {
        if self.tokens == 0 {
            return;
        }
        for head in self.heads() {
            self.backward_head(head, gradient, output, scratch);
        }
    }

    fn backward_head(self, head: Head, gradient: &[f32], output: &mut [f32], scratch: &mut Scratch) {
        let (tokens, width, head_width, stride) = (self.tokens, self.width, self.head_width(), self.stride());
        let Scratch { weights, changes, keys, keys_transposed, values, queries, gradients } = scratch;
        keys_transposed.repack(self.transposed(head.key), head_width, tokens);
        keys.repack(self.rows(head.key), tokens, head_width);
        values.repack(self.transposed(head.value), head_width, tokens);
        for (first, count) in self.query_blocks() {
            let start = if first == 0 { Start::Zero } else { Start::Output };
            let row = first * 3 * width;
            weights.resize(count * stride);
            changes.resize(count * stride);
            queries.repack(self.rows(row + head.query), count, head_width);
            let gradient = Strided::rows(&gradient[first * width + head.output..], width);
            gradients.repack(gradient, count, head_width);
            self.weigh(head, (first, count), keys_transposed, weights);
            // dV += Wᵀ · dO
            let (left, output_value) = (Strided::columns(weights, stride), &mut output[head.value..]);
            Product { left, right: gradients, rows: tokens, output: Window::new(output_value, 3 * width), start }.run();
            // dW = dO · Vᵀ, and from it the change of the scores
            Product {
                left: gradient,
                right: values,
                rows: count,
                output: Window::new(changes, stride),
                start: Start::Zero,
            }
            .run();
            dispatch(SoftmaxReverse { weights, changes, stride, rows: count, keys: tokens, scale: self.scale() });
            // dQ = dS · K
            let (left, output_query) = (Strided::rows(changes, stride), &mut output[row + head.query..]);
            Product {
                left,
                right: keys,
                rows: count,
                output: Window::new(output_query, 3 * width),
                start: Start::Zero,
            }
            .run();
            // dK += dSᵀ · Q
            let (left, output_key) = (Strided::columns(changes, stride), &mut output[head.key..]);
            Product { left, right: queries, rows: tokens, output: Window::new(output_key, 3 * width), start }.run();
        }
    }
}

#[derive(Clone, Copy)]
enum Visible {
    All,
    /// The first row sees this key and those before, each following row one more.
    UpTo(usize),
}

/// `softmax(scale · scores)` of each row in place.
struct Softmax<'a> {
    scores: &'a mut [f32],
    stride: usize,
    rows: usize,
    keys: usize,
    visible: Visible,
    scale: f32,
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (i, row) in self.scores.chunks_mut(self.stride).take(self.rows).enumerate() {
            let visible = match self.visible {
                Visible::All => self.keys,
                Visible::UpTo(first) => first + i + 1,
            };
            row[visible..self.keys].fill(0.0);
            softmax(s, &mut row[..visible], self.scale);
        }
    }
}

#[inline(always)]
fn softmax<S: Simd>(s: S, row: &mut [f32], scale: f32) {
    let whole = row.len() / S::LANES * S::LANES;
    let mut largest = s.splat(f32::NEG_INFINITY);
    for i in (0..whole).step_by(S::LANES) {
        largest = s.max(largest, get(s, row, i));
    }
    let largest = row[whole..].iter().copied().fold(s.largest(largest), f32::max);
    let (scale_by, shift) = (s.splat(scale), s.splat(-largest * scale));
    let mut sum = s.splat(0.0);
    for i in (0..row.len()).step_by(S::LANES) {
        let e = exp(s, s.fma(get(s, row, i), scale_by, shift));
        put(s, row, i, e);
        sum = s.add(sum, get(s, row, i));
    }
    let inverse = s.splat(s.sum(sum).recip());
    for i in (0..row.len()).step_by(S::LANES) {
        put(s, row, i, s.mul(get(s, row, i), inverse));
    }
}

/// Turns the gradient of the weights into that of the scores.
struct SoftmaxReverse<'a> {
    weights: &'a [f32],
    changes: &'a mut [f32],
    stride: usize,
    rows: usize,
    keys: usize,
    scale: f32,
}

impl Kernel for SoftmaxReverse<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.weights.chunks(self.stride).zip(self.changes.chunks_mut(self.stride)).take(self.rows);
        for (weights, changes) in rows {
            let (weights, changes) = (&weights[..self.keys], &mut changes[..self.keys]);
            let mut dot = s.splat(0.0);
            for i in (0..self.keys).step_by(S::LANES) {
                dot = s.fma(get(s, weights, i), get(s, changes, i), dot);
            }
            let dot = s.splat(s.sum(dot));
            for i in (0..self.keys).step_by(S::LANES) {
                let change = s.mul(get(s, weights, i), s.sub(get(s, changes, i), dot));
                put(s, changes, i, s.mul(change, s.splat(self.scale)));
            }
        }
    }
}
