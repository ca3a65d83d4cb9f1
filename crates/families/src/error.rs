use std::path::PathBuf;

use sensorium_state::StateError;

/// Why a checkpoint could not be taken in, run or given out.
#[derive(Debug, thiserror::Error)]
pub enum FamilyError {
    /// A file that cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A directory that holds no checkpoint.
    #[error("`{}` holds no checkpoint: {problem}", path.display())]
    NoCheckpoint {
        /// The directory.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// A place to write to that holds something.
    #[error("`{}` is not empty; give a directory that is not there yet", .0.display())]
    Occupied(PathBuf),
    /// A configuration that cannot be used.
    #[error("`{}`: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The key and what is wrong with it.
        problem: String,
    },
    /// A system that is not known here.
    #[error("`{}`: model_type is `{found}`; known are {}", path.display(), known.join(", "))]
    UnknownFamily {
        /// The file.
        path: PathBuf,
        /// Its `model_type`.
        found: String,
        /// Those that can be read.
        known: Vec<&'static str>,
    },
    /// A file of tensors that is damaged or hostile.
    #[error("`{}`: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which tensor, and what is wrong with it.
        problem: String,
    },
    /// Tensors that do not fit the configuration.
    #[error("`{}` does not fit its configuration: {}", path.display(), problems.join("; "))]
    Tensors {
        /// The checkpoint.
        path: PathBuf,
        /// Every tensor that is missing, surplus or of another shape.
        problems: Vec<String>,
    },
    /// An input of a forward pass that cannot be used.
    #[error("input `{name}`: {problem}")]
    Input {
        /// Its name.
        name: String,
        /// Expected and found.
        problem: String,
    },
}

impl FamilyError {
    pub(crate) fn input(name: &str, problem: impl Into<String>) -> Self {
        Self::Input { name: name.to_owned(), problem: problem.into() }
    }
}
