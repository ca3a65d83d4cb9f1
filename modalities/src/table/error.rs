use super::Decision;

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
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
    /// A pinned column that no sample has.
    #[error("column `{name}` of `columns` is in no sample; the samples have {}", list(found))]
    MissingColumn {
        /// The column.
        name: String,
        /// The fields of the data.
        found: Vec<String>,
    },
    /// A pinned numeric column without numbers.
    #[error("column `{name}` is pinned as numeric, but none of its {values} values is a number (`{example}`)")]
    NotNumeric {
        /// The column.
        name: String,
        /// How many values were seen.
        values: u64,
        /// One of them.
        example: String,
    },
    /// A data set in which nothing serves as a column.
    #[error("no column to read: {}", reasons(decisions))]
    NoColumns {
        /// Why each field was left out.
        decisions: Vec<Decision>,
    },
    /// A schema that cannot be read.
    #[error("the model's column schema is damaged: {detail}")]
    Damaged {
        /// What the parser said.
        detail: String,
    },
}

fn list(names: &[String]) -> String {
    match names {
        [] => "no fields".to_owned(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

fn reasons(decisions: &[Decision]) -> String {
    match decisions {
        [] => "the samples have no fields".to_owned(),
        all => all.iter().map(|one| format!("`{}`: {}", one.column, one.reason)).collect::<Vec<_>>().join("; "),
    }
}
