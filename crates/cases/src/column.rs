use std::fmt;

use serde::{Deserialize, Serialize};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Pictures, or paths of pictures.
    Image,
    /// Sounds, or paths of sounds.
    Audio,
    /// Words to be read.
    Text(Writing),
    /// Numbers that have an order.
    Number,
    /// One of several values.
    Category,
    /// Days; read as numbers.
    Date,
    /// Tells rows apart and nothing else.
    Identifier,
    /// The same in every row, or missing in all.
    Constant,
    /// What is told from the others.
    Label,
    /// Cases of one group stay on one side of a split.
    Group,
    /// Says on which side a case is.
    Split,
    /// Not read.
    Dropped,
}

/// In what a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Writing {
    /// Words.
    Prose,
    /// SMILES: read atom by atom.
    Molecule,
    /// Amino acids or bases: read letter by letter.
    Sequence,
}

impl Kind {
    /// Whether a model reads it.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Image | Self::Audio | Self::Text(_) | Self::Number | Self::Category | Self::Date)
    }

    /// Whether it is a cell of the table modality.
    pub fn is_cell(self) -> bool {
        matches!(self, Self::Number | Self::Category | Self::Date)
    }

    /// The kind that `--columns` calls so.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "image" => Self::Image,
            "audio" => Self::Audio,
            "text" => Self::Text(Writing::Prose),
            "molecule" => Self::Text(Writing::Molecule),
            "sequence" => Self::Text(Writing::Sequence),
            "number" => Self::Number,
            "category" => Self::Category,
            "date" => Self::Date,
            "drop" => Self::Dropped,
            _ => return None,
        })
    }

    /// The names that [`Kind::named`] knows.
    pub const NAMES: &str = "image, audio, text, molecule, sequence, number, category, date, drop";
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Text(Writing::Prose) => "text",
            Self::Text(Writing::Molecule) => "molecule",
            Self::Text(Writing::Sequence) => "sequence",
            Self::Number => "number",
            Self::Category => "category",
            Self::Date => "date",
            Self::Identifier => "identifier",
            Self::Constant => "constant",
            Self::Label => "label",
            Self::Group => "group",
            Self::Split => "split",
            Self::Dropped => "drop",
        })
    }
}

/// One column as it is understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Why that is thought.
    pub reason: String,
    /// Share of the rows without a value.
    pub missing: f64,
    /// Different values among the rows that were looked at.
    pub distinct: usize,
    /// A value, as an example.
    pub example: String,
    /// Characters of all but the longest twentieth of its texts; 0 of others.
    pub length: usize,
    /// Of sequences of one length that differ at no more than half of their places: these, from 0.
    pub differing: Vec<usize>,
    /// Why it may give the label away.
    pub leak: Option<String>,
}
