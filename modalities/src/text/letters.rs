use serde::{Deserialize, Serialize};

use super::TextError;

/// Of texts of one length that differ at few places, as the variants of a protein do, the letters there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Letters {
    /// One of the texts, whole.
    pub of: String,
    /// Places that are read, from 0, ascending.
    pub at: Vec<usize>,
}

impl Letters {
    /// The letters that are read, and whether all others are those of [`Letters::of`]; nothing for a text of another
    /// length.
    pub(super) fn pick(&self, text: &str) -> Option<(String, bool)> {
        let letters: Vec<char> = text.chars().collect();
        let of: Vec<char> = self.of.chars().collect();
        if letters.len() != of.len() {
            return None;
        }
        let read = |place: &usize| self.at.binary_search(place).is_ok();
        let same = (0..of.len()).filter(|place| !read(place)).all(|place| letters[place] == of[place]);
        Some((self.at.iter().filter_map(|&place| letters.get(place)).collect(), same))
    }

    pub(super) fn validate(&self) -> Result<(), TextError> {
        let length = self.of.chars().count();
        let ascending = self.at.is_sorted_by(|before, after| before < after);
        if self.at.is_empty() || !ascending || self.at.iter().any(|&place| place >= length) {
            let expected = "places below the length of `of`, ascending";
            return Err(TextError::Config { key: "letters.at", expected, found: format!("{:?} of {length}", self.at) });
        }
        Ok(())
    }
}
