//! What an embedding request holds: one thing or a list of things, read one at a time.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};
use utoipa::ToSchema;

use crate::{
    content::{Content, Parts},
    error::Refusal,
    wire::few,
};

/// The most inputs of a request, as OpenAI has it.
const MOST: usize = 2048;

/// One thing or several.
// What is derived for reading says what the document says; it is read by `InputVisitor`.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Inputs {
    One(OneInput),
    Several(Vec<OneInput>),
}

/// One thing.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum OneInput {
    Text(String),
    Other(Parts),
}

impl Inputs {
    /// Each as what it holds.
    pub fn contents(self) -> Result<Vec<Content>, Refusal> {
        let inputs = match self {
            Self::One(input) => vec![input],
            Self::Several(inputs) => inputs,
        };
        inputs.into_iter().enumerate().map(|(place, input)| input.content(place)).collect()
    }
}

impl OneInput {
    fn content(self, place: usize) -> Result<Content, Refusal> {
        let parts = match self {
            Self::Text(text) => return Ok(Content::Text(text)),
            Self::Other(parts) => parts,
        };
        let at = |refusal: Refusal| Refusal { message: format!("item {place}: {}", refusal.message), ..refusal };
        let mut contents = parts.contents().map_err(at)?;
        match (contents.pop(), contents.is_empty()) {
            (Some(content), true) => Ok(content),
            _ => Err(at(Refusal::bad("expected exactly one of text, image, audio and row"))),
        }
    }
}

/// Reads one thing, or also several.
struct InputVisitor<const SEVERAL: bool>;

impl<'de, const SEVERAL: bool> Visitor<'de> for InputVisitor<SEVERAL> {
    type Value = Inputs;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a text, or an object with text, image, audio or row (pictures and sounds as data URLs)")?;
        if SEVERAL { f.write_str(", or a list of these") } else { Ok(()) }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Inputs, E> {
        Ok(Inputs::One(OneInput::Text(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, parts: A) -> Result<Inputs, A::Error> {
        Ok(Inputs::One(OneInput::Other(Parts::deserialize(MapAccessDeserializer::new(parts))?)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Inputs, A::Error> {
        match SEVERAL {
            true => {
                let inputs = few::<InputOfList, A, MOST>(list)?;
                Ok(Inputs::Several(inputs.into_iter().map(|input| input.0).collect()))
            }
            false => Err(de::Error::invalid_type(Unexpected::Seq, &self)),
        }
    }
}

/// Reads what is to be embedded; nothing is kept of what is of the wrong kind.
pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Inputs, D::Error> {
    deserializer.deserialize_any(InputVisitor::<true>)
}

/// One thing of a list.
struct InputOfList(OneInput);

impl<'de> Deserialize<'de> for InputOfList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(InputVisitor::<false>)? {
            Inputs::One(one) => Ok(Self(one)),
            Inputs::Several(_) => Err(de::Error::custom("a list in a list")),
        }
    }
}
