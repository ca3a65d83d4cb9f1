/// Why predictions cannot be measured.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetricsError {
    /// There is nothing to measure.
    #[error("no rows to measure")]
    Empty,
    /// Two lists that belong together differ in length.
    #[error("{what}: expected {expected}, found {found}")]
    Length {
        /// Which list.
        what: &'static str,
        /// Its length should be.
        expected: usize,
        /// Its length is.
        found: usize,
    },
    /// A row's class is none of the classes.
    #[error("row {row}: class {found}, but there are {classes} classes")]
    Class {
        /// The row.
        row: usize,
        /// Its class.
        found: usize,
        /// How many there are.
        classes: usize,
    },
    /// A row's probabilities are none.
    #[error("row {row}: expected probabilities that add up to 1, found {found:?}")]
    Probabilities {
        /// The row.
        row: usize,
        /// What it holds.
        found: Vec<f64>,
    },
    /// A number is infinite or none.
    #[error("row {row}: expected a finite {what}, found {found}")]
    NotFinite {
        /// What the number is.
        what: &'static str,
        /// The row.
        row: usize,
        /// The number.
        found: f64,
    },
}

/// An error unless a list is as long as it should be.
pub(crate) fn check_length(what: &'static str, expected: usize, found: usize) -> Result<(), MetricsError> {
    match expected == found {
        true => Ok(()),
        false => Err(MetricsError::Length { what, expected, found }),
    }
}
