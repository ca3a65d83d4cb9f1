//! Search by comparing each query with every vector: the oracle beside any index.

use std::cmp::Ordering;

use ndarray::{ArrayView2, Axis, Slice};
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

/// The `k` vectors (all, if there are fewer) of the highest dot product with each query, best
/// first; of equal scores the lower row first, and those that are not numbers last.
///
/// # Shapes
/// `queries` is `[queries, embedding]`, `vectors` is `[rows, embedding]`.
///
/// # Panics
/// If the widths differ.
pub fn search(queries: ArrayView2<f32>, vectors: ArrayView2<f32>, k: usize) -> Vec<Vec<Neighbour>> {
    each_query(queries, vectors, || (), |(), _, scores| top(scores, k))
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
        let judge_row = |(row, scores): (usize, ndarray::ArrayView1<f32>)| match scores.as_slice() {
            Some(scores) => judge(scratch, start + row, scores),
            None => judge(scratch, start + row, &scores.to_vec()),
        };
        scores.rows().into_iter().enumerate().map(judge_row).collect()
    };
    let blocks: Vec<usize> = (0..count).step_by(block).collect();
    let judged: Vec<Vec<T>> = blocks.into_par_iter().map_init(scratch, judge_block).collect();
    judged.into_iter().flatten().collect()
}

/// The best `k` of one query's scores.
fn top(scores: &[f32], k: usize) -> Vec<Neighbour> {
    let mut best: Vec<Neighbour> = Vec::with_capacity(k.min(scores.len()) + 1);
    for (row, &score) in scores.iter().enumerate() {
        let found = Neighbour { row, score };
        let full = best.len() == k;
        if full && best.last().is_none_or(|last| order(&found, last) != Ordering::Less) {
            continue;
        }
        best.insert(best.partition_point(|other| order(other, &found) == Ordering::Less), found);
        best.truncate(k);
    }
    best
}

/// Higher scores first, then lower rows; not-a-number last.
fn order(a: &Neighbour, b: &Neighbour) -> Ordering {
    let by_score = match b.score.partial_cmp(&a.score) {
        Some(order) => order,
        None => a.score.is_nan().cmp(&b.score.is_nan()),
    };
    by_score.then(a.row.cmp(&b.row))
}
