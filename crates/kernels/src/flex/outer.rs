//! Gradients of weights: products over all rows of a batch.

use rayon::prelude::*;

use super::{
    panels::{Panels, Strided},
    product::{Product, Start, Window},
    scratch::with_scratch,
    simd::panel_width,
};

/// Rows that are packed at a time: what a piece reads then stays in the second cache.
const ROW_BLOCK: usize = 192;

/// Width of a left operand whose columns are read as they lie; in wider ones the rows of a column
/// push each other out of the first cache, and it is packed.
const NEAR: usize = 256;

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
    left: &'a [f32],
    left_stride: usize,
    right: &'a [f32],
    right_stride: usize,
    rows: usize,
    inputs: usize,
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
            left,
            left_stride: inputs,
            right,
            right_stride: outputs,
            rows,
            inputs,
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
        let height = self.inputs.div_ceil(share).next_multiple_of(panel_width());
        let mut pieces = Vec::new();
        let mut rest = self;
        while rest.inputs > height {
            let (output, after) = rest.output.split_rows(height);
            pieces.push(Piece { output, inputs: height, ..rest });
            rest = Piece { left: &rest.left[height..], inputs: rest.inputs - height, output: after, ..rest };
        }
        pieces.push(rest);
        pieces
    }

    fn run(self) {
        with_scratch(|scratch| self.run_with(&mut scratch.panels));
    }

    fn run_with(mut self, [left, right]: &mut [Panels; 2]) {
        for first in (0..self.rows).step_by(ROW_BLOCK) {
            let count = ROW_BLOCK.min(self.rows - first);
            let start = if self.fresh && first == 0 { Start::Zero } else { Start::Output };
            right.repack(
                Strided::rows(&self.right[first * self.right_stride..], self.right_stride),
                count,
                self.outputs,
            );
            let rows = &self.left[first * self.left_stride..];
            if self.left_stride <= NEAR {
                let left = Strided::columns(rows, self.left_stride);
                Product { left, right, rows: self.inputs, output: self.output.again(), start }.run();
                continue;
            }
            left.repack(Strided::rows(rows, self.left_stride), count, self.inputs);
            let mut rest = self.output.again();
            for panel in 0..left.count() {
                let (left, rows) = left.transposed_panel(panel);
                let (output, below) = rest.split_rows(rows);
                Product { left, right, rows, output, start }.run();
                rest = below;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "a measurement"]
    fn speed() {
        for (rows, inputs, outputs) in
            [(256, 192, 576), (256, 192, 192), (256, 192, 768), (256, 768, 192), (65, 192, 768), (1040, 192, 768)]
        {
            let (left, right) = (vec![0.5; rows * inputs], vec![0.5; rows * outputs]);
            let mut output = vec![0.0; inputs * outputs];
            let mut best = f64::INFINITY;
            for _ in 0..200 {
                let time = std::time::Instant::now();
                run_all(vec![Outer { left: &left, right: &right, inputs, outputs, output: &mut output, fresh: true }]);
                best = best.min(time.elapsed().as_secs_f64());
            }
            let flops = 2.0 * (rows * inputs * outputs) as f64;
            println!("[{rows}, {inputs}, {outputs}]: {:.1} GFLOP/s", flops / best / 1e9);
        }
    }
}
