//! Tables: a row becomes one token a column (FT-Transformer, Gorishniy et al. 2021).

mod config;
mod encoder;
mod error;
mod prepare;
mod scale;
mod schema;
mod statistics;
mod targets;

use burn::tensor::Device;
use sensorium_contract::{Name, Seed};

use crate::{Kind, Learned, Problem};

pub use config::{ColumnConfig, ColumnKind, Scale, TableConfig};
pub use encoder::TableEncoder;
pub use error::TableError;
pub use prepare::TableModality;
pub use scale::Scaling;
pub use schema::{CategoryColumn, Decision, NumericColumn, TableSchema};

impl Kind for TableModality {
    type Config = TableConfig;
    type Encoder = TableEncoder;
    const FILE: Option<&'static str> = Some("columns.json");

    fn field(_: &TableConfig) -> Option<&str> {
        None
    }

    fn set_field(_config: &mut TableConfig, _field: &str) {}

    fn impossible(config: &TableConfig) -> Option<(&'static str, String)> {
        match config.validate() {
            Err(TableError::Config { key, expected, found }) => {
                Some((key, format!("expected {expected}, found {found}")))
            }
            _ => None,
        }
    }

    fn fit(config: &TableConfig, from: Learned) -> Result<Self, Problem> {
        Ok(Self::fit(config.clone(), from.samples, from.used_fields)?.named(from.name))
    }

    fn learned(&self) -> String {
        self.schema_json()
    }

    fn load(config: &TableConfig, name: &Name, learned: &str) -> Result<Self, Problem> {
        Ok(Self::load(config.clone(), learned)?.named(name))
    }

    fn encoder(&self, name: &Name, width: usize, seed: Seed, device: &Device) -> TableEncoder {
        TableEncoder::new(self.config(), self.schema(), name, width, seed, device)
    }
}

#[cfg(test)]
mod tests;
