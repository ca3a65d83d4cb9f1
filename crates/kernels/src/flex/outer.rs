//! Gradients of weights: products over all rows of a batch.

use rayon::prelude::*;

use super::{
    product::{Panels, Product, Start, Strided, Window},
    scratch::with_scratch,
    simd::panel_width,
};

/// Rows that are packed at a time: what a piece reads then stays in the second cache.
const ROW_BLOCK: usize = 256;

/// `output += leftᵀ · right` over rows, the gradient of a weight.
pub(crate) struct Outer<'a> {
    /// What went into the product, `[rows, inputs]`.
    pub(crate) left: &'a [f32],
    /// The gradient of what came out, `[rows, outputs]`.
    pub(crate) right: &'a [f32],
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// `[inputs, outputs]`
    pub(crate) output: &'a mut [f32],
    /// Whether `output` starts from zero rather than from what stands in it.
    pub(crate) fresh: bool,
}

/// Part of an [`Outer`] that one thread computes.
struct Piece<'a> {
    left: Strided<'a>,
    right: &'a [f32],
    rows: usize,
    inputs: usize,
    /// Columns of `right`.
    stride: usize,
    outputs: usize,
    output: Window<'a>,
    fresh: bool,
}

/// Computes all of them, cut into pieces for all threads. How they are cut changes no result.
pub(crate) fn run_all(outers: Vec<Outer>) {
    let pieces = 2 * rayon::current_num_threads();
    let total: usize = outers.iter().map(|outer| outer.inputs * outer.outputs).sum();
    let share = |outer: &Outer| (pieces * outer.inputs * outer.outputs).div_ceil(total.max(1));
    let mut pieces: Vec<Piece> = outers.into_iter().flat_map(|outer| outer.cut(share)).collect();
    // The largest first, so that the threads end together.
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.inputs * piece.outputs));
    pieces.into_par_iter().with_max_len(1).for_each(Piece::run);
}

impl<'a> Outer<'a> {
    fn cut(self, share: impl Fn(&Self) -> usize) -> Vec<Piece<'a>> {
        let share = share(&self);
        let Self { left, right, inputs, outputs, output, fresh } = self;
        let rows = left.len() / inputs.max(1);
        assert_eq!(right.len(), rows * outputs, "gradient and input differ in rows");
        if rows == 0 {
            if fresh {
                output.fill(0.0);
            }
            return Vec::new();
        }
        let whole = Piece {
            left: Strided::columns(left, inputs),
            right,
            rows,
            inputs,
            stride: outputs,
            outputs,
            output: Window::new(output, outputs),
            fresh,
        };
        if outputs >= inputs { whole.cut_outputs(share) } else { whole.cut_inputs(share) }
    }
}

impl<'a> Piece<'a> {
    fn cut_outputs(self, share: usize) -> Vec<Self> {
        let width = self.outputs.div_ceil(share).next_multiple_of(panel_width());
        let mut pieces = Vec::new();
        let mut rest = self;
        while rest.outputs > width {
            let (output, after) = rest.output.split(width);
            pieces.push(Piece { output, outputs: width, ..rest });
            rest = Piece { right: &rest.right[width..], outputs: rest.outputs - width, output: after, ..rest };
        }
        pieces.push(rest);
        pieces
    }

    fn cut_inputs(self, share: usize) -> Vec<Self> {
        // A multiple of every tile's height but one, and never a sliver.
        let height = self.inputs.div_ceil(share).next_multiple_of(12);
        let mut pieces = Vec::new();
        let mut rest = self;
        while rest.inputs > height {
            let (output, after) = rest.output.split_rows(height);
            pieces.push(Piece { output, inputs: height, ..rest });
            let left = Strided { values: &rest.left.values[height..], ..rest.left };
            rest = Piece { left, inputs: rest.inputs - height, output: after, ..rest };
        }
        pieces.push(rest);
        pieces
    }

    fn run(self) {
        with_scratch(|scratch| self.run_with(&mut scratch.panels));
    }

    fn run_with(mut self, panels: &mut Panels) {
        for first in (0..self.rows).step_by(ROW_BLOCK) {
            let count = ROW_BLOCK.min(self.rows - first);
            panels.repack(Strided::rows(&self.right[first * self.stride..], self.stride), count, self.outputs);
            let left = Strided { values: &self.left.values[first * self.left.column..], ..self.left };
            let start = if self.fresh && first == 0 { Start::Zero } else { Start::Output };
            Product { left, right: panels, rows: self.inputs, output: self.output.again(), start }.run();
        }
    }
}
