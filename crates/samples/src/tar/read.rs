//! The members of one sample.

use std::{
    io::{self, Read},
    sync::Arc,
};

use sensorium_contract::{Fault, Value};
use tar::Archive;

use crate::{
    file::read_shared,
    names::{Content, field, member},
    value::{Raw, cell, flatten, json, text, utf8},
};

/// The fields of a sample whose members `reader` holds. `key` is set as soon as it is known, for
/// faults too.
pub(crate) fn members(reader: impl Read, limit: u64, key: &mut String) -> Result<Raw, Fault> {
    let damaged = |error: io::Error| Fault::new("", "shard cannot be read", error);
    let mut raw = Raw::new();
    for entry in Archive::new(reader).entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let header = entry.header().entry_type();
        let Some(member) = member(&name).filter(|_| header.is_file() || header.is_contiguous()) else {
            continue;
        };
        member.key.clone_into(key);
        let size = entry.size();
        read(member.suffix, size, limit, &mut entry, &mut raw)?;
    }
    Ok(raw)
}

fn read(suffix: &str, size: u64, limit: u64, reader: &mut impl Read, raw: &mut Raw) -> Result<(), Fault> {
    let (name, _) = field(suffix);
    let label = if name.is_empty() { suffix } else { &name };
    if size > limit {
        return Err(Fault::new(label, "field is too large", format!("{size} bytes, the limit is {limit}")));
    }
    let bytes = read_shared(reader, size as usize).map_err(|error| Fault::new(label, "shard cannot be read", error))?;
    file(suffix, bytes, raw)
}

/// One file of a sample: its field, or for JSON its members.
pub(crate) fn file(suffix: &str, bytes: Arc<[u8]>, raw: &mut Raw) -> Result<(), Fault> {
    let (name, content) = field(suffix);
    let label = if name.is_empty() { suffix } else { &name };
    let value = match content {
        Content::Bytes => Some(Value::Bytes(bytes)),
        Content::Text => text(utf8(label, &bytes)?),
        Content::Cell => cell(utf8(label, &bytes)?),
        Content::Json => {
            let value = serde_json::from_slice(&bytes).map_err(|error| Fault::new(label, "not valid JSON", error))?;
            match value {
                serde_json::Value::Object(object) => {
                    flatten(&name, object, raw);
                    None
                }
                _ if name.is_empty() => return Err(Fault::new(label, "not a JSON object", "a sample's .json is one")),
                other => json(other),
            }
        }
    };
    raw.extend(value.map(|value| (name, value)));
    Ok(())
}
