//! Matrix products with the right operand packed into panels.
//!
//! Every element is one chain `start + Σ a·b` in ascending order of the inner index, wherever it
//! stands in the matrix and however the work is split: results do not depend on the batch, on
//! padding or on threads.

use std::{hint::black_box, marker::PhantomData};

use super::{
    panels::{Panels, Strided},
    simd::{Kernel, Simd, dispatch, prefetch},
};

/// Columns of a matrix that is written, with rows `stride` apart.
pub(crate) struct Window<'a> {
    start: *mut f32,
    /// Numbers from `start` to the end of the matrix.
    length: usize,
    columns: usize,
    stride: usize,
    matrix: PhantomData<&'a mut [f32]>,
}

// SAFETY: a window is the only access to its columns, as a mutable slice would be.
unsafe impl Send for Window<'_> {}

impl<'a> Window<'a> {
    /// A whole matrix, or what follows its first number where its rows hold more than is written.
    pub(crate) fn new(matrix: &'a mut [f32], stride: usize) -> Self {
        Self { start: matrix.as_mut_ptr(), length: matrix.len(), columns: stride, stride, matrix: PhantomData }
    }

    /// The same window, for one of several writes.
    pub(crate) fn again(&mut self) -> Window<'_> {
        Window { matrix: PhantomData, ..*self }
    }

    /// The rows before `row`, and the others.
    pub(crate) fn split_rows(self, row: usize) -> (Self, Self) {
        // Of the last row a window of some columns may not reach the end.
        let first = (row * self.stride).min(self.length);
        let below = Self { start: self.start.wrapping_add(first), length: self.length - first, ..self };
        (Self { length: first, ..self }, below)
    }

    /// The columns before `column`, and the others.
    pub(crate) fn split(self, column: usize) -> (Self, Self) {
        assert!(column <= self.columns && column <= self.length, "no column {column}");
        let right = Self {
            start: self.start.wrapping_add(column),
            length: self.length - column,
            columns: self.columns - column,
            ..self
        };
        (Self { columns: column, ..self }, right)
    }
}

/// What a product starts from.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    /// Zero.
    Zero,
    /// A row added to each row.
    Bias(&'a [f32]),
    /// What stands in the output.
    Output,
    /// What stands in the output, and a row added to each row.
    OutputAndBias(&'a [f32]),
}

/// `output = start + left · right`
pub(crate) struct Product<'a> {
    /// `[rows, inner]`
    pub(crate) left: Strided<'a>,
    /// `[inner, columns]`
    pub(crate) right: &'a Panels,
    pub(crate) rows: usize,
    pub(crate) output: Window<'a>,
    pub(crate) start: Start<'a>,
}

/// Inner indices that a tile covers before the next panel's turn: what it reads then stays in the
/// first cache.
const INNER_BLOCK: usize = 288;

/// Numbers of the output that all inner indices are added to before the next columns' turn: they stay in the second
/// cache from one block of inner indices to the next.
const OUTPUT_BLOCK: usize = 48 * 1024;

/// Numbers of a right operand that the second cache does not hold, and rows among which asking for the next panel costs
/// little.
const FAR: usize = 256 * 1024;
const MANY_ROWS: usize = 48;

impl Product<'_> {
    /// Computes it.
    pub(crate) fn run(self) {
        let Panels { inner, columns, .. } = *self.right;
        if self.rows == 0 || columns == 0 {
            return;
        }
        assert!(self.left.covers(self.rows, inner), "left operand too small");
        assert!(self.left.row == 1 || self.left.column == 1, "neither rows nor columns lie together");
        let Window { length, columns: most, stride, .. } = self.output;
        assert!(columns <= most && (self.rows - 1) * stride + columns <= length, "output too small");
        if let Start::Bias(bias) | Start::OutputAndBias(bias) = self.start {
            assert!(bias.len() >= columns, "bias too small");
        }
        dispatch(self);
    }
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Panels { values, inner, columns } = self.right;
        let width = 2 * S::LANES;
        let blocks = inner.div_ceil(INNER_BLOCK).max(1);
        let length = inner.div_ceil(blocks);
        let group = (OUTPUT_BLOCK / self.rows / width).max(1) * width;
        let far = values.len() >= FAR && self.rows >= MANY_ROWS;
        for first in (0..*columns).step_by(group) {
            let group = first..(first + group).min(*columns);
            for k in (0..blocks).map(|block| block * length) {
                for column in group.clone().step_by(width) {
                    let panel = |column: usize| values[column * inner + k * width..].as_ptr();
                    let place = Place {
                        left: self.left.values.as_ptr().wrapping_add(k * self.left.column),
                        row: self.left.row,
                        column: self.left.column,
                        panel: panel(column),
                        next_panel: (far && column + width < group.end).then(|| panel(column + width)),
                        inner: length.min(inner - k),
                        output: self.output.start.wrapping_add(column),
                        stride: self.output.stride,
                        bias: match self.start {
                            Start::Bias(bias) | Start::OutputAndBias(bias) if k == 0 => bias[column..].as_ptr(),
                            _ => std::ptr::null(),
                        },
                        keep: k > 0 || matches!(self.start, Start::Output | Start::OutputAndBias(_)),
                        count: width.min(columns - column),
                    };
                    // SAFETY: `Product::run` has checked that all of it is inside the slices.
                    unsafe { panel_product(s, place, self.rows) };
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Place {
    left: *const f32,
    row: usize,
    column: usize,
    panel: *const f32,
    /// The panel after it, if it is so far away that it has to be asked for.
    next_panel: Option<*const f32>,
    inner: usize,
    output: *mut f32,
    stride: usize,
    bias: *const f32,
    keep: bool,
    count: usize,
}

/// Numbers of a row of the left operand that a tile begins with; those after them the processor foresees.
const BEGINNING: usize = 48;

impl Place {
    /// The rows from `row`.
    #[inline(always)]
    fn below(self, row: usize) -> Self {
        let (left, output) = (row * self.row, row * self.stride);
        Self { left: self.left.wrapping_add(left), output: self.output.wrapping_add(output), ..self }
    }

    /// Asks for what the sums of so many rows begin with.
    #[inline(always)]
    fn ask(self, rows: usize, width: usize) {
        for place in (0..rows).map(|row| self.below(row)) {
            prefetch(place.output, width);
            if place.column == 1 {
                prefetch(place.left, BEGINNING);
            }
        }
    }

    /// Asks for one of `parts` of the next panel, which the third cache holds: all cores share it, and it is slow while
    /// others use it.
    #[inline(always)]
    fn ask_panel(self, part: usize, parts: usize, width: usize) {
        if let Some(panel) = self.next_panel {
            let length = (self.inner * width).div_ceil(parts);
            prefetch(panel.wrapping_add(part * length), length);
        }
    }
}

/// All rows of one panel, in tiles of nearly equal height; while one is computed, what the next begins with comes in, and
/// a part of the next panel.
#[inline(always)]
unsafe fn panel_product<S: Simd>(s: S, whole: Place, rows: usize) {
    let width = 2 * S::LANES;
    let tiles = rows.div_ceil(S::TILE_ROWS);
    let (height, taller) = (rows / tiles, rows % tiles);
    let mut rest = whole;
    for index in 0..tiles {
        let height = height + usize::from(index < taller);
        let place = rest;
        rest = rest.below(height);
        let next_panel = Place { output: whole.output.wrapping_add(width), ..whole };
        let next = if index + 1 < tiles { rest } else { next_panel };
        next.ask(height, width);
        whole.ask_panel(index, tiles, width);
        // SAFETY: the caller's contract, for a part of the rows.
        unsafe {
            match height {
                1 => tile::<S, 1>(s, place),
                2 => tile::<S, 2>(s, place),
                3 => tile::<S, 3>(s, place),
                4 => tile::<S, 4>(s, place),
                5 if S::TILE_ROWS >= 5 => tile::<S, 5>(s, place),
                6 if S::TILE_ROWS >= 6 => tile::<S, 6>(s, place),
                7 if S::TILE_ROWS >= 7 => tile::<S, 7>(s, place),
                8 if S::TILE_ROWS >= 8 => tile::<S, 8>(s, place),
                9 if S::TILE_ROWS >= 9 => tile::<S, 9>(s, place),
                10 if S::TILE_ROWS >= 10 => tile::<S, 10>(s, place),
                11 if S::TILE_ROWS >= 11 => tile::<S, 11>(s, place),
                _ => tile::<S, 12>(s, place),
            }
        }
    }
}

/// `ROWS` rows of one panel, with all sums in registers.
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize>(s: S, place: Place) {
    let Place { row, column, panel, inner, stride, .. } = place;
    // SAFETY: the caller's contract, for all of the block.
    unsafe {
        let mut sums = [[s.splat(0.0); 2]; ROWS];
        if !place.bias.is_null() {
            let bias = load_pair(s, place.bias, place.count);
            sums = [bias; ROWS];
        }
        if place.keep {
            for (i, sums) in sums.iter_mut().enumerate() {
                let [low, high] = load_pair(s, place.output.add(i * stride), place.count);
                *sums = [s.add(sums[0], low), s.add(sums[1], high)];
            }
        }
        match column {
            1 => {
                // Pointers that the compiler takes as they are, rather than adding up strides in the loop.
                let rows: [_; ROWS] = std::array::from_fn(|i| black_box(place.left.wrapping_add(i * row)));
                add_up(s, &mut sums, panel, inner, |k, i| rows[i].wrapping_add(k));
            }
            _ => add_up(s, &mut sums, panel, inner, |k, i| place.left.wrapping_add(k * column + i)),
        }
        for (i, &sums) in sums.iter().enumerate() {
            store_pair(s, place.output.add(i * stride), place.count, sums);
        }
    }
}

/// Inner indices in a turn of the loop. What counts and compares beside the products costs time where another program
/// shares the core.
const UNROLL: usize = 4;

/// Adds the products over all inner indices; `left(k, i)` is where the number of row `i` stands.
#[inline(always)]
unsafe fn add_up<S: Simd, const ROWS: usize>(
    s: S,
    sums: &mut [[S::V; 2]; ROWS],
    panel: *const f32,
    inner: usize,
    left: impl Fn(usize, usize) -> *const f32,
) {
    let turns = inner / UNROLL;
    // SAFETY: the caller's contract, for each inner index.
    unsafe {
        for turn in 0..turns {
            for k in 0..UNROLL {
                add_one(s, sums, panel, turn * UNROLL + k, &left);
            }
        }
        for k in turns * UNROLL..inner {
            add_one(s, sums, panel, k, &left);
        }
    }
}

#[inline(always)]
unsafe fn add_one<S: Simd, const ROWS: usize>(
    s: S,
    sums: &mut [[S::V; 2]; ROWS],
    panel: *const f32,
    k: usize,
    left: &impl Fn(usize, usize) -> *const f32,
) {
    // SAFETY: the caller's contract, for one inner index.
    unsafe {
        let right = panel.add(k * 2 * S::LANES);
        let (low, high) = (s.load(right), s.load(right.add(S::LANES)));
        for (i, sums) in sums.iter_mut().enumerate() {
            let x = s.splat(*left(k, i));
            *sums = [s.fma(x, low, sums[0]), s.fma(x, high, sums[1])];
        }
    }
}

#[inline(always)]
unsafe fn load_pair<S: Simd>(s: S, at: *const f32, count: usize) -> [S::V; 2] {
    // SAFETY: `count` numbers are readable.
    unsafe {
        if count == 2 * S::LANES {
            [s.load(at), s.load(at.add(S::LANES))]
        } else if count > S::LANES {
            [s.load(at), s.load_first(at.add(S::LANES), count - S::LANES)]
        } else if count == S::LANES {
            [s.load(at), s.splat(0.0)]
        } else {
            [s.load_first(at, count), s.splat(0.0)]
        }
    }
}

#[inline(always)]
unsafe fn store_pair<S: Simd>(s: S, at: *mut f32, count: usize, [low, high]: [S::V; 2]) {
    // SAFETY: `count` numbers are writable.
    unsafe {
        if count == 2 * S::LANES {
            s.store(at, low);
            s.store(at.add(S::LANES), high);
        } else if count > S::LANES {
            s.store(at, low);
            s.store_first(at.add(S::LANES), count - S::LANES, high);
        } else if count == S::LANES {
            s.store(at, low);
        } else {
            s.store_first(at, count, low);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flex::simd::on_each_level;

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn equals_plain_loops_for_all_shapes_and_layouts() {
        check_all_shapes();
        on_each_level(check_all_shapes);
    }

    fn check_all_shapes() {
        for (rows, inner, columns) in [(1, 1, 1), (3, 7, 5), (6, 300, 16), (65, 12, 33), (29, 600, 48), (13, 32, 65)] {
            for (transposed_left, transposed_right) in [(false, false), (true, false), (false, true)] {
                let (a, b, bias) = (numbers(rows * inner, 1), numbers(inner * columns, 2), numbers(columns, 3));
                let left = if transposed_left { Strided::columns(&a, rows) } else { Strided::rows(&a, inner) };
                let right = if transposed_right { Strided::columns(&b, inner) } else { Strided::rows(&b, columns) };
                let panels = Panels::pack(right, inner, columns);
                let before = numbers(rows * columns, 4);
                for start in 0..4 {
                    let mut output = before.clone();
                    let start_of = |i: usize, j: usize| match start {
                        0 => 0.0,
                        1 => bias[j],
                        2 => before[i * columns + j],
                        _ => bias[j] + before[i * columns + j],
                    };
                    let start = [Start::Zero, Start::Bias(&bias), Start::Output, Start::OutputAndBias(&bias)][start];
                    Product { left, right: &panels, rows, output: Window::new(&mut output, columns), start }.run();
                    for i in 0..rows {
                        for j in 0..columns {
                            let term = |k| {
                                f64::from(left.values[i * left.row + k * left.column])
                                    * f64::from(right.values[k * right.row + j * right.column])
                            };
                            let expected = f64::from(start_of(i, j)) + (0..inner).map(term).sum::<f64>();
                            let found = f64::from(output[i * columns + j]);
                            assert!(
                                (found - expected).abs() < 1e-4,
                                "[{rows}, {inner}, {columns}]: {found} {expected}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    #[ignore = "a measurement"]
    fn speed() {
        for (rows, inner, columns) in [
            (65, 192, 576),
            (65, 192, 192),
            (65, 192, 768),
            (65, 768, 192),
            (65, 32, 65),
            (99, 384, 1536),
            (99, 1536, 384),
            (64, 768, 2304),
            (64, 768, 768),
            (64, 768, 3072),
            (64, 3072, 768),
            (96, 768, 30522),
        ] {
            let (a, b) = (numbers(rows * inner, 1), numbers(inner * columns, 2));
            let panels = Panels::pack(Strided::rows(&b, columns), inner, columns);
            let mut output = vec![0.0; rows * columns];
            let mut best = f64::INFINITY;
            let mut best_gemm = f64::INFINITY;
            let flops = 2.0 * (rows * inner * columns) as f64;
            for _ in 0..400 {
                let time = std::time::Instant::now();
                let left = Strided::rows(&a, inner);
                Product { left, right: &panels, rows, output: Window::new(&mut output, columns), start: Start::Zero }
                    .run();
                best = best.min(time.elapsed().as_secs_f64());
                let time = std::time::Instant::now();
                let mut transposed = Panels::default();
                transposed.repack(Strided::columns(&b, inner), inner, columns);
                std::hint::black_box(&transposed);
                best_gemm = best_gemm.min(time.elapsed().as_secs_f64());
            }
            println!(
                "[{rows}, {inner}, {columns}]: {:.1} GFLOP/s; packing transposed {:.1} us",
                flops / best / 1e9,
                best_gemm * 1e6
            );
        }
    }
}
