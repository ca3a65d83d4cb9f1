//! An index of stored embeddings: nearest items of each modality.
//!
//! A directory, committed whole, with checksums in its manifest:
//! ```text
//! manifest.json          sizes and checksums
//! index.json             what it is: metric, number types, rows and recall of each modality
//! NAME/vectors.f32       [rows, width], little-endian, of length 1 if the metric is the cosine
//! NAME/items.parquet     key and source of each row
//! NAME/graph.usearch     a graph of nearest neighbours (HNSW), unless the index is exact
//! ```
//! The graph proposes, the vectors decide: what it finds is scored anew with the vectors themselves,
//! so that a score is the same whatever the graph's number type, and the same as the exact scan's.
//! An index holds nothing that its embeddings do not: it can be made anew at any time.

mod build;
mod graph;
mod options;
mod shelf;

use std::{fs, path::Path};

use ndarray::{Array1, ArrayView1};
use sensorium_contract::Name;
use sensorium_state::verify;

pub use build::build;
pub use options::{Description, Dtype, IndexOptions, Metric, ModalityDescription};
use shelf::Shelf;

use crate::{RetrieveError, store::Origin};

const DESCRIPTION: &str = "index.json";

/// An open index. Vectors and graphs are mapped, not read: an index may be larger than the memory.
/// Searching takes `&self` and can be done from many threads.
pub struct Index {
    description: Description,
    shelves: Vec<Shelf>,
}

/// An item that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Its key.
    pub key: String,
    /// Of which modality it is.
    pub modality: Name,
    /// How near it is, by the index's [`Metric`]; higher is nearer.
    pub score: f32,
    /// Where the item came from; empty if the embeddings did not say it.
    pub source: String,
}

/// An item of the index.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Of which modality it is.
    pub modality: Name,
    /// Where it came from; empty if the embeddings did not say it.
    pub source: String,
    /// Its vector, as the index holds it.
    pub vector: Array1<f32>,
}

impl Index {
    /// Opens an index after comparing every file with its checksum.
    ///
    /// # Errors
    /// The name of the first file that is missing, changed or damaged.
    pub fn open(directory: &Path) -> Result<Self, RetrieveError> {
        verify(directory)?;
        let path = directory.join(DESCRIPTION);
        let text = fs::read(&path).map_err(|error| RetrieveError::file(&path, &error))?;
        let description: Description =
            serde_json::from_slice(&text).map_err(|error| RetrieveError::file(&path, &error))?;
        let Description { width, metric, graph, .. } = description;
        let open = |(name, shelf): (&Name, &ModalityDescription)| {
            Shelf::open(directory, name, shelf.rows, width, metric, graph)
        };
        let shelves = description.modalities.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { description, shelves })
    }

    /// What the index is.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Where its embeddings come from, if they said it.
    pub fn origin(&self) -> Option<&Origin> {
        self.description.origin.as_ref()
    }

    /// The modalities that can be answered with.
    pub fn modalities(&self) -> impl Iterator<Item = &Name> {
        self.description.modalities.keys()
    }

    /// The `k` nearest items of the given modalities together (fewer only if there are fewer), best
    /// first. By the graphs, unless the index has none or `exact` asks for every vector.
    ///
    /// # Errors
    /// If the query's width is not the index's, or the index has nothing of one of the modalities.
    pub fn search(
        &self,
        query: ArrayView1<f32>,
        to: &[Name],
        k: usize,
        exact: bool,
    ) -> Result<Vec<Hit>, RetrieveError> {
        let (expected, found) = (self.description.width, query.len());
        if expected != found {
            return Err(RetrieveError::QueryWidth { expected, found });
        }
        let mut query = query.to_owned();
        self.description.metric.prepare(query.view_mut());
        let mut hits = Vec::new();
        for name in to {
            let shelf = self.shelf(name)?;
            let found = if exact { shelf.scan(query.view(), k) } else { shelf.nearest(query.view(), k)? };
            hits.extend(found.into_iter().map(|found| shelf.hit(found)));
        }
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        hits.truncate(k);
        Ok(hits)
    }

    /// The items of this key, in the order of the modalities; none if there is no such key.
    pub fn items(&self, key: &str) -> Vec<Item> {
        self.shelves.iter().flat_map(|shelf| shelf.items(key)).collect()
    }

    fn shelf(&self, name: &Name) -> Result<&Shelf, RetrieveError> {
        self.shelves.iter().find(|shelf| shelf.name() == name).ok_or_else(|| RetrieveError::NoModality {
            modality: name.clone(),
            present: self.modalities().map(|name| &**name).collect::<Vec<_>>().join(", "),
        })
    }
}

#[cfg(test)]
mod tests;
