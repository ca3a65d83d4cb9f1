//! Pairs of modalities, and which samples of a batch count as each other's partners.

use std::collections::BTreeMap;

use burn::tensor::{Bool, Device, Tensor, TensorData};
use sensorium_contract::{Batch, Head, Loss, LossPart, Name, Outputs, Pass};
use serde::{Deserialize, Serialize};

use crate::ObjectiveError;

/// What becomes of two samples of a batch that share a key, a caption or any other content: they
/// must not be pushed apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duplicates {
    /// They count as partners too.
    #[default]
    Positive,
    /// They are left out of the comparison.
    Ignored,
}

/// The pairs of an objective: those that the recipe names, or all.
pub(crate) fn resolve(
    objective: &'static str,
    named: &[[Name; 2]],
    modalities: &BTreeMap<Name, Vec<Head>>,
) -> Result<Vec<[Name; 2]>, ObjectiveError> {
    let known: Vec<&Name> = modalities.keys().collect();
    if known.len() < 2 {
        return Err(ObjectiveError::Impossible { objective, problem: "it needs two modalities or more".into() });
    }
    for [a, b] in named {
        for name in [a, b] {
            require(objective, name, modalities)?;
        }
        if a == b {
            return Err(ObjectiveError::Impossible { objective, problem: format!("`{a}` is paired with itself") });
        }
    }
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let after =
        |(i, a): (usize, &&Name)| known[i + 1..].iter().map(|b| [(*a).clone(), (*b).clone()]).collect::<Vec<_>>();
    Ok(known.iter().enumerate().flat_map(after).collect())
}

/// An error unless the recipe has the modality.
pub(crate) fn require(
    objective: &'static str,
    name: &Name,
    modalities: &BTreeMap<Name, Vec<Head>>,
) -> Result<(), ObjectiveError> {
    if modalities.contains_key(name) {
        return Ok(());
    }
    let known: Vec<String> = modalities.keys().map(|name| format!("`{name}`")).collect();
    Err(ObjectiveError::UnknownModality { objective, name: name.clone(), known: known.join(", ") })
}

/// The passes that the pairs read.
pub(crate) fn passes(pairs: &[[Name; 2]]) -> Vec<Pass> {
    let names: std::collections::BTreeSet<&Name> = pairs.iter().flatten().collect();
    names.into_iter().map(Pass::of).collect()
}

/// One part a pair that the batch holds, which share the objective's weight evenly.
pub(crate) fn loss(
    objective: &str,
    pairs: &[[Name; 2]],
    weight: f32,
    outputs: &Outputs,
    batch: &Batch,
    compare: impl Fn(usize, Sides) -> Tensor<1>,
) -> Loss {
    let weight = weight / pairs.len() as f32;
    let part = |(pair, names): (usize, &[Name; 2])| {
        let sides = Sides::of(names, outputs, batch)?;
        let items = sides.items;
        let name = format!("{objective} {}-{}", names[0], names[1]);
        Some(LossPart { name, value: compare(pair, sides), weight, items })
    };
    Loss { parts: pairs.iter().enumerate().filter_map(part).collect() }
}

/// The two sides of a pair on the samples that have both.
pub(crate) struct Sides {
    /// `[n, embedding]`
    pub left: Tensor<2>,
    /// `[n, embedding]`
    pub right: Tensor<2>,
    /// `[n, n]`, true where two different samples share content; nothing if none do.
    pub duplicates: Option<Tensor<2, Bool>>,
    /// `n`
    pub items: usize,
}

impl Sides {
    /// Nothing if fewer than two samples have both modalities: there is nothing to compare.
    pub(crate) fn of([a, b]: &[Name; 2], outputs: &Outputs, batch: &Batch) -> Option<Self> {
        let rows = batch.rows_with(&[a.clone(), b.clone()]);
        if rows.len() < 2 {
            return None;
        }
        let left = embedding(a, &rows, outputs)?;
        let right = embedding(b, &rows, outputs)?;
        let duplicates = duplicates(batch, [a, b], &rows, &left.device().inner());
        Some(Self { left, right, duplicates, items: rows.len() })
    }
}

/// Embeddings of one modality on the given samples, `[rows, embedding]`.
fn embedding(name: &Name, rows: &[usize], outputs: &Outputs) -> Option<Tensor<2>> {
    let output = outputs.get(&Pass::of(name))?;
    let embedding = output.embedding.clone()?;
    if output.plan.rows == rows {
        return Some(embedding);
    }
    let places: Vec<i64> = rows
        .iter()
        .map(|row| output.plan.rows.binary_search(row).map(|place| place as i64))
        .collect::<Result<_, _>>()
        .ok()?;
    let index = Tensor::from_data(TensorData::from(places.as_slice()), &embedding.device().inner());
    Some(embedding.select(0, index))
}

fn duplicates(batch: &Batch, names: [&Name; 2], rows: &[usize], device: &Device) -> Option<Tensor<2, Bool>> {
    let contents = names.map(|name| batch.content(name, rows));
    let same = |i: usize, j: usize| {
        i != j && (contents.iter().any(|c| c[i] == c[j]) || batch.keys[rows[i]] == batch.keys[rows[j]])
    };
    let n = rows.len();
    let mask: Vec<bool> = (0..n * n).map(|at| same(at / n, at % n)).collect();
    mask.contains(&true).then(|| Tensor::from_data(TensorData::new(mask, [n, n]), device))
}

/// `[n, n]`, true on the diagonal.
pub(crate) fn diagonal(n: usize, device: &Device) -> Tensor<2, Bool> {
    let mask: Vec<bool> = (0..n * n).map(|at| at / n == at % n).collect();
    Tensor::from_data(TensorData::new(mask, [n, n]), device)
}
