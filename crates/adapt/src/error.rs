use std::path::PathBuf;

/// Why a model cannot be fine-tuned, or a fine-tuned one cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum AdaptError {
    /// The table cannot be used as asked.
    #[error(transparent)]
    Cases(#[from] sensorium_cases::CasesError),
    /// The table cannot be read.
    #[error(transparent)]
    Source(#[from] sensorium_samples::SourceError),
    /// Too many cases are damaged.
    #[error(transparent)]
    Load(#[from] sensorium_samples::LoadError),
    /// A modality cannot be made.
    #[error(transparent)]
    Modality(#[from] sensorium_modalities::ModalityError),
    /// The model cannot be built, saved or loaded.
    #[error(transparent)]
    Model(#[from] sensorium_model::ModelError),
    /// Something on disk is missing, damaged or full.
    #[error(transparent)]
    State(#[from] sensorium_state::StateError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] sensorium_train::TrainError),
    /// An override or a recipe is wrong.
    #[error(transparent)]
    Recipe(#[from] sensorium_recipe::RecipeError),
    /// Predictions cannot be judged.
    #[error(transparent)]
    Metrics(#[from] sensorium_metrics::MetricsError),
    /// No column can be read.
    #[error("no column is left to tell `{label}` from: see the table of columns; `--columns KIND=COLUMN` reads one")]
    NothingToRead {
        /// The label.
        label: String,
    },
    /// A setting of what is started from cannot work.
    #[error("{key}: {problem}")]
    Start {
        /// The key of the recipe.
        key: String,
        /// What is expected and what was found.
        problem: String,
    },
    /// The run was begun with other settings.
    #[error("{path}: the run was begun with another {key} ({before}, now {now}): take another `--out`, or remove it")]
    OtherRequest {
        /// The run directory.
        path: PathBuf,
        /// The first setting that differs.
        key: String,
        /// As it was.
        before: String,
        /// As it is asked now.
        now: String,
    },
    /// The table changed since the run was begun.
    #[error("{table}: the table is not the one that the run was begun with: take another `--out`, or put it back")]
    OtherTable {
        /// Its files.
        table: String,
    },
    /// A model that tells no label.
    #[error("{path}: the model tells no label: expected what `finetune` leaves")]
    NoLabel {
        /// The model directory.
        path: PathBuf,
    },
    /// A published checkpoint that reads nothing of the data.
    #[error("{path}: the checkpoint reads {reads}, of which there is none here: found {found}")]
    NothingTaken {
        /// The model directory.
        path: PathBuf,
        /// Kinds of data.
        reads: String,
        /// Kinds of data.
        found: String,
    },
    /// A file of our own that is not as it was written.
    #[error("{path}: {problem}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// No case can be judged.
    #[error("no case of the table can be judged: {0}")]
    NothingToJudge(String),
    /// Predictions cannot be written.
    #[error("{path}: {problem}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}
