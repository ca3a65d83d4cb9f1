use std::{fmt, ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize};

/// Bytes of the longest name: files are called by it.
const LONGEST: usize = 128;

/// The name that a recipe gives to a modality (`image`, `caption`, `left_eye` …).
///
/// Parts above the modalities know modalities by name only. Files of models and folders of indices
/// are called by it, so that a name which comes from a file may not lead elsewhere: it is read only
/// if it has no `/`, `\` or control character, does not begin with a dot, and is neither empty nor
/// longer than 128 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Name(Arc<str>);

impl Name {
    /// A name from its text, which the program itself chose.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name nearest to any text, such as the name of a column: what a name cannot hold becomes
    /// `_`, and what is too long is cut.
    pub fn like(text: &str) -> Self {
        let mut name = String::new();
        for letter in text.chars() {
            let odd = leads_elsewhere(letter) || name.is_empty() && letter == '.';
            let letter = if odd { '_' } else { letter };
            if name.len() + letter.len_utf8() > LONGEST {
                break;
            }
            name.push(letter);
        }
        Self::new(if name.is_empty() { "_" } else { &name })
    }
}

fn leads_elsewhere(letter: char) -> bool {
    matches!(letter, '/' | '\\') || letter.is_control()
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let problem = match () {
            () if name.is_empty() => "is empty",
            () if name.starts_with('.') => "begins with a dot",
            () if name.chars().any(leads_elsewhere) => "holds `/`, `\\` or a control character",
            () if name.len() > LONGEST => "is longer than 128 bytes",
            () => return Ok(Self::new(&name)),
        };
        // What is printed stays printable, and short.
        let shown: String = name.chars().take(40).collect();
        Err(format!("the name {shown:?} {problem}"))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        (*name).to_owned()
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused_or_made_harmless() {
        let long = "a".repeat(129);
        for wrong in ["", ".", "..", "../x", "/etc/x", "a/b", "a\\b", "a\0b", "a\nb", ".hidden", &long] {
            assert!(Name::try_from(wrong.to_owned()).is_err(), "{wrong:?}");
            let like = Name::like(wrong);
            assert_eq!(Name::try_from(like.to_string()), Ok(like), "{wrong:?}");
        }
        for right in ["image", "left_eye", "Chief complaint (free text)", "é-1", &"é".repeat(64)] {
            assert_eq!(Name::try_from(right.to_owned()), Ok(Name::new(right)));
            assert_eq!(Name::like(right), Name::new(right));
        }
        assert_eq!(&*Name::like("../a/b"), "_._a_b");
    }
}
