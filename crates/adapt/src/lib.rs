//! Models fine-tuned on a user's own table, and what they say of new cases.
//!
//! ```text
//! table → proposal → start → training → calibration → model → predictions → judgement
//! ```
//! [`Request`] is what the user asked; [`Proposal`] makes a whole recipe of it and of the table;
//! [`Adaptation`] trains it; [`Predictor`] answers.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod blend;
mod calibrate;
mod duration;
mod error;
mod importance;
mod judge;
mod output;
mod predict;
mod probe;
mod proposal;
mod reading;
mod recipe;
mod start;
mod train;

pub use duration::Duration;
pub use error::AdaptError;
pub use importance::{Importance, importance};
pub use judge::{Judgement, Mistake, headline, judge_cases};
pub use output::write_predictions;
pub use predict::{Predicted, Predictor, averaged};
pub use proposal::Proposal;
pub use reading::{READING, Reading};
pub use recipe::{AdaptRecipe, Balance, CaseData, GuardConfig, Request, StartConfig, Training};
pub use start::{Start, Taken};
pub use train::{Adaptation, Adapted};
