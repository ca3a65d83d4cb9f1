//! Pages that a person wants to look at, each one self-contained HTML file.
//!
//! A [`Page`] is data; [`render`] draws it. Nothing on a page is loaded from elsewhere: charts are
//! inline SVG, pictures and sounds are embedded once each, however often they are shown. A page works
//! in the dark, on a phone, on paper, and without scripts (which add hover values, filters, sorting
//! and playing in place). All text is escaped by construction, and a content security policy forbids
//! any request.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod axis;
mod bars;
mod chart;
mod draw;
mod gallery;
mod matrix;
mod media;
mod metrics;
mod number;
mod page;
mod smooth;
mod table;
#[cfg(test)]
mod tests;
mod training;
mod wall;

pub use bars::{Bar, Bars};
pub use chart::{Chart, Reference, Series};
pub use gallery::{Exhibit, Gallery};
pub use matrix::Matrix;
pub use media::Media;
pub use metrics::metric_sections;
pub use page::{Page, Section, render};
pub use table::{Cell, Table, recall_matrix};
pub use training::training_sections;
pub use wall::{Answer, Wall, WallQuery};
