use std::collections::HashMap;

use crate::{Column, EmbeddingTable, exact};

/// Where one query's hits stand among the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// With the own partner as the only hit.
    pub own: Placing,
    /// With equal content counted as hits.
    pub equal: Placing,
}

/// The place of the best hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placing {
    /// 1 for the first; candidates that tie with the best hit stand before it.
    pub rank: usize,
    /// How many candidates are hits.
    pub hits: usize,
}

/// Judges each query that has a partner, in the order of the queries.
pub(crate) fn judge(table: &EmbeddingTable, queries: &Column, candidates: &Column) -> Vec<Judged> {
    let hits = Hits::new(table, queries, candidates);
    let scratch = || Found::new(candidates.rows.len());
    let judge_one = |found: &mut Found, query: usize, scores: &[f32]| {
        let own = hits.own(query);
        if own.is_empty() {
            return None;
        }
        hits.equal(query, found);
        let own_placing = place(scores, own);
        let equal = if found.rows.len() == own.len() { own_placing } else { place(scores, &found.rows) };
        Some(Judged { own: own_placing, equal })
    };
    let judged = exact::each_query(queries.vectors.view(), candidates.vectors.view(), scratch, judge_one);
    judged.into_iter().flatten().collect()
}

/// Comparisons are negated so that a score that is not a number stands before any hit.
#[expect(clippy::neg_cmp_op_on_partial_ord)]
fn place(scores: &[f32], hits: &[usize]) -> Placing {
    let best = hits.iter().map(|&hit| scores[hit]).fold(f32::NAN, f32::max);
    let ahead = scores.iter().filter(|&&score| !(score < best)).count();
    let hits_ahead = hits.iter().filter(|&&hit| !(scores[hit] < best)).count();
    Placing { rank: 1 + ahead - hits_ahead, hits: hits.len() }
}

/// Which candidates are hits of a query.
pub(crate) struct Hits<'a> {
    query_identities: Vec<usize>,
    query_content: &'a [u64],
    candidate_content: &'a [u64],
    /// Identities of the samples that hold this content in the queries' modality.
    identities_by_content: HashMap<u64, Vec<usize>>,
    candidates_by_identity: HashMap<usize, Vec<usize>>,
    candidates_by_content: HashMap<u64, Vec<usize>>,
}

impl<'a> Hits<'a> {
    pub(crate) fn new(table: &EmbeddingTable, queries: &'a Column, candidates: &'a Column) -> Self {
        let query_identities = table.identities(queries);
        Self {
            identities_by_content: group(queries.content.iter().copied().zip(query_identities.iter().copied())),
            candidates_by_identity: group(table.identities(candidates).into_iter().zip(0..)),
            candidates_by_content: group(candidates.content.iter().copied().zip(0..)),
            query_identities,
            query_content: &queries.content,
            candidate_content: &candidates.content,
        }
    }

    /// Candidates of the query's own key.
    pub(crate) fn own(&self, query: usize) -> &[usize] {
        self.candidates_by_identity.get(&self.query_identities[query]).map_or(&[], Vec::as_slice)
    }

    /// Candidates of the own key, of the content of one of these, and of samples that share the
    /// query's content; each once.
    pub(crate) fn equal(&self, query: usize, found: &mut Found) {
        found.restart();
        for &partner in self.own(query) {
            found.add(partner);
            if let Some(same) = self.candidates_by_content.get(&self.candidate_content[partner]) {
                same.iter().for_each(|&candidate| found.add(candidate));
            }
        }
        for identity in self.identities_by_content.get(&self.query_content[query]).into_iter().flatten() {
            let same = self.candidates_by_identity.get(identity);
            same.into_iter().flatten().for_each(|&candidate| found.add(candidate));
        }
    }
}

fn group<K: std::hash::Hash + Eq>(pairs: impl Iterator<Item = (K, usize)>) -> HashMap<K, Vec<usize>> {
    let mut groups: HashMap<K, Vec<usize>> = HashMap::new();
    pairs.for_each(|(key, member)| groups.entry(key).or_default().push(member));
    groups
}

/// A set of candidates that is emptied in constant time.
pub(crate) struct Found {
    /// The members.
    pub rows: Vec<usize>,
    stamps: Vec<usize>,
    stamp: usize,
}

impl Found {
    pub(crate) fn new(candidates: usize) -> Self {
        Self { rows: Vec::new(), stamps: vec![0; candidates], stamp: 0 }
    }

    /// Whether the candidate is a member.
    pub(crate) fn contains(&self, row: usize) -> bool {
        self.stamps[row] == self.stamp
    }

    fn restart(&mut self) {
        self.rows.clear();
        self.stamp += 1;
    }

    fn add(&mut self, row: usize) {
        if self.stamps[row] != self.stamp {
            self.stamps[row] = self.stamp;
            self.rows.push(row);
        }
    }
}
