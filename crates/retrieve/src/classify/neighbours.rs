//! Nearest neighbours that vote by their cosine (Wu et al. 2018; also in DINO, Caron et al. 2021).

use ndarray::{Array2, ArrayView2};

use crate::exact;

/// How neighbours vote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vote {
    /// How many neighbours vote.
    pub k: usize,
    /// A vote weighs `exp(cosine / temperature)`.
    pub temperature: f64,
}

impl Default for Vote {
    /// The temperature of both papers, and the k that DINO found best on most data.
    fn default() -> Self {
        Self { k: 20, temperature: 0.07 }
    }
}

/// Vectors whose classes are known.
#[derive(Clone, Copy, Debug)]
pub struct Neighbours<'a> {
    /// `[rows, embedding]`, each of length 1.
    pub vectors: ArrayView2<'a, f32>,
    /// Class of each row.
    pub classes: &'a [usize],
    /// What each row is of: rows of the identity that is asked about do not vote.
    pub identities: &'a [usize],
    /// How many classes there are.
    pub count: usize,
}

impl Neighbours<'_> {
    /// Shares of the votes for each query; equal shares where no neighbour may vote. `identities`
    /// says of each query what it is of, nothing if none of the rows can be of the same.
    ///
    /// # Shapes
    /// `queries` `[queries, embedding]` → `[queries, classes]`
    pub fn vote(&self, queries: ArrayView2<f32>, identities: Option<&[usize]>, vote: Vote) -> Array2<f64> {
        let more = if identities.is_some() { self.largest_identity() } else { 0 };
        let found = exact::search(queries, self.vectors, vote.k.saturating_add(more));
        let mut shares = Array2::zeros((queries.nrows(), self.count));
        for (query, neighbours) in found.iter().enumerate() {
            let own = identities.map(|identities| identities[query]);
            let others = neighbours.iter().filter(|neighbour| own != Some(self.identities[neighbour.row]));
            let mut row = shares.row_mut(query);
            for neighbour in others.take(vote.k) {
                // Cosines are at most 1, so that no vote overflows.
                row[self.classes[neighbour.row]] += ((f64::from(neighbour.score) - 1.0) / vote.temperature).exp();
            }
            let sum = row.sum();
            match sum > 0.0 {
                true => row /= sum,
                false => row.fill(1.0 / self.count as f64),
            }
        }
        shares
    }

    /// Rows of the identity that has most of them.
    fn largest_identity(&self) -> usize {
        let mut sorted = self.identities.to_vec();
        sorted.sort_unstable();
        sorted.chunk_by(|a, b| a == b).map(<[usize]>::len).max().unwrap_or(0)
    }
}
