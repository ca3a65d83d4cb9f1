use sensorium_samples::SourceConfig;
use serde::{Deserialize, Serialize};

/// A set that needs no download.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Builtin {
    /// Pictures, names, sounds and table fields of emoji; see `datasets/src/emoji/card.md`.
    Emoji,
}

/// Where samples come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// A built-in set, in place of `train` and `validation`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builtin: Option<Builtin>,
    /// What is learned from. Paths are relative to the recipe's file.
    pub train: Vec<SourceConfig>,
    /// What is judged on.
    pub validation: Vec<SourceConfig>,
    /// In place of `validation`: this share of `train`, chosen by a hash of the keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_share: Option<f64>,
}

impl DataConfig {
    /// What is contradictory about it: the key and the problem.
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        match (self.builtin, self.train.is_empty()) {
            (Some(_), false) => {
                return Some(("data.train", "give either `builtin` or `train`, not both".into()));
            }
            (None, true) => return Some(("data", "give `train` (a list of sources) or `builtin = \"emoji\"`".into())),
            _ => {}
        }
        match self.validation_share {
            Some(_) if !self.validation.is_empty() || self.builtin.is_some() => {
                Some(("data.validation_share", "the validation samples are given already".into()))
            }
            Some(share) if !(share > 0.0 && share < 1.0) => {
                Some(("data.validation_share", format!("expected a share between 0 and 1, found {share}")))
            }
            _ => None,
        }
    }
}
