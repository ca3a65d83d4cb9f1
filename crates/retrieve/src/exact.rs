//! Search by comparing each query with every vector: the oracle beside any index.

use std::{cmp::Ordering, ops::Range};

use ndarray::{Array2, ArrayView1, ArrayView2, Axis, Slice, linalg::general_mat_mul, s};
use rayon::prelude::*;

/// A vector that a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Its row.
    pub row: usize,
    /// Dot product with the query; the cosine, as vectors have length 1.
    pub score: f32,
}

/// Scores that one thread holds at a time (16 MiB).
const SCORES: usize = 1 << 22;
/// Queries of one matrix product.
const QUERIES: usize = 128;
/// Vectors of one matrix product: with [`QUERIES`], its scores stay in a core's cache.
const ROWS: usize = 1024;
/// Up to so many queries a matrix product would spend its time on packing the vectors.
const FEW: usize = 3;
/// Ranges of vectors for each thread, so that none waits long for another.
const SHARES: usize = 4;

/// The `k` vectors (all, if there are fewer) of the highest dot product with each query, best
/// first; of equal scores the lower row first, and those that are not numbers last.
///
/// # Shapes
/// `queries` is `[queries, embedding]`, `vectors` is `[rows, embedding]`.
///
/// # Panics
/// If the widths differ.
pub fn search(queries: ArrayView2<f32>, vectors: ArrayView2<f32>, k: usize) -> Vec<Vec<Neighbour>> {
    search_shifted(queries, vectors, None, k)
}

/// As [`search`], with a number for each vector that is added to its scores: with half the negative
/// squared length, the order is that of the Euclidean distance.
pub(crate) fn search_shifted(
    queries: ArrayView2<f32>,
    vectors: ArrayView2<f32>,
    shifts: Option<&[f32]>,
    k: usize,
) -> Vec<Vec<Neighbour>> {
    assert_eq!(queries.ncols(), vectors.ncols(), "queries and vectors are of different widths");
    let (count, rows) = (queries.nrows(), vectors.nrows());
    let blocks = count.div_ceil(QUERIES).max(1);
    let ranges = (rayon::current_num_threads() * SHARES).div_ceil(blocks).clamp(1, rows.div_ceil(ROWS).max(1));
    let range = |number: usize| number * rows / ranges..(number + 1) * rows / ranges;
    let scan = |task: usize| {
        let first = task / ranges * QUERIES;
        let queries = queries.slice_axis(Axis(0), Slice::from(first..(first + QUERIES).min(count)));
        best_of(queries, vectors, shifts, range(task % ranges), k)
    };
    let found: Vec<Vec<Best>> = (0..blocks * ranges).into_par_iter().map(scan).collect();
    let merge = |query: usize| {
        let mut best = Best::new(k.min(rows));
        let tasks = &found[query / QUERIES * ranges..][..ranges];
        tasks.iter().for_each(|found| found[query % QUERIES].list.iter().for_each(|&other| best.offer(other)));
        best.list
    };
    (0..count).map(merge).collect()
}

/// The best vectors of a range for each of a block of queries.
fn best_of(
    queries: ArrayView2<f32>,
    vectors: ArrayView2<f32>,
    shifts: Option<&[f32]>,
    rows: Range<usize>,
    k: usize,
) -> Vec<Best> {
    let mut best = vec![Best::new(k.min(rows.len())); queries.nrows()];
    let mut scores = Array2::zeros((queries.nrows(), ROWS.min(rows.len())));
    for start in rows.clone().step_by(ROWS) {
        let end = (start + ROWS).min(rows.end);
        let block = vectors.slice_axis(Axis(0), Slice::from(start..end));
        let mut scores = scores.slice_mut(s![.., ..end - start]); // [queries, block]
        if queries.nrows() <= FEW {
            for (query, mut scores) in queries.outer_iter().zip(scores.outer_iter_mut()) {
                scores.iter_mut().zip(block.outer_iter()).for_each(|(score, vector)| *score = dot(query, vector));
            }
        } else {
            general_mat_mul(1.0, &queries, &block.t(), 0.0, &mut scores);
        }
        for (mut scores, best) in scores.outer_iter_mut().zip(&mut best) {
            if let Some(shifts) = shifts {
                scores += &ArrayView1::from(&shifts[start..end]);
            }
            // A row of a standard array lies in one piece.
            scores.as_slice().into_iter().for_each(|scores| best.offer_all(start, scores));
        }
    }
    best
}

/// The dot product of two vectors, in the same order of additions wherever they lie.
pub(crate) fn dot(a: ArrayView1<f32>, b: ArrayView1<f32>) -> f32 {
    match (a.as_slice(), b.as_slice()) {
        (Some(a), Some(b)) => dot_slices(a, b),
        _ => dot_slices(&a.to_vec(), &b.to_vec()),
    }
}

/// Sixteen running sums, which compile to vector instructions.
fn dot_slices(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    let mut sums = [0.0_f32; 16];
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// Calls `judge` with each query's number and its scores against all vectors; the results in the
/// order of the queries. Similarities are made by matrix products of blocks of queries, one block
/// a thread at a time, so memory does not grow with the number of queries. `scratch` makes what a
/// thread keeps between calls.
pub(crate) fn each_query<S, T: Send>(
    queries: ArrayView2<f32>,
    vectors: ArrayView2<f32>,
    scratch: impl Fn() -> S + Send + Sync,
    judge: impl Fn(&mut S, usize, &[f32]) -> T + Sync,
) -> Vec<T> {
    let count = queries.nrows();
    let fair = count.div_ceil(rayon::current_num_threads());
    let block = (SCORES / vectors.nrows().max(1)).clamp(1, 256).min(fair.max(1));
    let judge_block = |scratch: &mut S, start: usize| -> Vec<T> {
        let end = (start + block).min(count);
        let scores = queries.slice_axis(Axis(0), Slice::from(start..end)).dot(&vectors.t()); // [block, rows]
        let judge_row = |(row, scores): (usize, ArrayView1<f32>)| match scores.as_slice() {
            Some(scores) => judge(scratch, start + row, scores),
            None => judge(scratch, start + row, &scores.to_vec()),
        };
        scores.rows().into_iter().enumerate().map(judge_row).collect()
    };
    let blocks: Vec<usize> = (0..count).step_by(block).collect();
    let judged: Vec<Vec<T>> = blocks.into_par_iter().map_init(scratch, judge_block).collect();
    judged.into_iter().flatten().collect()
}

/// The best vectors so far, best first.
#[derive(Clone, Debug)]
pub(crate) struct Best {
    k: usize,
    pub(crate) list: Vec<Neighbour>,
}

impl Best {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, list: Vec::with_capacity(k + 1) }
    }

    /// Scores of consecutive rows from `start`.
    #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "scores that are not numbers are looked at one by one")]
    fn offer_all(&mut self, start: usize, scores: &[f32]) {
        for (number, scores) in scores.chunks(16).enumerate() {
            if let Some(worst) = self.worst()
                && !scores.iter().fold(false, |any, &score| any | !(score <= worst))
            {
                continue;
            }
            let first = start + number * 16;
            scores.iter().enumerate().for_each(|(at, &score)| self.offer(Neighbour { row: first + at, score }));
        }
    }

    /// The last one's score, if another must beat it.
    fn worst(&self) -> Option<f32> {
        self.list.last().filter(|_| self.list.len() == self.k).map(|last| last.score)
    }

    pub(crate) fn offer(&mut self, found: Neighbour) {
        let full = self.list.len() == self.k;
        if full && self.list.last().is_none_or(|last| order(&found, last) != Ordering::Less) {
            return;
        }
        self.list.insert(self.list.partition_point(|other| order(other, &found) == Ordering::Less), found);
        self.list.truncate(self.k);
    }
}

/// Higher scores first, then lower rows; not-a-number last.
fn order(a: &Neighbour, b: &Neighbour) -> Ordering {
    let by_score = match b.score.partial_cmp(&a.score) {
        Some(order) => order,
        None => a.score.is_nan().cmp(&b.score.is_nan()),
    };
    by_score.then(a.row.cmp(&b.row))
}
