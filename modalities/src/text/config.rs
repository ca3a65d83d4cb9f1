use std::path::PathBuf;

use sensorium_contract::Pool;
use serde::{Deserialize, Serialize};

use super::{Letters, TextError};

/// How a text becomes tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextConfig {
    /// The sample's field; a list of texts is several captions, one of which is drawn a step.
    pub field: String,
    /// Where the tokenizer comes from.
    pub tokenizer: TokenizerConfig,
    /// The most tokens of a text, the first and the last token included; longer texts lose their end.
    pub context: usize,
    /// How the tokens become one vector.
    pub pool: Pool,
    /// Share of the tokens that masked modelling hides (Devlin et al. 2019: 0.15).
    pub mask_ratio: f32,
    /// Chance of a token to be hidden while training, so that no single one is learned by heart.
    #[serde(skip_serializing_if = "is_zero")]
    pub token_dropout: f32,
    /// Whether tokens have learned positions; a trunk of rotary ones needs none.
    #[serde(skip_serializing_if = "is_true")]
    pub positions: bool,
    /// The epsilon of a normalisation of the tokens before the trunk (BERT has 1e-12); none if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm: Option<f64>,
    /// The id of a token that fills texts up to `context` and is read like any other (SigLIP); if not given, shorter texts
    /// have fewer tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fill: Option<i64>,
    /// Which letters are read of texts that are all of one length; all if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub letters: Option<Letters>,
}

fn is_zero(value: &f32) -> bool {
    *value == 0.0
}

fn is_true(value: &bool) -> bool {
    *value
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            field: "text".to_owned(),
            tokenizer: TokenizerConfig::default(),
            context: 64,
            pool: Pool::Class,
            mask_ratio: 0.15,
            token_dropout: 0.0,
            positions: true,
            norm: None,
            fill: None,
            letters: None,
        }
    }
}

impl TextConfig {
    /// What no data could make right.
    pub(super) fn validate(&self) -> Result<(), TextError> {
        if self.context < 3 {
            return Err(TextError::Config {
                key: "context",
                expected: "at least 3 tokens",
                found: self.context.to_string(),
            });
        }
        if !(0.0..=1.0).contains(&self.mask_ratio) {
            let found = self.mask_ratio.to_string();
            return Err(TextError::Config { key: "mask_ratio", expected: "a share between 0 and 1", found });
        }
        if !(0.0..1.0).contains(&self.token_dropout) {
            let found = self.token_dropout.to_string();
            return Err(TextError::Config {
                key: "token_dropout",
                expected: "a share of at least 0 and below 1",
                found,
            });
        }
        if let Some(norm) = self.norm.filter(|norm| !(norm.is_finite() && *norm > 0.0)) {
            return Err(TextError::Config { key: "norm", expected: "a number above 0", found: norm.to_string() });
        }
        self.letters.as_ref().map_or(Ok(()), Letters::validate)
    }
}

/// Where a tokenizer comes from: `{ file = "tokenizer.json" }`, `{ train = "bpe", vocabulary = 4096 }` or
/// `{ published = "all-MiniLM-L6-v2" }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "TokenizerTable", into = "TokenizerTable")]
pub enum TokenizerConfig {
    /// A `tokenizer.json` as the tokenizers library writes it.
    File(PathBuf),
    /// Learned from the training texts.
    Train(Training),
    /// That of a published checkpoint's directory, which says itself what begins and ends a text.
    Published(PathBuf),
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        Self::Train(Training::default())
    }
}

/// How a tokenizer is learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
    /// Which kind.
    pub kind: TokenizerKind,
    /// The most entries, special tokens included. Bytes always have 261.
    pub vocabulary: usize,
    /// Whether capitals become small letters first. Off, as it changes the meaning of, for example,
    /// SMILES.
    pub lowercase: bool,
    /// How often two pieces must meet to be merged.
    pub min_frequency: u64,
}

impl Default for Training {
    fn default() -> Self {
        Self { kind: TokenizerKind::Bpe, vocabulary: 4096, lowercase: false, min_frequency: 2 }
    }
}

/// The kinds of tokenizer that can be learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenizerKind {
    /// Byte-level byte-pair encoding (Sennrich et al. 2016; on bytes as GPT-2): any text, nothing unknown.
    Bpe,
    /// Whole words and word ends by longest match (as BERT).
    #[serde(rename = "wordpiece")]
    WordPiece,
    /// One token a UTF-8 byte.
    Byte,
    /// One token a character: proteins.
    Character,
    /// One token an atom, bond, branch or ring of SMILES: `Cl`, `[nH]`, `%12` are one.
    Smiles,
}

impl TokenizerKind {
    fn name(self) -> &'static str {
        match self {
            Self::Bpe => "bpe",
            Self::WordPiece => "wordpiece",
            Self::Byte => "byte",
            Self::Character => "character",
            Self::Smiles => "smiles",
        }
    }
}

impl std::fmt::Display for TokenizerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// [`TokenizerConfig`] as a recipe writes it; one table, so that a wrong key is named.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TokenizerTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    train: Option<TokenizerKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vocabulary: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lowercase: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_frequency: Option<u64>,
}

impl TryFrom<TokenizerTable> for TokenizerConfig {
    type Error = String;

    fn try_from(table: TokenizerTable) -> Result<Self, String> {
        let TokenizerTable { file, published, train, vocabulary, lowercase, min_frequency } = table;
        let trains = train.is_some() || vocabulary.is_some() || lowercase.is_some() || min_frequency.is_some();
        match (file, published) {
            (None, None) => {}
            (Some(file), None) if !trains => return Ok(Self::File(file)),
            (None, Some(directory)) if !trains => return Ok(Self::Published(directory)),
            _ => {
                return Err("a tokenizer is either read from `file`, that of a `published` checkpoint, or learned \
                            (`train`, `vocabulary`, `lowercase`, `min_frequency`), not both"
                    .to_owned());
            }
        }
        let Some(kind) = train else {
            return Err(
                "a tokenizer needs `file`, `published` or `train` (bpe, wordpiece, byte, character, smiles)".to_owned()
            );
        };
        if kind == TokenizerKind::Byte && (vocabulary.is_some() || min_frequency.is_some()) {
            return Err("bytes have a fixed vocabulary: leave out `vocabulary` and `min_frequency`".to_owned());
        }
        let default = Training::default();
        Ok(Self::Train(Training {
            kind,
            vocabulary: vocabulary.unwrap_or(default.vocabulary),
            lowercase: lowercase.unwrap_or(default.lowercase),
            min_frequency: min_frequency.unwrap_or(default.min_frequency),
        }))
    }
}

impl From<TokenizerConfig> for TokenizerTable {
    fn from(config: TokenizerConfig) -> Self {
        match config {
            TokenizerConfig::File(file) => Self { file: Some(file), ..Self::default() },
            TokenizerConfig::Published(directory) => Self { published: Some(directory), ..Self::default() },
            TokenizerConfig::Train(training) => {
                let merges = training.kind != TokenizerKind::Byte;
                Self {
                    train: Some(training.kind),
                    vocabulary: merges.then_some(training.vocabulary),
                    lowercase: Some(training.lowercase),
                    min_frequency: merges.then_some(training.min_frequency),
                    ..Self::default()
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer(json: &str) -> Result<TokenizerConfig, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_tokenizer_is_read_or_learned() {
        assert_eq!(tokenizer(r#"{"file": "t.json"}"#), Ok(TokenizerConfig::File("t.json".into())));
        let learned = tokenizer(r#"{"train": "wordpiece", "vocabulary": 100, "lowercase": true}"#);
        let training =
            Training { kind: TokenizerKind::WordPiece, vocabulary: 100, lowercase: true, ..Training::default() };
        assert_eq!(learned, Ok(TokenizerConfig::Train(training)));
        for (json, part) in [
            (r#"{"file": "t.json", "train": "bpe"}"#, "not both"),
            (r#"{"file": "t.json", "published": "minilm"}"#, "not both"),
            ("{}", "needs `file`, `published` or `train`"),
            (r#"{"train": "byte", "vocabulary": 9}"#, "fixed vocabulary"),
            (r#"{"train": "bpe", "vocabulry": 9}"#, "unknown field `vocabulry`"),
            (r#"{"train": "bp"}"#, "unknown variant `bp`"),
        ] {
            let error = tokenizer(json).unwrap_err();
            assert!(error.contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn a_configuration_survives_writing() {
        for tokenizer in [
            TokenizerConfig::File("a/t.json".into()),
            TokenizerConfig::Published("minilm".into()),
            TokenizerConfig::default(),
            TokenizerConfig::Train(Training { kind: TokenizerKind::Byte, ..Training::default() }),
        ] {
            let config = TextConfig { tokenizer, ..TextConfig::default() };
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<TextConfig>(&json).unwrap(), config, "{json}");
        }
    }
}
