//! What numbers say about predictions, whatever made them.
//!
//! Predictions stand beside the truth in one of four forms: [`Classes`] (two or more), [`Grades`]
//! (classes with an order), [`Labels`] (any number of them a row) and [`Numbers`]. [`judge`] measures
//! one of them over all rows and over groups of rows, with bootstrap intervals, into a [`Report`].
//! Values agree with scikit-learn's; `tests/reference/metrics.py` makes the numbers of the tests.
//!
//! Every metric takes how often each row counts. That makes a group (0 or 1), a resample of the
//! bootstrap (how often it was drawn) and the whole one computation, and rows are sorted only once.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bootstrap;
mod calibration;
mod classes;
mod confusion;
mod detail;
mod error;
mod fold;
mod grades;
mod labels;
mod metric;
mod numbers;
mod ranking;
mod report;
#[cfg(test)]
mod tests;

pub use bootstrap::Bootstrap;
pub use calibration::{Bin, Temperature};
pub use classes::Classes;
pub use confusion::Confusion;
pub use detail::{ClassDetail, ClassScores, Curve, Detail, LabelDetail, LabelScores, NumberDetail};
pub use error::MetricsError;
pub use fold::fold;
pub use grades::Grades;
pub use labels::Labels;
pub use metric::{Metric, Predictions};
pub use numbers::Numbers;
pub use report::{Column, Group, Grouping, Measure, Report, judge, presence};
