//! What a published model goes on from: a text, a sound, or the upper part of a picture.

mod picture;
mod settings;
mod speech;

use std::collections::BTreeMap;

use ndarray::ArrayD;
use sensorium_contract::Array;

pub use picture::{Canvas, picture};
pub use settings::Settings;
pub use speech::{Speech, speech};

/// The beginning of a generation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// An encoder's inputs; none for a model without one.
    pub inputs: BTreeMap<String, Array>,
    /// The ids that the answer follows.
    pub start: Vec<i64>,
    /// The most ids that can follow, if that is known.
    pub most: Option<usize>,
    /// Ids that never come.
    pub suppressed: Vec<i64>,
    /// Ids that do not come first.
    pub suppressed_first: Vec<i64>,
}

/// A text's tokens: read by an encoder if the model has one, else gone on from.
pub fn text(settings: &Settings, ids: Vec<i64>) -> Prompt {
    let Some(start) = settings.decoder_start() else { return Prompt { start: ids, ..Prompt::default() } };
    let ids = ArrayD::from_shape_fn(vec![1, ids.len()], |at| ids[at[1]]);
    let mask = ids.mapv(|_| 1);
    let inputs = [("input_ids".to_owned(), Array::I64(ids)), ("attention_mask".to_owned(), Array::I64(mask))].into();
    Prompt { inputs, start: vec![start], ..Prompt::default() }
}
