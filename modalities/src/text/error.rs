use std::path::PathBuf;

use super::TokenizerKind;

/// Why there is no tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A value of the configuration that cannot work.
    #[error("`{key}`: expected {expected}, found {found}")]
    Config {
        /// Which key.
        key: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// The tokenizer's file cannot be read.
    #[error("tokenizer file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text is no tokenizer.
    #[error("{place} is not a tokenizer.json as the tokenizers library writes it: {detail}")]
    Damaged {
        /// File, or `the model's tokenizer.json`.
        place: String,
        /// What the library said.
        detail: String,
    },
    /// A tokenizer without a token that the configuration relies on.
    #[error(
        "{place} has no token that {purpose} (looked for {names}), which `pool = \"{pool}\"` needs; use `pool = \"mean\"` or another tokenizer"
    )]
    NoToken {
        /// File, or `the model's tokenizer.json`.
        place: String,
        /// `begins a text`, `ends a text`.
        purpose: &'static str,
        /// The names that were looked for.
        names: String,
        /// The pooling.
        pool: &'static str,
    },
    /// A vocabulary that cannot hold its alphabet.
    #[error("`vocabulary`: a {kind} tokenizer needs at least {least} entries, found {found}")]
    Vocabulary {
        /// Which kind.
        kind: TokenizerKind,
        /// The special tokens and the least alphabet.
        least: usize,
        /// What is configured.
        found: usize,
    },
    /// Nothing to learn from.
    #[error("no text to learn a tokenizer from: no sample has the field `{field}`")]
    NoTexts {
        /// The field.
        field: String,
    },
    /// A model of the sentencepiece library that is damaged or of a kind that is not known.
    #[error("`{}` is no model of the sentencepiece library that is read here: {problem}", path.display())]
    Pieces {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A published model without a tokenizer of a form that is read here.
    #[error(
        "`{}` has neither `tokenizer.json` nor `{missing}`{}; save the tokenizer in this form with the transformers library (AutoTokenizer.from_pretrained(…).save_pretrained(…))",
        directory.display(),
        found.map(|found| format!(" (`{found}` of the sentencepiece library is not read)")).unwrap_or_default()
    )]
    NoTokenizer {
        /// The model's directory.
        directory: PathBuf,
        /// The older file.
        missing: &'static str,
        /// A file of another library.
        found: Option<&'static str>,
    },
}
