//! Vectors of a data set, search in them, and how well a model retrieves.
//!
//! An [`EmbeddingTable`] holds the vectors that an [`Embedder`](sensorium_contract::Embedder) gave
//! for the samples of a data set. [`retrieval`] judges every ordered pair of modalities,
//! [`subsets`] every query that is made of several modalities, [`nearest`] shows the answers, and
//! [`exact::search`] is the scan that everything rests on.
//!
//! # What counts as found
//! Each query is judged twice:
//! * **own partner**: only a candidate of the query's own key is a hit;
//! * **equal content**: also a candidate whose content equals that of the query's partner (the same
//!   caption), and one whose sample has, in the query's modality, the query's own content (the same
//!   picture).
//!
//! A query without a partner among the candidates is left out; a candidate that is nobody's partner
//! stays as a distractor. Ties are broken against the model: a candidate that scores as high as the
//! best hit ranks before it, and so does one whose score is not a number. The order of samples, the
//! batches that they came in and the number of threads change no result.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod classify;
mod error;
pub mod exact;
pub mod index;
mod judge;
mod nearest;
mod report;
mod store;
mod subsets;
mod table;
#[cfg(test)]
mod tests;

pub use error::RetrieveError;
pub use index::{Index, IndexOptions};
pub use nearest::{Answer, Answers, nearest};
pub use report::{Direction, Metrics, RetrievalReport, retrieval};
pub use store::{Embedded, EmbeddingFile, EmbeddingParts, EmbeddingReader, Items, Origin, Stored};
pub use subsets::subsets;
pub use table::{Column, EmbeddingTable};
