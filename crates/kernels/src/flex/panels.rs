//! Operands of matrix products: strided matrices that are read, and right operands packed into panels.

use rayon::prelude::*;

use super::{
    buffer::Buffer,
    simd::{Kernel, Simd, dispatch, panel_width, prefetch},
};

/// A strided matrix that is read: element `(i, j)` is at `values[i · row + j · column]`.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) row: usize,
    pub(crate) column: usize,
}

impl<'a> Strided<'a> {
    /// Rows one after the other, `stride` apart.
    pub(crate) fn rows(values: &'a [f32], stride: usize) -> Self {
        Self { values, row: stride, column: 1 }
    }

    /// The transpose of [`Strided::rows`].
    pub(crate) fn columns(values: &'a [f32], stride: usize) -> Self {
        Self { values, row: 1, column: stride }
    }

    /// The rows from `row`.
    pub(crate) fn below(self, row: usize) -> Self {
        Self { values: &self.values[row * self.row..], ..self }
    }

    pub(super) fn covers(&self, rows: usize, columns: usize) -> bool {
        rows == 0 || columns == 0 || (rows - 1) * self.row + (columns - 1) * self.column < self.values.len()
    }
}

/// A right operand `[inner, columns]`, cut into panels of [`panel_width`] columns, each of which
/// is contiguous and filled up with zeros.
#[derive(Debug, Default)]
pub(crate) struct Panels {
    pub(super) values: Buffer,
    pub(super) inner: usize,
    pub(super) columns: usize,
}

/// Rows that are asked for before their turn to be packed: they lie too far apart for the processor to foresee them.
const PACKED_AHEAD: usize = 8;

impl Panels {
    /// A packed copy of a matrix.
    pub(crate) fn pack(matrix: Strided, inner: usize, columns: usize) -> Self {
        let mut panels = Self::default();
        panels.repack(matrix, inner, columns);
        panels
    }

    /// The same by all threads.
    pub(crate) fn pack_parallel(matrix: Strided, inner: usize, columns: usize) -> Self {
        let mut panels = Self::default();
        panels.prepare(matrix, inner, columns);
        let width = panel_width();
        panels
            .values
            .par_chunks_exact_mut((inner * width).max(1))
            .enumerate()
            .with_min_len(4)
            .for_each(|(index, panel)| pack_panel(panel, width, matrix, index * width, columns));
        panels
    }

    /// Packs another matrix into the same memory.
    pub(crate) fn repack(&mut self, matrix: Strided, inner: usize, columns: usize) {
        self.prepare(matrix, inner, columns);
        let width = panel_width();
        if matrix.column == 1 {
            // A few panels at a time, so that a row is read in longer runs.
            for (group, panels) in self.values.chunks_mut(4 * inner * width).enumerate() {
                let first = 4 * group * width;
                for row in 0..inner {
                    let ahead = matrix.values.as_ptr().wrapping_add((row + PACKED_AHEAD) * matrix.row + first);
                    prefetch(ahead, 4 * width);
                    for (index, panel) in panels.chunks_exact_mut(inner * width).enumerate() {
                        let rows = &mut panel[row * width..(row + 1) * width];
                        copy_row(rows, matrix.below(row).values, first + index * width, columns);
                    }
                }
            }
            return;
        }
        for (index, panel) in self.values.chunks_exact_mut((inner * width).max(1)).enumerate() {
            pack_panel(panel, width, matrix, index * width, columns);
        }
    }

    /// The transpose of the panel at `index`, as a left operand, and its number of rows.
    pub(crate) fn transposed_panel(&self, index: usize) -> (Strided<'_>, usize) {
        let width = panel_width();
        let values = &self.values[index * self.inner * width..(index + 1) * self.inner * width];
        (Strided { values, row: 1, column: width }, width.min(self.columns - index * width))
    }

    /// Number of panels.
    pub(crate) fn count(&self) -> usize {
        self.columns.div_ceil(panel_width())
    }

    fn prepare(&mut self, matrix: Strided, inner: usize, columns: usize) {
        assert!(matrix.covers(inner, columns), "matrix smaller than [{inner}, {columns}]");
        let width = panel_width();
        let size = columns.div_ceil(width) * inner * width;
        self.values.resize(size);
        (self.inner, self.columns) = (inner, columns);
    }
}

/// Packs the columns from `first`, at most `columns`.
fn pack_panel(panel: &mut [f32], width: usize, matrix: Strided, first: usize, columns: usize) {
    let count = width.min(columns - first);
    if count < width {
        panel.fill(0.0);
    }
    let source = &matrix.values[first * matrix.column..];
    if matrix.column == 1 {
        for (k, to) in panel.chunks_exact_mut(width).enumerate() {
            copy_row(to, &matrix.values[k * matrix.row..], first, columns);
        }
    } else if matrix.row == 1 {
        dispatch(Transpose { panel, width, source, stride: matrix.column, count });
    } else {
        for (k, row) in panel.chunks_exact_mut(width).enumerate() {
            for (j, x) in row[..count].iter_mut().enumerate() {
                *x = source[k * matrix.row + j * matrix.column];
            }
        }
    }
}

#[inline(always)]
fn copy_row(to: &mut [f32], row: &[f32], first: usize, columns: usize) {
    let count = to.len().min(columns - first);
    let from = &row[first..first + count];
    if count == to.len() {
        // Pieces of a known length become two moves each; a panel is as wide as one or two.
        for (to, from) in to.as_chunks_mut::<16>().0.iter_mut().zip(from.as_chunks::<16>().0) {
            *to = *from;
        }
    } else {
        to[..count].copy_from_slice(from);
        to[count..].fill(0.0);
    }
}

/// Columns that lie one after the other become columns of a panel.
struct Transpose<'a> {
    panel: &'a mut [f32],
    width: usize,
    source: &'a [f32],
    stride: usize,
    count: usize,
}

impl Kernel for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { panel, width, source, stride, count } = self;
        let inner = panel.len() / width;
        let (whole_inner, whole_count) = (inner / 8 * 8, count / 8 * 8);
        for j in (0..whole_count).step_by(8) {
            for k in (0..whole_inner).step_by(8) {
                let mut square = [[0f32; 8]; 8];
                for (i, line) in square.iter_mut().enumerate() {
                    line.copy_from_slice(&source[(j + i) * stride + k..][..8]);
                }
                for k_rest in 0..8 {
                    let line: [f32; 8] = std::array::from_fn(|i| square[i][k_rest]);
                    panel[(k + k_rest) * width + j..][..8].copy_from_slice(&line);
                }
            }
            for k in whole_inner..inner {
                for i in j..j + 8 {
                    panel[k * width + i] = source[i * stride + k];
                }
            }
        }
        for i in whole_count..count {
            for k in 0..inner {
                panel[k * width + i] = source[i * stride + k];
            }
        }
    }
}
