//! What clients send to be embedded: texts, pictures, sounds, rows.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use axum::{body::Bytes, http::StatusCode};
use base64::{Engine, engine::general_purpose};
use sensorium_contract::{Item, Name, Preparation, Sample, Value};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{error::Refusal, wire::Row};

/// The longest text in bytes: far more than any model reads of it.
const LONGEST_TEXT: usize = 1 << 18;

/// The kinds of things that a request can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Words.
    Text,
    /// A picture's file: PNG, JPEG, WebP, BMP, GIF, TIFF.
    Image,
    /// A sound's file: WAV.
    Audio,
    /// Columns with their values.
    Row,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Row => "row",
        })
    }
}

/// A modality of the model, and how a request fills it.
#[derive(Clone, Debug)]
pub struct Input {
    /// As the model calls it.
    pub name: Name,
    /// What it reads.
    pub kind: Kind,
    /// The field of a sample that it reads; nothing for rows.
    pub field: Option<String>,
}

/// One or several of these members. Pictures and sounds are data URLs, `data:image/png;base64,…`.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parts {
    /// Words.
    pub text: Option<String>,
    /// A picture as a data URL.
    pub image: Option<String>,
    /// A sound (WAV) as a data URL.
    pub audio: Option<String>,
    /// Columns with their values.
    #[schema(value_type = Option<Object>)]
    pub row: Option<Row>,
}

impl Parts {
    /// What the members hold.
    pub fn contents(self) -> Result<Vec<Content>, Refusal> {
        let image = self.image.map(|url| data_url(Kind::Image, &url).map(Content::Picture)).transpose()?;
        let audio = self.audio.map(|url| data_url(Kind::Audio, &url).map(Content::Sound)).transpose()?;
        let parts = [self.text.map(Content::Text), image, audio, self.row.map(Content::Row)];
        Ok(parts.into_iter().flatten().collect())
    }
}

/// One thing to embed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Text(String),
    Picture(Bytes),
    Sound(Bytes),
    Row(Row),
}

impl Content {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Picture(_) => Kind::Image,
            Self::Sound(_) => Kind::Audio,
            Self::Row(_) => Kind::Row,
        }
    }

    /// As a sample that holds nothing else.
    fn sample(self, input: &Input) -> Result<Sample, Refusal> {
        let field = || input.field.clone().unwrap_or_else(|| input.name.to_string());
        let bytes = |bytes: Bytes| Value::Bytes(Arc::from(&bytes[..]));
        let fields = match self {
            Self::Text(text) if text.len() > LONGEST_TEXT => {
                let message = format!("`text`: at most {LONGEST_TEXT} bytes, found {}", text.len());
                return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
            }
            Self::Text(text) => [(field(), Value::Text(text))].into(),
            Self::Picture(picture) => [(field(), bytes(picture))].into(),
            Self::Sound(sound) => [(field(), bytes(sound))].into(),
            Self::Row(row) => row.0,
        };
        Ok(Sample { key: String::new(), fields })
    }
}

/// The bytes of a data URL (RFC 2397) in base64.
fn data_url(kind: Kind, url: &str) -> Result<Bytes, Refusal> {
    let wrong =
        |what: String| Refusal::bad(format!("`{kind}`: expected a data URL like data:{kind}/…;base64,…: {what}"));
    let rest = url.strip_prefix("data:").ok_or_else(|| wrong("it does not begin with `data:`".to_owned()))?;
    let (head, data) = rest.split_once(',').ok_or_else(|| wrong("there is no comma".to_owned()))?;
    let (media, base64) = head.rsplit_once(';').ok_or_else(|| wrong("`;base64` is missing".to_owned()))?;
    if base64 != "base64" {
        return Err(wrong("`;base64` is missing".to_owned()));
    }
    if let Some((general, _)) = media.split_once('/')
        && ![kind.to_string().as_str(), "application"].contains(&general)
    {
        return Err(wrong(format!("it holds {general}")));
    }
    general_purpose::STANDARD.decode(data).map(Bytes::from).map_err(|error| wrong(error.to_string()))
}

/// A form's fields in their order: name and content.
pub(crate) type FormFields = Vec<(String, Bytes)>;

/// A form's fields that hold contents, in their order, and the others.
pub(crate) fn form_contents(fields: FormFields) -> Result<(Vec<Content>, FormFields), Refusal> {
    let (mut contents, mut others) = (Vec::new(), Vec::new());
    for (field, bytes) in fields {
        match field.as_str() {
            "text" => contents.push(Content::Text(form_text(&field, &bytes)?.to_owned())),
            "image" => contents.push(Content::Picture(bytes)),
            "audio" => contents.push(Content::Sound(bytes)),
            "row" => {
                let wrong = |error| Refusal::bad(format!("`row`: expected a JSON object: {error}"));
                contents.push(Content::Row(serde_json::from_slice(&bytes).map_err(wrong)?));
            }
            _ => others.push((field, bytes)),
        }
    }
    Ok((contents, others))
}

/// A form's field as text.
pub(crate) fn form_text<'a>(field: &str, bytes: &'a [u8]) -> Result<&'a str, Refusal> {
    std::str::from_utf8(bytes)
        .map_err(|error| Refusal::bad(format!("`{field}`: not UTF-8 at byte {}", error.valid_up_to())))
}

/// How contents become items of the model.
#[derive(Clone)]
pub(crate) struct Decoder {
    pub preparation: Arc<Preparation>,
    pub inputs: Arc<[Input]>,
}

impl Decoder {
    /// The modality that takes this kind: the first one of the model.
    pub fn input(&self, kind: Kind) -> Result<&Input, Refusal> {
        self.inputs.iter().find(|input| input.kind == kind).ok_or_else(|| {
            let known: Vec<String> = self.inputs.iter().map(|input| input.kind.to_string()).collect();
            Refusal::bad(format!("`{kind}`: the model takes {}", known.join(", ")))
        })
    }

    /// The arrays of each content, and how many tokens they are in all. Takes its time: not for a
    /// thread that answers others.
    pub fn items(&self, contents: Vec<Content>) -> Result<(Vec<(Name, Item)>, usize), Refusal> {
        let mut items = Vec::with_capacity(contents.len());
        let mut tokens = 0;
        for (place, content) in contents.into_iter().enumerate() {
            let at = |refusal: Refusal| Refusal { message: format!("item {place}: {}", refusal.message), ..refusal };
            let (name, item) = self.item(content).map_err(at)?;
            tokens += self.preparation.modalities[&name].tokens(&item);
            items.push((name, item));
        }
        Ok((items, tokens))
    }

    fn item(&self, content: Content) -> Result<(Name, Item), Refusal> {
        let kind = content.kind();
        let input = self.input(kind)?;
        let sample = content.sample(input)?;
        let modality = &self.preparation.modalities[&input.name];
        // Decoders promise faults, not panics; should one break the promise, the client hears of its file.
        let decoded = catch_unwind(AssertUnwindSafe(|| modality.decode(&sample)));
        let decoded = decoded.map_err(|_| Refusal::bad(format!("`{kind}`: it cannot be decoded")))?;
        let item = decoded.map_err(|fault| Refusal::bad(format!("`{kind}`: {}: {}", fault.reason, fault.detail)))?;
        let empty = || Refusal::bad(format!("`{kind}`: it holds nothing that the model reads"));
        Ok((input.name.clone(), item.ok_or_else(empty)?))
    }
}
