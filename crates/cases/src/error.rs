use sensorium_samples::SourceError;

/// Why a table cannot be used as asked.
#[derive(Debug, thiserror::Error)]
pub enum CasesError {
    /// The table cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Too many rows cannot be read; the first one says why.
    #[error("{damaged} of {rows} rows cannot be read; the first: {first}")]
    Damaged {
        /// Rows that cannot.
        damaged: usize,
        /// All rows.
        rows: usize,
        /// What is wrong with the first.
        first: String,
    },
    /// A column that was named is not there.
    #[error("{option}: there is no column `{name}`; the table has {known}")]
    NoColumn {
        /// Where it was named.
        option: &'static str,
        /// The name.
        name: String,
        /// What there is, the nearest first.
        known: String,
    },
    /// An option that means nothing.
    #[error("{option}: {problem}")]
    Option {
        /// Which one.
        option: &'static str,
        /// Expected and found.
        problem: String,
    },
    /// The label cannot be learned.
    #[error("label `{label}`: {problem}")]
    Label {
        /// Its column.
        label: String,
        /// Expected and found.
        problem: String,
    },
    /// A side of a split would hold nothing.
    #[error("{0}")]
    Split(String),
}

impl CasesError {
    /// A column that was named in an option is not among these.
    pub fn no_column(option: &'static str, name: &str, known: &[String]) -> Self {
        let known = known.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ");
        Self::NoColumn { option, name: name.to_owned(), known }
    }
}
