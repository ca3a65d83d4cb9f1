//! Tables: a row becomes one token a column (FT-Transformer, Gorishniy et al. 2021).

mod config;
mod encoder;
mod error;
mod prepare;
mod scale;
mod schema;
mod statistics;
mod targets;

pub use config::{ColumnConfig, ColumnKind, Scale, TableConfig};
pub use encoder::TableEncoder;
pub use error::TableError;
pub use prepare::TableModality;
pub use scale::Scaling;
pub use schema::{CategoryColumn, Decision, NumericColumn, TableSchema};

#[cfg(test)]
mod tests;
