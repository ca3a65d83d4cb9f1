use ndarray::Axis;
use sensorium_contract::Name;

use crate::{
    EmbeddingTable, RetrieveError, exact,
    judge::{Found, Hits},
};

/// The best answers to one query.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// The query's sample: a place in [`EmbeddingTable::keys`].
    pub sample: usize,
    /// Best first.
    pub answers: Vec<Answer>,
}

impl Answers {
    /// The place of the first answer that is the query's own partner, 0 for the first.
    pub fn found_at(&self) -> Option<usize> {
        self.answers.iter().position(|answer| answer.own)
    }
}

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The answer's sample: a place in [`EmbeddingTable::keys`].
    pub sample: usize,
    /// Cosine with the query.
    pub score: f32,
    /// Whether it is of the query's own key.
    pub own: bool,
    /// Whether it is a hit when equal content counts; true for the own partner.
    pub equal: bool,
}

/// The `k` best candidates of modality `to` for every sample that has modality `from`, whether or
/// not it has a partner, in the order of the samples. Of equal scores the lower key stands first.
///
/// # Errors
/// If there are no vectors of one of the modalities.
pub fn nearest(table: &EmbeddingTable, from: &Name, to: &Name, k: usize) -> Result<Vec<Answers>, RetrieveError> {
    let (queries, candidates) = (table.column(from)?, table.column(to)?);
    let hits = Hits::new(table, queries, candidates);
    // Candidates are searched in the order of their keys, so that ties do not depend on batches.
    let mut by_key: Vec<usize> = (0..candidates.rows.len()).collect();
    by_key.sort_by_key(|&place| (&table.keys()[candidates.rows[place]], candidates.content[place]));
    let vectors = candidates.vectors.select(Axis(0), &by_key);

    let found = exact::search(queries.vectors.view(), vectors.view(), k);
    let mut equal = Found::new(by_key.len());
    let mut answer_query = |(query, neighbours): (usize, Vec<exact::Neighbour>)| {
        hits.equal(query, &mut equal);
        let answer = |neighbour: exact::Neighbour| {
            let place = by_key[neighbour.row];
            Answer {
                sample: candidates.rows[place],
                score: neighbour.score,
                own: hits.own(query).contains(&place),
                equal: equal.contains(place),
            }
        };
        Answers { sample: queries.rows[query], answers: neighbours.into_iter().map(answer).collect() }
    };
    Ok(found.into_iter().enumerate().map(&mut answer_query).collect())
}
