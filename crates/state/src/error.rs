use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Why something could not be written, read or trusted.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The operating system refused.
    #[error("cannot {operation} `{}`: {source}", path.display())]
    Io {
        /// What was tried: `write`, `rename to` …
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The reason given.
        source: io::Error,
    },
    /// There is no room left; nothing was changed under the final name.
    #[error("cannot {operation} `{}`: the disk is full or the quota is used up; free some space and run again", path.display())]
    DiskFull {
        /// What was tried.
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
    },
    /// A path whose last part is not a file name.
    #[error("`{}` names no file", .0.display())]
    NoFileName(PathBuf),
    /// A directory without a manifest: its writer was interrupted, or it is something else.
    #[error("`{}` has no {}: it is incomplete or was not written by this program", .0.display(), crate::MANIFEST)]
    NoManifest(PathBuf),
    /// A file of JSON that does not hold what it should.
    #[error("`{}` is damaged: {reason}", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// What the parser said.
        reason: serde_json::Error,
    },
    /// A file of the manifest is not there.
    #[error("`{}` is missing, though the manifest lists it", .0.display())]
    MissingFile(PathBuf),
    /// A file that the manifest does not list.
    #[error("`{}` is not listed in the manifest", .0.display())]
    UnknownFile(PathBuf),
    /// A file whose content is not what was written.
    #[error("`{}` has changed: expected {expected}, found {found}", path.display())]
    ChangedFile {
        /// Which file.
        path: PathBuf,
        /// Size or checksum in the manifest.
        expected: String,
        /// Size or checksum on disk.
        found: String,
    },
    /// A file that is not in the safetensors format.
    #[error("`{}` is not a valid safetensors file: {source}", path.display())]
    Safetensors {
        /// Which file.
        path: PathBuf,
        /// What the parser said.
        source: safetensors::SafeTensorError,
    },
    /// A tensor of a type that was not asked for.
    #[error("tensor `{tensor}` in `{}` holds {found}, expected {expected}", path.display())]
    Dtype {
        /// Which file.
        path: PathBuf,
        /// Which tensor.
        tensor: String,
        /// What can be read.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A tensor with a value that no training run should have left.
    #[error("tensor `{tensor}` in `{}` holds {value} at element {element}", path.display())]
    NonFinite {
        /// Which file.
        path: PathBuf,
        /// Which tensor.
        tensor: String,
        /// Index into the flattened tensor.
        element: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// Two tensors of one name.
    #[error("two tensors are named `{0}`")]
    DuplicateTensor(String),
    /// Tensors that do not fit a module's parameters.
    #[error(
        "the tensors do not fit the model:{}{}{}",
        list(" missing", missing),
        list(" unknown", surplus),
        list(" shapes", shapes)
    )]
    Parameters {
        /// Parameters for which there is no tensor.
        missing: Vec<String>,
        /// Tensors for which there is no parameter.
        surplus: Vec<String>,
        /// Tensors of another shape than their parameter.
        shapes: Vec<ShapeMismatch>,
    },
    /// Another process writes to the run directory.
    #[error("`{}` is in use by another process", .0.display())]
    Locked(PathBuf),
    /// A run directory that was begun with another recipe.
    #[error(
        "the recipe differs in {} from the one that `{}` was begun with; use another directory",
        sentence(differences),
        path.display()
    )]
    RecipeDiffers {
        /// The run directory.
        path: PathBuf,
        /// All keys that differ.
        differences: Vec<Difference>,
    },
}

impl StateError {
    /// What the operating system said about one operation on one path.
    pub fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { operation, path },
            _ => Self::Io { operation, path, source },
        }
    }

    /// Whether the content of a file is at fault, and not the access to it: an earlier checkpoint
    /// may then serve.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::DiskFull { .. } | Self::NoFileName(_) | Self::Locked(_) | Self::RecipeDiffers { .. } => false,
            _ => true,
        }
    }
}

/// A tensor whose shape is not that of its parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeMismatch {
    /// The parameter's path.
    pub name: String,
    /// The parameter's shape.
    pub expected: Vec<usize>,
    /// The tensor's shape.
    pub found: Vec<usize>,
}

impl fmt::Display for ShapeMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (expected {:?}, found {:?})", self.name, self.expected, self.found)
    }
}

/// A key of a recipe with another value than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Dotted path of the key.
    pub key: String,
    /// Value in the run directory; nothing if the key is new.
    pub before: Option<String>,
    /// Value now; nothing if the key is gone.
    pub now: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".to_owned());
        write!(f, "`{}` (was {}, now {})", self.key, show(&self.before), show(&self.now))
    }
}

const SHOWN: usize = 8;

fn list<T: fmt::Display>(title: &str, items: &[T]) -> String {
    match items {
        [] => String::new(),
        _ => format!("{title} {};", sentence(items)),
    }
}

fn sentence<T: fmt::Display>(items: &[T]) -> String {
    let mut shown: Vec<String> = items.iter().take(SHOWN).map(T::to_string).collect();
    if items.len() > SHOWN {
        shown.push(format!("{} more", items.len() - SHOWN));
    }
    shown.join(", ")
}
