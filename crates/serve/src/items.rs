//! `GET /v1/items`: the items of the index, as stored.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse, Response},
};
use sensorium_contract::{Sample, Value};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    Collection,
    error::{ErrorAnswer, Refusal, json},
    service::{Service, blocking},
};

/// How many items are listed at most, and if nothing is said.
const LISTED: usize = 100;
const LISTED_BY_DEFAULT: usize = 24;

/// Fields by name.
pub(crate) type Fields = BTreeMap<String, Field>;

/// A field as JSON: one value or several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Field {
    One(FieldValue),
    Several(Vec<FieldValue>),
}

/// A text, a number, or where bytes are.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum FieldValue {
    Text(String),
    Number(f64),
    File(File),
}

/// A field of bytes.
#[derive(Serialize, ToSchema)]
pub(crate) struct File {
    /// What the bytes are.
    content_type: &'static str,
    /// How many there are.
    bytes: usize,
    /// Where to get them.
    href: String,
}

/// An item.
#[derive(Serialize, ToSchema)]
pub(crate) struct ItemAnswer {
    key: String,
    /// The modalities that it can be found by.
    modalities: Vec<String>,
    /// Its fields; none if they cannot be had.
    fields: Fields,
    /// Why the fields cannot be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Some items.
#[derive(Serialize, ToSchema)]
pub(crate) struct ItemsAnswer {
    /// `list`
    object: &'static str,
    data: Vec<ItemAnswer>,
}

/// Which field.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichField {
    /// The bytes of this field instead of the description of all.
    field: Option<String>,
}

/// How many.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct HowMany {
    /// How many items.
    #[param(minimum = 1, maximum = 100)]
    count: Option<usize>,
}

/// Look at an item
///
/// Its fields as stored; with `field`, the bytes of a picture or a sound.
#[utoipa::path(
    get,
    path = "/v1/items/{key}",
    params(("key" = String, Path, description = "The item's key"), WhichField),
    responses(
        (status = 200, description = "The item, or the bytes of one of its fields", content(
            (ItemAnswer = "application/json"),
            (String = "text/plain"),
            (Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/gif"), (Vec<u8> = "image/webp"),
            (Vec<u8> = "image/bmp"), (Vec<u8> = "audio/wav"), (Vec<u8> = "application/octet-stream"),
        )),
        (status = "4XX", description = "What was wrong", body = ErrorAnswer),
        (status = "5XX", description = "What failed", body = ErrorAnswer),
    )
)]
pub(crate) async fn one(
    State(service): State<Arc<Service>>,
    Path(key): Path<String>,
    which: Result<Query<WhichField>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(WhichField { field }) = which.map_err(wrong_query)?;
    let collection = service.collection()?.clone();
    blocking(move || match field {
        None => Ok(json(&item(&*collection, key).ok_or_else(no_item)?)),
        Some(field) => bytes(&*collection, &key, &field),
    })
    .await?
}

/// Look at some items
///
/// Spread evenly over the index.
#[utoipa::path(
    get,
    path = "/v1/items",
    params(HowMany),
    responses(
        (status = 200, description = "Some items", body = ItemsAnswer),
        (status = "4XX", description = "What was wrong", body = ErrorAnswer),
        (status = "5XX", description = "What failed", body = ErrorAnswer),
    )
)]
pub(crate) async fn some(
    State(service): State<Arc<Service>>,
    count: Result<Query<HowMany>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(HowMany { count }) = count.map_err(wrong_query)?;
    let count = count.unwrap_or(LISTED_BY_DEFAULT);
    if !(1..=LISTED).contains(&count) {
        return Err(Refusal::bad(format!("`count`: expected 1 to {LISTED}, found {count}")));
    }
    let collection = service.collection()?.clone();
    let data = blocking(move || {
        let keys = collection.some(count);
        keys.into_iter().filter_map(|key| item(&*collection, key)).collect()
    });
    Ok(json(&ItemsAnswer { object: "list", data: data.await? }))
}

fn no_item() -> Refusal {
    Refusal::unknown("there is no item of this key")
}

fn wrong_query(rejection: QueryRejection) -> Refusal {
    Refusal::bad(rejection.body_text())
}

fn item(collection: &dyn Collection, key: String) -> Option<ItemAnswer> {
    let modalities = collection.modalities_of(&key);
    if modalities.is_empty() {
        return None;
    }
    let (fields, problem) = match collection.read(&key) {
        Ok(sample) => (fields(&sample), None),
        Err(problem) => (Fields::new(), Some(problem)),
    };
    Some(ItemAnswer { key, modalities: modalities.iter().map(ToString::to_string).collect(), fields, problem })
}

/// A sample's fields as JSON.
pub(crate) fn fields(sample: &Sample) -> Fields {
    sample.fields.iter().map(|(name, value)| (name.clone(), field(&sample.key, name, value))).collect()
}

fn field(key: &str, name: &str, value: &Value) -> Field {
    let mut values = values(key, name, value);
    match (value, values.pop()) {
        (Value::Bytes(_) | Value::Text(_) | Value::Number(_), Some(one)) => Field::One(one),
        (_, last) => Field::Several(values.into_iter().chain(last).collect()),
    }
}

fn values(key: &str, name: &str, value: &Value) -> Vec<FieldValue> {
    match value {
        Value::Text(text) => vec![FieldValue::Text(text.clone())],
        Value::Number(number) => vec![FieldValue::Number(*number)],
        Value::List(list) => list.iter().flat_map(|value| values(key, name, value)).collect(),
        Value::Bytes(bytes) => vec![FieldValue::File(File {
            content_type: content_type(bytes),
            bytes: bytes.len(),
            href: format!("/v1/items/{}?field={}", escaped(key), escaped(name)),
        })],
    }
}

/// The bytes of a field; of a list, those of its first file.
fn bytes(collection: &dyn Collection, key: &str, name: &str) -> Result<Response, Refusal> {
    if collection.modalities_of(key).is_empty() {
        return Err(no_item());
    }
    let sample = collection.read(key).map_err(Refusal::unknown)?;
    let value = sample.fields.get(name);
    let file = |value: &Value| if let Value::Bytes(bytes) = value { Some(bytes.clone()) } else { None };
    let found = match value {
        Some(Value::List(values)) => values.iter().find_map(file),
        Some(value) => file(value),
        None => return Err(Refusal::unknown(format!("the item has no field `{name}`"))),
    };
    match (found, value.and_then(Value::as_text)) {
        (Some(bytes), _) => Ok(([(header::CONTENT_TYPE, content_type(&bytes))], bytes.to_vec()).into_response()),
        (None, Some(text)) => Ok(text.into_owned().into_response()),
        (None, None) => Err(Refusal::unknown(format!("the field `{name}` holds no bytes"))),
    }
}

/// By a file's first bytes; what a browser could run is none of these.
fn content_type(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'B', b'M', ..] => "image/bmp",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => "audio/wav",
        _ => "application/octet-stream",
    }
}

/// A text as one part of an address: what is neither letter nor digit as `%` and its bytes.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => escaped.push(char::from(byte)),
            // Writing to a text does not fail.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
        escaped
    })
}
