use std::fmt;

use sensorium_contract::Name;
use serde::{Deserialize, Serialize};

use crate::{
    Column, EmbeddingTable,
    judge::{Judged, Placing, judge},
};

/// How well queries find their hits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Share of queries whose best hit is the first answer.
    #[serde(rename = "recall@1")]
    pub recall_at_1: f64,
    /// Share of queries with a hit among the first 5 answers.
    #[serde(rename = "recall@5")]
    pub recall_at_5: f64,
    /// Share of queries with a hit among the first 10 answers.
    #[serde(rename = "recall@10")]
    pub recall_at_10: f64,
    /// Median rank of the best hit; 1 is best.
    #[serde(rename = "median rank")]
    pub median_rank: f64,
    /// The recall@1 that answers in random order have on average.
    pub chance: f64,
}

/// Queries of one kind against candidates of one modality.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Direction {
    /// What the queries are made of.
    pub from: Vec<Name>,
    /// What the candidates are.
    pub to: Name,
    /// Queries that have a partner; others are left out.
    pub queries: usize,
    /// Candidates, those that are nobody's partner included.
    pub candidates: usize,
    /// With the query's own partner as the only hit.
    pub own_partner: Metrics,
    /// With equal content counted as hits.
    pub equal_content: Metrics,
}

impl Direction {
    /// `image→text`, `image+audio→text`.
    pub fn name(&self) -> String {
        format!("{}→{}", self.query_name(), self.to)
    }

    /// What the queries are made of, `image+audio`.
    pub fn query_name(&self) -> String {
        self.from.iter().map(|name| &**name).collect::<Vec<_>>().join("+")
    }

    /// Judges `queries`; nothing if none has a partner.
    pub(crate) fn judge(table: &EmbeddingTable, from: Vec<Name>, queries: &Column, to: &Name) -> Option<Self> {
        let candidates = table.column(to).ok()?;
        let judged = judge(table, queries, candidates);
        let count = candidates.rows.len();
        (!judged.is_empty()).then(|| Self {
            from,
            to: to.clone(),
            queries: judged.len(),
            candidates: count,
            own_partner: Metrics::of(&judged, count, |judged| judged.own),
            equal_content: Metrics::of(&judged, count, |judged| judged.equal),
        })
    }
}

impl Metrics {
    fn of(judged: &[Judged], candidates: usize, placing: impl Fn(&Judged) -> Placing) -> Self {
        let queries = judged.len() as f64;
        let mut ranks: Vec<usize> = judged.iter().map(|judged| placing(judged).rank).collect();
        ranks.sort_unstable();
        let recall = |k| ranks.partition_point(|&rank| rank <= k) as f64 / queries;
        let middle = (ranks[(ranks.len() - 1) / 2] + ranks[ranks.len() / 2]) as f64 / 2.0;
        // Counted in whole numbers, so that the order of queries cannot change the rounding.
        let hits: usize = judged.iter().map(|judged| placing(judged).hits).sum();
        Self {
            recall_at_1: recall(1),
            recall_at_5: recall(5),
            recall_at_10: recall(10),
            median_rank: middle,
            chance: hits as f64 / candidates as f64 / queries,
        }
    }
}

/// How well a model finds samples across modalities.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RetrievalReport {
    /// Every ordered pair of modalities of which at least one sample has both.
    pub directions: Vec<Direction>,
    /// Queries of several modalities, if asked for; see [`crate::subsets`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub several: Vec<Direction>,
}

/// Judges every ordered pair of modalities. What counts is said in the [crate's](crate) head.
pub fn retrieval(table: &EmbeddingTable) -> RetrievalReport {
    let mut directions = Vec::new();
    for from in table.modalities() {
        let Ok(queries) = table.column(from) else { continue };
        let others = table.modalities().filter(|to| *to != from);
        directions.extend(others.filter_map(|to| Direction::judge(table, vec![from.clone()], queries, to)));
    }
    RetrievalReport { directions, several: Vec::new() }
}

impl RetrievalReport {
    /// The direction between two modalities.
    pub fn get(&self, from: &str, to: &str) -> Option<&Direction> {
        self.directions.iter().find(|d| d.from.len() == 1 && &*d.from[0] == from && &*d.to == to)
    }

    /// Mean own-partner recall@1 of all directions, if there are any.
    pub fn mean_recall_at_1(&self) -> Option<f64> {
        let sum: f64 = self.directions.iter().map(|direction| direction.own_partner.recall_at_1).sum();
        (!self.directions.is_empty()).then(|| sum / self.directions.len() as f64)
    }

    /// All numbers by name, for logs: `image→text/recall@1`, `image→text/median rank`,
    /// `image→text/chance`, `image→text/equal content/recall@1` …
    pub fn metrics(&self) -> Vec<(String, f64)> {
        let mut metrics = Vec::new();
        for direction in self.directions.iter().chain(&self.several) {
            for (kind, values) in [("", &direction.own_partner), ("equal content/", &direction.equal_content)] {
                let prefix = format!("{}/{kind}", direction.name());
                metrics.extend([
                    (format!("{prefix}recall@1"), values.recall_at_1),
                    (format!("{prefix}recall@5"), values.recall_at_5),
                    (format!("{prefix}recall@10"), values.recall_at_10),
                    (format!("{prefix}median rank"), values.median_rank),
                    (format!("{prefix}chance"), values.chance),
                ]);
            }
        }
        metrics
    }
}

/// A table for terminals.
impl fmt::Display for RetrievalReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = || self.directions.iter().chain(&self.several);
        let from = all().map(|d| d.query_name().chars().count()).chain([5]).max().unwrap_or(0);
        let to = all().map(|d| d.to.chars().count()).chain([6]).max().unwrap_or(0);
        let head = format!("{:from$}   {:to$}  {:>7}  {:>10}", "query", "answer", "queries", "candidates");
        let metrics = format!("  {:>6} {:>6} {:>6} {:>8} {:>7}", "R@1", "R@5", "R@10", "med.rank", "chance");
        let group = metrics.chars().count() - 2;
        let over = head.chars().count();
        writeln!(f, "{:over$}  {:─^group$}  {:─^group$}", "", " own partner ", " equal content counts ")?;
        writeln!(f, "{head}{metrics}{metrics}")?;
        for (number, direction) in all().enumerate() {
            if number == self.directions.len() && number > 0 {
                writeln!(f, "{:─>width$}", "", width = over + 2 * group + 4)?;
            }
            let Direction { to: answer, queries, candidates, own_partner, equal_content, .. } = direction;
            let query = direction.query_name();
            writeln!(
                f,
                "{query:from$} → {:to$}  {queries:>7}  {candidates:>10}{own_partner}{equal_content}",
                &**answer
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recall_at_1, recall_at_5, recall_at_10, median_rank, chance } = self;
        write!(f, "  {recall_at_1:6.3} {recall_at_5:6.3} {recall_at_10:6.3} {median_rank:8.1} {chance:7.4}")
    }
}
