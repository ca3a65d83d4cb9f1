//! What comes next: a network reads ids step by step, and answers the scores of what follows.

mod sample;

use burn::tensor::{Device, Int, Tensor};
use ndarray::Array2;
use sensorium_backbone::{Cache, Embedding, Memory};
use sensorium_contract::tensor_i64;

use crate::{
    FamilyError, Inputs, Network,
    parts::{TextEmbeddings, TextIds},
    values::{check_range, within},
};

pub use sample::{Sampling, generate};

/// The name of a step's ids in errors.
const IDS: &str = "ids";

/// Networks that predict what comes next.
pub trait Generates {
    /// Reads the encoder's inputs, once; a network without an encoder reads nothing yet.
    ///
    /// # Errors
    /// Names the input that is missing or cannot be used.
    fn start(&self, inputs: &Inputs<'_>) -> Result<Reading, FamilyError> {
        Ok(Reading::new(inputs, None))
    }

    /// Reads `ids` `[rows, tokens]`, which follow those of earlier steps and hold no padding → the scores of
    /// what follows the last, `[rows, vocabulary]`.
    ///
    /// # Errors
    /// If there are no ids, or of other rows than before, out of range, or more than the network has positions.
    fn step(&self, reading: &mut Reading, ids: &Array2<i64>) -> Result<Tensor<2>, FamilyError>;
}

/// What a network has read of one generation.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Features of the encoder.
    pub(crate) memory: Option<Memory>,
    pub(crate) cache: Cache,
    rows: Option<usize>,
    device: Device,
}

impl Reading {
    pub(crate) fn new(inputs: &Inputs<'_>, memory: Option<Memory>) -> Self {
        let rows = memory.as_ref().map(|Memory { values, .. }| {
            let [rows, _, _] = values.dims();
            rows
        });
        Self { memory, cache: Cache::default(), rows, device: inputs.device().clone() }
    }

    /// How many tokens of each row were read.
    pub fn tokens(&self) -> usize {
        self.cache.tokens()
    }

    /// The next ids as a tensor.
    pub(crate) fn words(&mut self, ids: &Array2<i64>, vocabulary: usize) -> Result<Tensor<2, Int>, FamilyError> {
        let (rows, tokens) = ids.dim();
        if rows == 0 || tokens == 0 || self.rows.is_some_and(|before| before != rows) {
            let expected = self.rows.map_or("rows".to_owned(), |rows| rows.to_string());
            return Err(FamilyError::input(
                IDS,
                format!("expected shape [{expected}, tokens], found [{rows}, {tokens}]"),
            ));
        }
        check_range(IDS, ids.iter(), vocabulary)?;
        self.rows = Some(rows);
        Ok(tensor_i64(&ids.clone().into_dyn(), &self.device))
    }

    /// Where the next ids stand in a table whose first `before` rows are no positions.
    pub(crate) fn positions(
        &self,
        ids: &Array2<i64>,
        table: &Embedding,
        before: usize,
    ) -> Result<Tensor<2, Int>, FamilyError> {
        let first = before + self.tokens();
        let positions = Array2::from_shape_fn(ids.dim(), |(_, token)| (first + token) as i64);
        Ok(tensor_i64(&within(IDS, positions, Some(table))?.into_dyn(), &self.device))
    }

    /// The next ids through a table of words and, if there is one, of positions, `[rows, tokens, width]`.
    pub(crate) fn embed(&mut self, embeddings: &TextEmbeddings, ids: &Array2<i64>) -> Result<Tensor<3>, FamilyError> {
        let words = self.words(ids, embeddings.words.values())?;
        let positions = embeddings.positions.as_ref().map(|table| self.positions(ids, table, 0)).transpose()?;
        Ok(embeddings.forward(words, TextIds { positions, types: Vec::new() }))
    }
}

/// An error if the decoder's ids are of other rows than what the encoder read.
pub(crate) fn same_rows(memory: &Memory, ids: &Array2<i64>) -> Result<(), FamilyError> {
    let [rows, _, _] = memory.values.dims();
    let (found, _) = ids.dim();
    match found == rows {
        true => Ok(()),
        false => Err(FamilyError::input(
            "decoder_input_ids",
            format!("expected {rows} rows as the encoder has, found {found}"),
        )),
    }
}

/// A checkpoint of a base model cannot continue anything.
pub(crate) fn no_head() -> FamilyError {
    FamilyError::input(IDS, "the checkpoint has no head that predicts what follows them")
}

/// `[rows, tokens, width]` → the last of each row, `[rows, 1, width]`
pub(crate) fn last_token(x: Tensor<3>) -> Tensor<3> {
    let [_, tokens, _] = x.dims();
    x.narrow(1, tokens - 1, 1)
}

/// Scores of one token, `[rows, 1, vocabulary]` → `[rows, vocabulary]`
pub(crate) fn of_one(logits: Tensor<3>) -> Tensor<2> {
    let [rows, _, vocabulary] = logits.dims();
    logits.reshape([rows, vocabulary])
}

impl Network {
    /// The network as one that predicts what comes next, if it is one.
    pub fn generates(&self) -> Option<&dyn Generates> {
        match self {
            Self::OpenAiGpt(network) => Some(network),
            Self::Gpt2(network) => Some(network),
            Self::Llama(network) => Some(network),
            Self::T5(network) => Some(network),
            Self::Bart(network) => Some(network),
            Self::Whisper(network) => Some(network),
            Self::ImageGpt(network) => Some(network),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
