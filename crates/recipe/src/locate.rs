//! From a message to the entry that it is about, to its line, and to the nearest valid name.

use toml::{
    Table, Value,
    de::{DeArray, DeTable, DeValue},
};

/// Keys that say which kind of table this is: without one, nothing else of the table is read.
const TAGS: [&str; 2] = ["kind", "topology"];

/// The way from the root to the entry that a message of `parse` is about.
///
/// `known` is as far as the parser told. It knows no more of tables whose kind it must read first,
/// so the rest is found out by leaving entries away: the culprit is the one without which the
/// message is another.
pub(crate) fn culprit(
    root: &Table,
    known: Vec<String>,
    message: &str,
    parse: &dyn Fn(&Table) -> Option<String>,
) -> Vec<String> {
    let mut way = known;
    if message.starts_with("missing field") {
        return way;
    }
    let mut without = root.clone();
    while let Some(entry) = entry_mut(&mut without, &way) {
        let blamed = keys(entry).into_iter().filter_map(|key| {
            let below: Vec<String> = way.iter().cloned().chain([key.clone()]).collect();
            let mut without = root.clone();
            remove(&mut without, &below);
            match parse(&without) {
                Some(same) if same == message => None,
                other => Some((TAGS.contains(&&*key), other.is_some_and(|m| m.starts_with("missing")), key)),
            }
        });
        match blamed.min() {
            Some((.., key)) => way.push(key),
            None => break,
        }
    }
    way
}

fn keys(value: &Value) -> Vec<String> {
    match value {
        Value::Table(table) => table.keys().cloned().collect(),
        Value::Array(items) if items.iter().all(Value::is_table) => (0..items.len()).map(|at| at.to_string()).collect(),
        _ => Vec::new(),
    }
}

fn entry_mut<'a>(root: &'a mut Table, way: &[String]) -> Option<&'a mut Value> {
    let (first, rest) = way.split_first()?;
    rest.iter().try_fold(root.get_mut(first)?, |value, part| match value {
        Value::Table(table) => table.get_mut(part),
        Value::Array(items) => items.get_mut(part.parse::<usize>().ok()?),
        _ => None,
    })
}

fn remove(root: &mut Table, way: &[String]) {
    let Some((last, above)) = way.split_last() else { return };
    match (above.is_empty(), entry_mut(root, above)) {
        (true, _) => {
            root.remove(last);
        }
        (false, Some(Value::Table(table))) => {
            table.remove(last);
        }
        (false, Some(Value::Array(items))) => {
            if let Some(at) = last.parse::<usize>().ok().filter(|at| *at < items.len()) {
                items.remove(at);
            }
        }
        _ => {}
    }
}

/// The line (from 1) on which the last part of a way stands; nothing if it is not in the text.
pub(crate) fn line(text: &str, way: &[String]) -> Option<usize> {
    enum Place<'a, 'i> {
        Table(&'a DeTable<'i>),
        Array(&'a DeArray<'i>),
        Leaf,
    }
    let root = DeTable::parse(text).ok()?;
    let mut place = Place::Table(root.get_ref());
    let mut offset = None;
    for part in way {
        let value = match place {
            Place::Table(table) => {
                let (key, value) = table.iter().find(|(key, _)| key.get_ref().as_ref() == part)?;
                offset = Some(key.span().start);
                value
            }
            Place::Array(items) => {
                let value = items.get(part.parse::<usize>().ok()?)?;
                offset = Some(value.span().start);
                value
            }
            Place::Leaf => return None,
        };
        place = match value.get_ref() {
            DeValue::Table(table) => Place::Table(table),
            DeValue::Array(items) => Place::Array(items),
            _ => Place::Leaf,
        };
    }
    offset.map(|offset| text[..offset].matches('\n').count() + 1)
}

/// Names in backticks of a message such as ``unknown field `widht`, expected one of `width`, `heads` ``.
fn quoted(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

/// The valid name that is nearest to the unknown one of a message, if one is near.
pub(crate) fn nearest(message: &str) -> Option<String> {
    if !message.starts_with("unknown") {
        return None;
    }
    let names = quoted(message);
    let (name, valid) = names.split_first()?;
    let distance = |candidate: &&&str| strsim::damerau_levenshtein(name, candidate);
    let best = valid.iter().min_by_key(distance)?;
    (strsim::damerau_levenshtein(name, best) <= 1 + name.len() / 3).then(|| (*best).to_owned())
}
