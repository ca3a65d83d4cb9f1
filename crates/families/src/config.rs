//! Configurations as the transformers library writes them.

use std::collections::BTreeMap;

use sensorium_backbone::TransformerConfig;
use sensorium_kernels::Activation;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Map, Value};

/// Most blocks of a trunk; the largest published have some hundred.
const MOST_LAYERS: usize = 4096;
/// Most features of a token, inside the feed-forward too: sums of such sizes never overflow.
const MOST_FEATURES: usize = 1 << 24;

/// A non-linearity by the transformers library's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Act {
    #[serde(rename = "gelu", alias = "gelu_python")]
    Gelu,
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh", alias = "gelu_fast", alias = "gelu_python_tanh")]
    GeluTanh,
    #[serde(rename = "quick_gelu")]
    QuickGelu,
    #[serde(rename = "relu")]
    Relu,
    #[serde(rename = "silu", alias = "swish")]
    Silu,
}

impl From<Act> for Activation {
    fn from(act: Act) -> Self {
        match act {
            Act::Gelu => Self::Gelu,
            Act::GeluTanh => Self::GeluTanh,
            Act::QuickGelu => Self::QuickGelu,
            Act::Relu => Self::Relu,
            Act::Silu => Self::Silu,
        }
    }
}

/// `intermediate_size` as the backbone has it.
pub(crate) fn hidden_ratio(hidden: usize, width: usize) -> f32 {
    hidden as f32 / width as f32
}

/// A length of a picture: one for both sides, or rows and columns.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Sides {
    Same(usize),
    Each([usize; 2]),
}

impl Sides {
    /// Rows and columns.
    pub(crate) fn pair(self) -> [usize; 2] {
        match self {
            Self::Same(side) => [side, side],
            Self::Each(sides) => sides,
        }
    }
}

/// `id2label`: the names matter to people only.
pub(crate) type Labels = BTreeMap<String, IgnoredAny>;

/// Number of labels of a head, as the reference implementation counts them.
pub(crate) fn labels(number: Option<usize>, names: Option<&Labels>) -> usize {
    number.or(names.map(Labels::len)).unwrap_or(2)
}

/// Whether a trunk can be built.
pub(crate) fn check(trunk: &TransformerConfig) -> Result<(), String> {
    if trunk.layers > MOST_LAYERS {
        return Err(format!("{} layers, more than {MOST_LAYERS}", trunk.layers));
    }
    if trunk.width > MOST_FEATURES || trunk.hidden() > MOST_FEATURES {
        return Err(format!("width {} and hidden width {}, more than {MOST_FEATURES}", trunk.width, trunk.hidden()));
    }
    match trunk.problem() {
        Some(problem) => Err(problem),
        None => Ok(()),
    }
}

/// Whether each of some sizes is above 0.
pub(crate) fn positive(sizes: &[(&str, usize)]) -> Result<(), String> {
    match sizes.iter().find(|(_, size)| *size == 0) {
        None => Ok(()),
        Some((key, _)) => Err(format!("`{key}` must be above 0")),
    }
}

/// A configuration inside another, with all defaults where there is none. Where an older file has `{key}_dict` too,
/// that one counts.
pub(crate) fn nested<T: DeserializeOwned>(config: &Value, key: &str) -> Result<T, String> {
    let old = format!("{key}_dict");
    let inner = [old.as_str(), key].into_iter().find(|key| !config[*key].is_null());
    match inner {
        Some(key) => part(&config[key], &format!("{key}.")),
        None => part(&Value::Object(Map::new()), ""),
    }
}

/// A configuration from its object.
pub(crate) fn read<T: DeserializeOwned>(config: &Value) -> Result<T, String> {
    part(config, "")
}

fn part<T: DeserializeOwned>(config: &Value, above: &str) -> Result<T, String> {
    serde_path_to_error::deserialize(config).map_err(|error| format!("`{above}{}`: {}", error.path(), error.inner()))
}

/// An error if an option is on that only works off here.
pub(crate) fn off(options: &[(&str, bool)]) -> Result<(), String> {
    match options.iter().find(|(_, on)| *on) {
        None => Ok(()),
        Some((key, _)) => Err(format!("`{key}`: only false is known here")),
    }
}

/// An error if attention knows positions in a way that only few of BERT's kin ever had.
pub(crate) fn absolute(position_embedding_type: Option<&str>) -> Result<(), String> {
    match position_embedding_type {
        None | Some("absolute") => Ok(()),
        Some(other) => Err(format!("`position_embedding_type`: only \"absolute\" is known here, found \"{other}\"")),
    }
}

/// The id of the word that only fills rows up.
pub(crate) fn padding(pad_token_id: Option<i64>, vocab_size: usize, positions: usize) -> Result<(), String> {
    match pad_token_id {
        Some(id) if id < 0 || id as usize >= vocab_size => {
            Err(format!("`pad_token_id`: expected an id below {vocab_size}, found {id}"))
        }
        Some(id) if id as usize + 1 >= positions => {
            Err(format!("`max_position_embeddings`: expected more than {}, found {positions}", id + 1))
        }
        Some(_) => Ok(()),
        None => Err("`pad_token_id` must be given: positions count from it".into()),
    }
}
