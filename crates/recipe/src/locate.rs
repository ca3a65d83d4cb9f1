//! From a key to its line, and from a misspelt name to the nearest valid one.

use toml::de::{DeTable, DeValue};

/// The line (from 1) on which the last known part of a path stands.
pub(crate) fn line(text: &str, path: &[String]) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut offset = None;
    let mut table = Some(root.get_ref());
    let mut array = None;
    for part in path {
        let next = match (table, array) {
            (Some(entries), _) => {
                let (key, value) = entries.iter().find(|(key, _)| key.get_ref().as_ref() == part)?;
                offset = Some(key.span().start);
                value
            }
            (None, Some(items)) => {
                let items: &toml::de::DeArray = items;
                let value = items.get(part.parse::<usize>().ok()?)?;
                offset = Some(value.span().start);
                value
            }
            (None, None) => break,
        };
        (table, array) = match next.get_ref() {
            DeValue::Table(entries) => (Some(entries), None),
            DeValue::Array(items) => (None, Some(items)),
            _ => (None, None),
        };
    }
    offset.map(|offset| text[..offset].matches('\n').count() + 1)
}

/// Names in backticks of a message such as ``unknown field `widht`, expected one of `width`, `heads` ``.
pub(crate) fn quoted(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

/// The valid name that is nearest to a misspelt one, if it is near.
pub(crate) fn nearest(name: &str, valid: &[&str]) -> Option<String> {
    let distance = |candidate: &&&str| strsim::damerau_levenshtein(name, candidate);
    let best = valid.iter().min_by_key(distance)?;
    (strsim::damerau_levenshtein(name, best) <= 1 + name.len() / 3).then(|| (*best).to_owned())
}
