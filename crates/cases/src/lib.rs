//! A user's own table understood: what each column holds and why, what kind of problem the label
//! is, which columns give the label away, and how cases are split.
//!
//! ```text
//! rows → cases → what columns hold → what the label is → what leaks → who is on which side
//! ```
//! Nothing here knows a model. [`Cases::look`] reads a data set once.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cell;
mod column;
mod error;
mod infer;
mod join;
mod label;
mod leak;
mod look;
mod roles;
mod split;
mod table;
#[cfg(test)]
mod tests;

pub use cell::{days, is_missing, is_unspaced};
pub use column::{Column, Kind, Writing};
pub use error::CasesError;
pub use join::{Joined, join};
pub use label::{LabelRule, Problem, ProblemKind};
pub use look::{Case, Cases};
pub use roles::Roles;
pub use split::{Side, Sides, deal, sides};
