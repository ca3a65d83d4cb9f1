use std::fmt;

/// Why one sample cannot be used.
///
/// `reason` is a short fixed text (`"picture cannot be decoded"`) that faults are counted by;
/// `detail` says what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field that is damaged.
    pub field: String,
    /// What faults of this kind are counted under.
    pub reason: &'static str,
    /// What was expected and what was found.
    pub detail: String,
}

impl Fault {
    /// A fault of `field`.
    pub fn new(field: &str, reason: &'static str, detail: impl fmt::Display) -> Self {
        Self { field: field.to_owned(), reason, detail: detail.to_string() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "field `{}`: {}: {}", self.field, self.reason, self.detail)
    }
}

impl std::error::Error for Fault {}

/// A fault with the sample that it was found in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleFault {
    /// Key of the sample.
    pub key: String,
    /// File (and place in it) that the sample was read from.
    pub place: String,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for SampleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sample `{}` in {}: {}", self.key, self.place, self.fault)
    }
}
