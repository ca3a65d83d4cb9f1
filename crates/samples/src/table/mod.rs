//! Text tables: CSV, TSV, JSON Lines.

pub(crate) mod delimited;
pub(crate) mod json_lines;
mod records;
mod row;
mod tokenise;

pub(crate) use row::row_name;
