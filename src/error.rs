use std::path::PathBuf;

/// Why a whole command failed. Each variant says it in the words of the part that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The recipe is wrong.
    #[error(transparent)]
    Recipe(#[from] sensorium_recipe::RecipeError),
    /// A source of samples cannot be read.
    #[error(transparent)]
    Source(#[from] sensorium_samples::SourceError),
    /// Too many samples are damaged.
    #[error(transparent)]
    Load(#[from] sensorium_samples::LoadError),
    /// A built-in set cannot be written.
    #[error(transparent)]
    Emoji(#[from] sensorium_datasets::emoji::EmojiError),
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
    /// Judging failed.
    #[error(transparent)]
    Retrieve(#[from] sensorium_retrieve::RetrieveError),
    /// Predictions cannot be measured.
    #[error(transparent)]
    Metrics(#[from] sensorium_metrics::MetricsError),
    /// A command was used in a way that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// No sample says what class it is of.
    #[error("no sample has the label field `{field}`; the fields found are {found}")]
    NoLabel {
        /// The field that was asked for.
        field: String,
        /// What there is.
        found: String,
    },
    /// No sample has the modalities and a label.
    #[error("no sample has a label and {modalities}")]
    NothingToJudge {
        /// What was asked for.
        modalities: String,
    },
    /// A file of prompts is wrong.
    #[error("`{}`: {problem}", path.display())]
    Prompts {
        /// The file.
        path: PathBuf,
        /// Expected and found.
        problem: String,
    },
    /// A prompt that the model cannot read.
    #[error("{0}")]
    Prompt(String),
    /// Prompts were given to a model that reads no texts.
    #[error("the model has no modality that reads texts, so it cannot be asked in words")]
    NoTexts,
    /// What was asked to be explained cannot be.
    #[error("{0}")]
    Explain(String),
    /// Samples without anything to embed.
    #[error("no sample has any of the model's modalities ({modalities})")]
    NothingToEmbed {
        /// The model's.
        modalities: String,
    },
    /// An index of another model's embeddings.
    #[error("`{}` was made with another model than `{}`: their vectors do not compare", index.display(), model.display())]
    OtherModel {
        /// The index.
        index: PathBuf,
        /// The model.
        model: PathBuf,
    },
    /// Samples that are not those that vectors were made of.
    #[error("{data}: the samples are not those that were embedded")]
    OtherSamples {
        /// The files.
        data: String,
    },
    /// A published checkpoint cannot be used.
    #[error(transparent)]
    Family(#[from] sensorium_families::FamilyError),
    /// What a published checkpoint says of tokenizer, pooling or pictures cannot be used.
    #[error("`{}`: {problem}", path.display())]
    Preprocessing {
        /// The file.
        path: PathBuf,
        /// Expected and found.
        problem: String,
    },
    /// A published model's tokenizer is missing or cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] sensorium_modalities::text::TextError),
    /// A published model that gives no vectors of texts, pictures or sounds.
    #[error("a model of the family {family} gives no vectors of texts, pictures or sounds")]
    NoEmbedding {
        /// The family's name.
        family: &'static str,
    },
    /// A published model that cannot be trained as a model of a recipe's parts.
    #[error("a model of the family {family} cannot be trained or explained here; those of the families {} can", known.join(", "))]
    NotTrained {
        /// The family's name.
        family: &'static str,
        /// The families that can.
        known: &'static [&'static str],
    },
    /// A table cannot be learned, or its cases not be told.
    #[error(transparent)]
    Adapt(#[from] sensorium_adapt::AdaptError),
    /// A published model that predicts nothing that could come next.
    #[error("a model of the family {family} does not generate")]
    NoGeneration {
        /// The family's name.
        family: &'static str,
    },
    /// A name that a published model has no token for.
    #[error("{what}: `{found}` is not known; the model knows {known}")]
    NotKnown {
        /// Language or task.
        what: &'static str,
        /// As given.
        found: String,
        /// What there is.
        known: String,
    },
    /// A sound or picture that cannot be decoded.
    #[error("{0}")]
    Content(String),
    /// The device is unknown or not in this build.
    #[error("unknown device `{found}`: this build has {known}")]
    Device {
        /// As given.
        found: String,
        /// What there is.
        known: String,
    },
    /// The build knows the device, the machine does not have it.
    #[error("no device `{found}` on this machine")]
    NoDevice {
        /// As given.
        found: String,
    },
    /// The device cannot compute in a type.
    #[error("device `{found}`: {problem}")]
    Compute {
        /// As given.
        found: String,
        /// What the device said.
        problem: String,
    },
    /// The samples lack what the recipe reads.
    #[error("{place}: no sample has the modality `{modality}` (field `{field}`); the fields found are {found}")]
    NoModality {
        /// Which data.
        place: &'static str,
        /// The modality.
        modality: String,
        /// What it reads.
        field: String,
        /// What there is.
        found: String,
    },
    /// A number that the recipe expects was not reached.
    #[error("{from}→{to}: recall@1 is {found:.3}, the recipe expects {times} times chance ({expected:.3})")]
    Expectation {
        /// Query modality.
        from: String,
        /// Answer modality.
        to: String,
        /// What was reached.
        found: f64,
        /// Factor.
        times: f64,
        /// Least acceptable value.
        expected: f64,
    },
    /// The recipe expects a number that the data cannot give.
    #[error("{from}→{to}: the recipe expects a recall@1, but no held-out sample has both")]
    NotMeasured {
        /// Query modality.
        from: String,
        /// Answer modality.
        to: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether a published model came without its tokenizer.
    pub(crate) fn is_missing_tokenizer(&self) -> bool {
        matches!(self, Self::Tokenizer(sensorium_modalities::text::TextError::NoTokenizer { .. }))
    }
}
