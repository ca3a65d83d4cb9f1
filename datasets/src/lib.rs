//! Data sets that need no download, one folder a set, with its card.

pub mod emoji;
