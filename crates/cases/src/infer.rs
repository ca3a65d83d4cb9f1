//! What a column holds, from its values.

use std::collections::HashMap;

use sensorium_contract::Value;
use sensorium_samples::{is_picture_path, is_sound_path};

use crate::{
    Column, Kind, Writing,
    cell::{days, is_missing, is_unspaced, number},
};

/// Share of the values that must be of a kind.
const NEARLY_ALL: f64 = 0.95;
/// Different whole numbers up to which a column of them is taken for codes.
const CODES: usize = 10;
/// Values of which the most frequent must cover half of the rows of a category.
const CATEGORIES: usize = 64;
/// Characters on average from which on what is written without blanks is more than a name.
const SENTENCE: f64 = 8.0;

/// A column's present values with what is counted of them.
struct Values<'a> {
    name: &'a str,
    rows: usize,
    present: Vec<&'a Value>,
    texts: Vec<String>,
    counts: HashMap<String, usize>,
}

/// The column with this name and these cells.
pub(crate) fn infer(name: &str, cells: &[Option<Value>]) -> Column {
    let values = Values::new(name, cells);
    let (kind, mut reason) = values.kind();
    let differing = if kind == Kind::Text(Writing::Sequence) { differing(&values.texts) } else { Vec::new() };
    if !differing.is_empty() {
        reason = format!("a sequence of {} letters, {} of which differ", values.texts[0].len(), differing.len());
    }
    let mut lengths: Vec<usize> = values.texts.iter().map(|text| text.chars().count()).collect();
    lengths.sort_unstable();
    let length = if matches!(kind, Kind::Text(_)) { lengths[(lengths.len() - 1) * 19 / 20] } else { 0 };
    Column {
        name: name.to_owned(),
        kind,
        reason,
        missing: 1.0 - values.present.len() as f64 / values.rows.max(1) as f64,
        distinct: values.counts.len(),
        example: values.texts.first().cloned().unwrap_or_default(),
        length,
        differing,
        leak: None,
    }
}

/// What stands for a value in counts and examples.
fn text(value: &Value) -> String {
    match value {
        Value::Bytes(_) => "bytes".to_owned(),
        Value::List(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.as_text().map(|text| text.into_owned()).unwrap_or_default(),
    }
}

fn single(value: &Value) -> &Value {
    match value {
        Value::List(values) => values.first().unwrap_or(value),
        value => value,
    }
}

impl<'a> Values<'a> {
    fn new(name: &'a str, cells: &'a [Option<Value>]) -> Self {
        let missing = |value: &&Value| value.as_text().is_some_and(|text| is_missing(&text));
        let present: Vec<&Value> = cells.iter().flatten().filter(|value| !missing(value)).collect();
        let texts: Vec<String> = present.iter().map(|value| text(value)).collect();
        let mut counts = HashMap::new();
        texts.iter().for_each(|text| *counts.entry(text.clone()).or_default() += 1);
        Self { name, rows: cells.len(), present, texts, counts }
    }

    /// Share of the values for which this holds.
    fn share(&self, is: impl Fn(&Value) -> bool) -> f64 {
        self.present.iter().filter(|value| is(value)).count() as f64 / self.present.len().max(1) as f64
    }

    fn share_of_texts(&self, is: impl Fn(&str) -> bool) -> f64 {
        self.share(|value| value.as_text().is_some_and(|text| is(&text)))
    }

    fn kind(&self) -> (Kind, String) {
        if self.present.is_empty() {
            return (Kind::Constant, "always missing".into());
        }
        if let Some(found) = self.media() {
            return found;
        }
        if self.counts.len() == 1 {
            return (Kind::Constant, "always the same value".into());
        }
        if self.present.iter().any(|value| matches!(value, Value::Bytes(_))) {
            return (Kind::Dropped, "bytes that are neither a picture nor a sound".into());
        }
        if self.share(|value| number(value).is_some()) >= NEARLY_ALL {
            return self.numbers();
        }
        if self.share_of_texts(|text| days(text).is_some()) >= NEARLY_ALL {
            return (Kind::Date, "dates; read as a number of days".into());
        }
        self.words()
    }

    fn media(&self) -> Option<(Kind, String)> {
        let path = |is: fn(&str) -> bool| self.share(|value| single(value).as_text().is_some_and(|text| is(&text)));
        let bytes = |is: fn(&[u8]) -> bool| self.share(|value| matches!(single(value), Value::Bytes(b) if is(b)));
        let lists = if self.share(|value| matches!(value, Value::List(_))) > 0.0 { "lists of " } else { "" };
        if path(is_picture_path) >= NEARLY_ALL {
            return Some((Kind::Image, format!("{lists}paths of pictures")));
        }
        if path(is_sound_path) >= NEARLY_ALL {
            return Some((Kind::Audio, format!("{lists}paths of sounds")));
        }
        if bytes(is_picture) >= NEARLY_ALL {
            return Some((Kind::Image, format!("{lists}bytes of pictures")));
        }
        (bytes(is_sound) >= NEARLY_ALL).then(|| (Kind::Audio, format!("{lists}bytes of sounds")))
    }

    fn numbers(&self) -> (Kind, String) {
        let numbers: Vec<f64> = self.present.iter().filter_map(|value| number(value)).collect();
        let whole = numbers.iter().all(|number| number.fract() == 0.0);
        let distinct = self.counts.len();
        if whole && distinct == numbers.len() && numbers.len() > 10 {
            if numbers.windows(2).all(|pair| pair[1] == pair[0] + 1.0) {
                return (Kind::Identifier, "counts up by one from row to row".into());
            }
            if named_as_identifier(self.name) {
                return (Kind::Identifier, "every value is different, and it is named like one".into());
            }
        }
        match whole && distinct <= CODES && numbers.len() >= 5 * distinct {
            true => (Kind::Category, format!("{distinct} different whole numbers")),
            false => (Kind::Number, format!("numbers, {distinct} different ones")),
        }
    }

    fn words(&self) -> (Kind, String) {
        let distinct = self.counts.len();
        let share_distinct = distinct as f64 / self.present.len() as f64;
        let mut counts: Vec<usize> = self.counts.values().copied().collect();
        counts.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
        let repeated: usize = counts.iter().filter(|&&count| count > 1).sum();
        let covered: usize = counts.iter().take(CATEGORIES).sum();
        let half = self.present.len().div_ceil(2);
        let words = self.texts.iter().map(|text| text.split_whitespace().count()).sum::<usize>() as f64;
        let words = words / self.texts.len() as f64;
        let length = self.texts.iter().map(|text| text.chars().count()).sum::<usize>() as f64 / self.texts.len() as f64;
        let lists = self.share(|value| matches!(value, Value::List(_))) > 0.0;
        if !lists && repeated >= half && covered >= half && words <= 6.0 && share_distinct <= 0.5 {
            return (Kind::Category, format!("{distinct} different values"));
        }
        if self.share_of_texts(is_sequence) >= NEARLY_ALL && length >= 20.0 {
            return (Kind::Text(Writing::Sequence), "letters of a sequence, without words".into());
        }
        if self.is_molecules() {
            return (Kind::Text(Writing::Molecule), "molecules as SMILES".into());
        }
        if words >= 2.5 || length > 40.0 {
            return (Kind::Text(Writing::Prose), format!("texts of {words:.0} words on average"));
        }
        if length >= SENTENCE && self.share_of_texts(is_unspaced) >= NEARLY_ALL {
            return (Kind::Text(Writing::Prose), format!("texts of {length:.0} characters on average"));
        }
        match share_distinct == 1.0 {
            true => (Kind::Identifier, "every value is different".into()),
            false => (Kind::Identifier, "short codes that hardly repeat".into()),
        }
    }

    fn is_molecules(&self) -> bool {
        let named = self.name.to_ascii_lowercase().contains("smiles");
        let bonds = self.share_of_texts(|text| text.contains(['=', '(', '1', '#']));
        self.share_of_texts(is_smiles) >= NEARLY_ALL && (named || bonds >= 0.8)
    }
}

/// `id`, `patient_id`, `recordId`, `uuid`, `key`, `index`, `Unnamed: 0` …
fn named_as_identifier(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let last = lower.rsplit(['_', ' ', '-', '.']).next().unwrap_or_default();
    ["id", "ids", "uuid", "guid", "key", "index", "idx", "number", "no", "num", "nr"].contains(&last)
        || name.ends_with("Id")
        || name.ends_with("ID")
        || lower.starts_with("unnamed")
        || lower.starts_with("column_0")
}

/// Places at which sequences differ; none if they are of several lengths, or differ at more than half of their places.
fn differing(texts: &[String]) -> Vec<usize> {
    let first = texts.first().map_or(&[][..], |text| text.as_bytes());
    if texts.iter().any(|text| text.len() != first.len() || !is_sequence(text)) {
        return Vec::new();
    }
    let mut differs = vec![false; first.len()];
    for text in texts {
        differs.iter_mut().zip(text.bytes().zip(first)).for_each(|(differs, (own, other))| *differs |= own != *other);
    }
    let places: Vec<usize> = (0..first.len()).filter(|&place| differs[place]).collect();
    if 2 * places.len() <= first.len() { places } else { Vec::new() }
}

/// Letters of the one-letter codes of amino acids or bases, and nothing else.
fn is_sequence(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'*') && !text.is_empty()
}

/// Characters that SMILES are written with, among them a carbon, nitrogen or oxygen.
fn is_smiles(text: &str) -> bool {
    let text = text.trim();
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"()[]=#@+-/\\.%:*$~".contains(&byte);
    !text.is_empty() && text.bytes().all(known) && text.contains(['C', 'c', 'N', 'n', 'O', 'o'])
}

fn is_picture(bytes: &[u8]) -> bool {
    let starts: [&[u8]; 7] = [b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF"];
    let dicom = bytes.get(128..132) == Some(b"DICM");
    dicom || starts.iter().any(|start| bytes.starts_with(start)) && !is_sound(bytes)
}

fn is_sound(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WAVE")
}
