use std::fmt;

use crate::{Arrays, Fault, Item, Rng, Sample};

/// What a modality's masked prediction looks like: one linear layer on a hidden token's features.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Distinguishes heads of one modality: `token`, `patch`, or a column's name.
    pub name: String,
    /// What is predicted.
    pub values: Values,
}

/// The kind of a masked prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// One of so many classes, by cross-entropy.
    Classes(usize),
    /// So many numbers, by squared error.
    Numbers(usize),
}

/// What was hidden from a pass and must be predicted by one head.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskTarget {
    /// Which modality of the pass.
    pub modality: crate::Name,
    /// Index into [`Modality::heads`].
    pub head: usize,
    /// Row of each hidden token, in the order of the pass's rows.
    pub rows: Vec<usize>,
    /// Position of each hidden token within its modality's segment.
    pub tokens: Vec<usize>,
    /// The truth.
    pub truth: Truth,
}

/// The hidden values.
#[derive(Clone, Debug, PartialEq)]
pub enum Truth {
    /// One class for each hidden token.
    Classes(Vec<i64>),
    /// `[hidden tokens, numbers]`
    Numbers(ndarray::Array2<f32>),
}

/// A modality's arrays with some tokens hidden, and what they held.
#[derive(Clone, Debug)]
pub struct Masked {
    /// As [`Modality::collate`] gives them, changed so that the encoder hides the chosen tokens.
    pub arrays: Arrays,
    /// What was hidden, one entry a head that has anything to predict.
    pub targets: Vec<MaskTarget>,
}

/// The host side of one kind of data: raw fields to arrays, arrays to batches.
///
/// The device side, arrays to [`crate::Tokens`], is the encoder beside it.
pub trait Modality: Send + Sync + fmt::Debug {
    /// The arrays of one sample; nothing if the sample lacks the modality. Deterministic, so that
    /// results may be cached.
    fn decode(&self, sample: &Sample) -> Result<Option<Item>, Fault>;

    /// Random changes that keep the meaning, while training.
    fn augment(&self, item: Item, _rng: &mut Rng) -> Item {
        item
    }

    /// Arrays of several samples, padded, each with a first axis `rows`.
    fn collate(&self, items: &[Item]) -> Arrays;

    /// Hides tokens. `rngs` holds one generator a row.
    fn mask(&self, arrays: &Arrays, rngs: &mut [Rng]) -> Masked;

    /// Heads that predict hidden tokens; empty if the modality cannot be masked.
    fn heads(&self) -> Vec<Head>;

    /// The most tokens that a sample can have.
    fn max_tokens(&self) -> usize;

    /// How many tokens the model reads of one sample's arrays, as [`Modality::decode`] gave them.
    fn tokens(&self, _item: &Item) -> usize {
        self.max_tokens()
    }

    /// What happened while decoding that a user should know (`"3 of 512 texts truncated to 64
    /// tokens"`).
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}
