//! `POST /v1/search`: what fits a text, a picture, a sound, a row, or several of them together.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use axum::{
    extract::{Request, State},
    response::Response,
};
use sensorium_contract::Name;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Collection,
    batch::Vector,
    content::{Content, FormFields, Parts, form_contents, form_text},
    error::{ErrorAnswer, Refusal, json},
    items::{Fields, fields},
    service::{Service, blocking},
    wire::{Few, Row},
};

/// How many answers can be asked for.
const COUNTS: RangeInclusive<usize> = 1..=1000;
/// How many answers there are if nothing is said.
const COUNT: usize = 12;
/// The fields of so many answers are read.
const SHOWN: usize = 100;

/// What is looked for. Of several parts the mean of their vectors is the query.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchRequest {
    /// Words.
    text: Option<String>,
    /// A picture as a data URL.
    image: Option<String>,
    /// A sound (WAV) as a data URL.
    audio: Option<String>,
    /// Columns with their values.
    #[schema(value_type = Option<Object>)]
    row: Option<Row>,
    /// The modalities to answer with; all that the index has if nothing is said.
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 64)]
    to: Option<Few<String, 64>>,
    /// Answers of each modality.
    #[schema(minimum = 1, maximum = 1000, default = 12)]
    k: Option<usize>,
}

/// The same as a form.
#[derive(ToSchema)]
#[allow(dead_code)]
pub(crate) struct SearchForm {
    /// Words.
    text: Option<String>,
    /// A picture's file.
    #[schema(value_type = Option<String>, format = Binary)]
    image: Option<Vec<u8>>,
    /// A sound's file (WAV).
    #[schema(value_type = Option<String>, format = Binary)]
    audio: Option<Vec<u8>>,
    /// A row as a JSON object.
    row: Option<String>,
    /// Modalities to answer with, parted by commas.
    to: Option<String>,
    /// Answers of each modality.
    #[schema(minimum = 1, maximum = 1000, default = 12)]
    k: Option<usize>,
}

/// What was found.
#[derive(Serialize, ToSchema)]
pub(crate) struct SearchAnswer {
    /// By modality, best first.
    found: BTreeMap<String, Vec<FoundItem>>,
}

/// An item that was found.
#[derive(Serialize, ToSchema)]
struct FoundItem {
    key: String,
    /// Cosine with the query.
    score: f32,
    /// The item's fields, as `/v1/items/{key}` gives them; absent where they cannot be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Fields>,
}

/// Search
///
/// Finds the items that fit a text, a picture, a sound, a row, or several of them together.
#[utoipa::path(
    post,
    path = "/v1/search",
    request_body(content((SearchRequest = "application/json"), (SearchForm = "multipart/form-data"))),
    responses(
        (status = 200, description = "What fits best", body = SearchAnswer),
        (status = "4XX", description = "What was wrong", body = ErrorAnswer),
        (status = "5XX", description = "What failed", body = ErrorAnswer),
    )
)]
pub(crate) async fn search(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Refusal> {
    let (asked, _body) = service.asked(request, of_request, of_form).await?;
    let collection = service.collection()?.clone();
    let to = targets(&*collection, asked.to)?;
    if !COUNTS.contains(&asked.k) {
        return Err(Refusal::bad(format!("`k`: expected {} to {}, found {}", COUNTS.start(), COUNTS.end(), asked.k)));
    }
    if asked.contents.is_empty() {
        return Err(Refusal::bad("nothing to look for: expected text, image, audio or row"));
    }
    let (vectors, _) = service.embed(asked.contents).await?;
    let query = mean(&vectors);
    let found = blocking(move || find(&*collection, &query, to, asked.k)).await?;
    Ok(json(&SearchAnswer { found: found.map_err(|error| Refusal::fault(&format!("search: {error}")))? }))
}

/// What a request asks for.
struct Asked {
    contents: Vec<Content>,
    to: Option<Vec<String>>,
    k: usize,
}

fn of_request(request: SearchRequest) -> Result<Asked, Refusal> {
    let SearchRequest { text, image, audio, row, to, k } = request;
    let contents = Parts { text, image, audio, row }.contents()?;
    Ok(Asked { contents, to: to.map(|to| to.0), k: k.unwrap_or(COUNT) })
}

fn of_form(fields: FormFields) -> Result<Asked, Refusal> {
    let (contents, others) = form_contents(fields)?;
    let mut asked = Asked { contents, to: None, k: COUNT };
    for (field, bytes) in others {
        let text = form_text(&field, &bytes)?.trim();
        match field.as_str() {
            "to" => asked.to.get_or_insert_default().extend(text.split(',').map(|name| name.trim().to_owned())),
            "k" => asked.k = text.parse().map_err(|error| Refusal::bad(format!("`k`: {error}")))?,
            _ => return Err(Refusal::bad(format!("unknown field `{field}`"))),
        }
    }
    Ok(asked)
}

/// The modalities to search in.
fn targets(collection: &dyn Collection, asked: Option<Vec<String>>) -> Result<Vec<Name>, Refusal> {
    let known: Vec<Name> = collection.modalities().into_iter().map(|(name, _)| name).collect();
    let Some(asked) = asked else { return Ok(known) };
    let find = |name: &String| match known.iter().find(|known| ***known == **name) {
        Some(name) => Ok(name.clone()),
        None => Err(Refusal::bad(format!("`to`: the index has {}, not `{name}`", join(&known)))),
    };
    match asked.is_empty() {
        true => Err(Refusal::bad("`to`: expected at least one modality")),
        false => asked.iter().map(find).collect(),
    }
}

/// The mean of vectors of length 1, of length 1 again.
fn mean(vectors: &[Vector]) -> Vector {
    let width = vectors.first().map_or(0, Vec::len);
    let mut sum = vec![0.0_f32; width];
    vectors.iter().for_each(|vector| sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value));
    let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    sum.iter_mut().for_each(|value| *value /= length);
    sum
}

fn find(
    collection: &dyn Collection,
    query: &[f32],
    to: Vec<Name>,
    k: usize,
) -> Result<BTreeMap<String, Vec<FoundItem>>, String> {
    let mut found = BTreeMap::new();
    for name in to {
        let hits = collection.nearest(query, &name, k)?.into_iter().enumerate();
        let item = |(place, hit): (usize, crate::Hit)| {
            let sample = (place < SHOWN).then(|| collection.read(&hit.key).ok()).flatten();
            FoundItem { fields: sample.map(|sample| fields(&sample)), key: hit.key, score: hit.score }
        };
        found.insert(name.to_string(), hits.map(item).collect());
    }
    Ok(found)
}

fn join(names: &[Name]) -> String {
    names.iter().map(|name| &**name).collect::<Vec<_>>().join(", ")
}
