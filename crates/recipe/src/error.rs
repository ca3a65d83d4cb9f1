use std::{fmt, path::PathBuf};

/// Why a recipe cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not TOML.
    #[error("{path}: {problem}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Place and problem.
        problem: String,
    },
    /// A key is unknown, missing, of the wrong type or contradictory.
    #[error("{path}{line}: {problem}{hint}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Where, if it is in the file at all.
        line: Line,
        /// What is wrong, with the key.
        problem: String,
        /// The nearest valid name, if one is near.
        hint: Hint,
    },
    /// A value has no form in TOML.
    #[error("the recipe cannot be written: {0}")]
    Unwritable(String),
    /// A `--set` that is not `key=value`, or sets what cannot be.
    #[error("--set {given}: {problem}")]
    Override {
        /// As given.
        given: String,
        /// What is wrong.
        problem: String,
    },
}

/// A line of the recipe, printed as `:12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line(pub Option<usize>);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}

/// A name that may have been meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint(pub Option<String>);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(f, " (did you mean `{name}`?)"),
            None => Ok(()),
        }
    }
}
