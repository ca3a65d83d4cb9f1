use std::collections::BTreeMap;

use crate::{CasesError, Kind, ProblemKind};

/// What the user said about columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roles {
    /// What kind of problem the label is, if it should not be inferred.
    pub problem: Option<ProblemKind>,
    /// Rows that shared this column's value were [joined](crate::join) to one case.
    pub case: Option<String>,
    /// Cases that share this column's value stay together.
    pub group: Option<String>,
    /// The column that says train, validation or test.
    pub split: Option<String>,
    /// Columns whose kind was given.
    pub kinds: BTreeMap<String, Kind>,
}

impl Roles {
    /// Reads `image=scan,text=notes,drop=id,drop=url` into [`Roles::kinds`]: a kind, then a column;
    /// entries without a kind repeat the one before (`drop=id,url`).
    ///
    /// # Errors
    /// A kind that is not known, an entry without `=` at the start, a column that is named twice.
    pub fn read_kinds(&mut self, given: &str) -> Result<(), CasesError> {
        let wrong = |problem: String| CasesError::Option { option: "--columns", problem };
        let mut kind = None;
        for entry in given.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let name = match entry.split_once('=') {
                Some((name, column)) => {
                    let known = || wrong(format!("`{name}` is no kind of column; known are {}", Kind::NAMES));
                    kind = Some(Kind::named(name.trim()).ok_or_else(known)?);
                    column.trim()
                }
                None => entry,
            };
            let kind = kind.ok_or_else(|| wrong(format!("expected KIND=COLUMN, found `{entry}`")))?;
            if self.kinds.insert(name.to_owned(), kind).is_some() {
                return Err(wrong(format!("`{name}` is named twice")));
            }
        }
        Ok(())
    }
}
