use sensorium_contract::Name;

use crate::{Direction, EmbeddingTable};

/// Judges queries of several modalities: for each modality as the target, every set of at least two
/// of the others, by the sets' sizes. (Queries of one modality are [`crate::retrieval`].)
///
/// A query is the mean of its modalities' unit vectors, of length 1 again, of each sample that has
/// them all. It is also how the model answers when the other modalities are absent.
pub fn subsets(table: &EmbeddingTable) -> Vec<Direction> {
    let names: Vec<Name> = table.modalities().cloned().collect();
    let mut directions = Vec::new();
    for from in combinations(&names) {
        let Ok(queries) = table.fuse(&from) else { continue };
        let targets = names.iter().filter(|name| !from.contains(name));
        directions.extend(targets.filter_map(|to| Direction::judge(table, from.clone(), &queries, to)));
    }
    directions.sort_by(|a, b| (&a.to, a.from.len(), &a.from).cmp(&(&b.to, b.from.len(), &b.from)));
    directions
}

/// All sets of two names up to all but one.
fn combinations(names: &[Name]) -> impl Iterator<Item = Vec<Name>> {
    let members = |set: u64| names.iter().enumerate().filter(move |(place, _)| set >> place & 1 == 1);
    let sets = 0..1_u64.checked_shl(names.len() as u32).unwrap_or(0);
    sets.filter(|set| (2..names.len()).contains(&(set.count_ones() as usize)))
        .map(move |set| members(set).map(|(_, name)| name.clone()).collect())
}
