use std::{collections::BTreeMap, fmt};

use ndarray::{ArrayView1, ArrayViewMut1};
use sensorium_contract::Name;
use serde::{Deserialize, Serialize};

use crate::{RetrieveError, exact::dot, store::Origin};

/// How near two vectors are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The cosine of their angle. Vectors and queries are brought to length 1.
    #[default]
    Cosine,
    /// Their dot product.
    Dot,
    /// Their squared Euclidean distance, as a negative score, so that higher is nearer here too.
    Euclidean,
}

impl Metric {
    /// Brings a vector or a query to the form that is stored and compared.
    pub(crate) fn prepare(self, mut vector: ArrayViewMut1<f32>) {
        if self == Self::Cosine {
            let length = dot(vector.view(), vector.view()).sqrt();
            vector /= length.max(f32::MIN_POSITIVE);
        }
    }

    /// The score of two prepared vectors.
    pub(crate) fn score(self, query: ArrayView1<f32>, vector: ArrayView1<f32>) -> f32 {
        match self {
            Self::Cosine | Self::Dot => dot(query, vector),
            Self::Euclidean => -query.iter().zip(vector).map(|(a, b)| (a - b) * (a - b)).sum::<f32>(),
        }
    }
}

/// What a graph holds the vectors as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dtype {
    /// 4 bytes a number.
    #[default]
    F32,
    /// 2 bytes.
    F16,
    /// 1 byte; keeps the direction of a vector and not its length.
    I8,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot product",
            Self::Euclidean => "Euclidean distance",
        })
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I8 => "i8",
        })
    }
}

/// How an index is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexOptions {
    /// No graph: each search compares with every vector.
    pub exact: bool,
    /// What the graph holds the vectors as.
    pub dtype: Dtype,
    /// How near two vectors are.
    pub metric: Metric,
}

impl IndexOptions {
    pub(crate) fn check(&self) -> Result<(), RetrieveError> {
        if self.dtype == Dtype::I8 && self.metric != Metric::Cosine && !self.exact {
            return Err(RetrieveError::Options(
                "numbers of type i8 keep directions alone: use --metric cosine, or f16",
            ));
        }
        Ok(())
    }
}

/// What an index is, as its `index.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// How near two vectors are.
    pub metric: Metric,
    /// What the graphs hold the vectors as; nothing if there are none.
    pub graph: Option<Dtype>,
    /// Numbers in a vector.
    pub width: usize,
    /// What there is of each modality.
    pub modalities: BTreeMap<Name, ModalityDescription>,
    /// Where the embeddings come from.
    pub origin: Option<Origin>,
}

/// What there is of one modality.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModalityDescription {
    /// Number of vectors.
    pub rows: usize,
    /// The share of the ten nearest vectors that the graph found, measured while building with
    /// stored vectors of all modalities as queries; nothing without a graph.
    pub recall_at_10: Option<f64>,
}
