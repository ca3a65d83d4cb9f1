//! `POST /v1/embeddings`: OpenAI's shape for texts, and the same for pictures, sounds and rows.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use base64::{Engine, engine::general_purpose};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    batch::Vector,
    content::{Content, FormFields, form_contents, form_text},
    error::{ErrorAnswer, Refusal, json},
    inputs::{self, Inputs},
    service::Service,
};

/// What is to be embedded.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmbeddingRequest {
    /// A text, an object with one of `text`, `image`, `audio` and `row`, or a list of these.
    #[serde(deserialize_with = "inputs::read")]
    input: Inputs,
    /// The model's name, as `/v1/models` says; there is but one.
    model: Option<String>,
    /// How vectors are written.
    #[serde(default)]
    encoding_format: Encoding,
    /// Numbers in a vector: no other than the model's.
    dimensions: Option<usize>,
    /// Not used.
    #[allow(dead_code)]
    user: Option<String>,
}

/// A form with a field for each thing to embed, in their order.
#[derive(ToSchema)]
#[allow(dead_code)]
pub(crate) struct EmbeddingForm {
    /// A text.
    text: Option<String>,
    /// A picture's file.
    #[schema(value_type = Option<String>, format = Binary)]
    image: Option<Vec<u8>>,
    /// A sound's file (WAV).
    #[schema(value_type = Option<String>, format = Binary)]
    audio: Option<Vec<u8>>,
    /// A row as a JSON object.
    row: Option<String>,
    /// As in JSON.
    model: Option<String>,
    /// As in JSON.
    encoding_format: Option<Encoding>,
    /// As in JSON.
    dimensions: Option<usize>,
    /// Not used.
    user: Option<String>,
}

/// How vectors are written.
#[derive(Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    /// Numbers.
    #[default]
    Float,
    /// Little-endian 32-bit floats in base64.
    Base64,
}

/// Vectors of length 1, in the order of the inputs.
#[derive(Serialize, ToSchema)]
pub(crate) struct EmbeddingAnswer {
    /// `list`
    object: &'static str,
    data: Vec<Embedding>,
    model: String,
    usage: Usage,
}

/// One vector.
#[derive(Serialize, ToSchema)]
struct Embedding {
    /// `embedding`
    object: &'static str,
    /// The input's place.
    index: usize,
    embedding: Written,
}

/// A vector, written as asked.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Written {
    Float(Vector),
    Base64(String),
}

/// What was read.
#[derive(Serialize, ToSchema)]
struct Usage {
    /// Tokens that the model read.
    prompt_tokens: usize,
    /// The same.
    total_tokens: usize,
}

/// Embed
///
/// Turns texts, pictures, sounds and rows into vectors of one space.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    request_body(content((EmbeddingRequest = "application/json"), (EmbeddingForm = "multipart/form-data"))),
    responses(
        (status = 200, description = "The vectors", body = EmbeddingAnswer),
        (status = "4XX", description = "What was wrong", body = ErrorAnswer),
        (status = "5XX", description = "What failed", body = ErrorAnswer),
    )
)]
pub(crate) async fn create(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Refusal> {
    let ((contents, asked), _body) = service.asked(request, of_request, of_form).await?;
    asked.check(&service)?;
    if contents.is_empty() {
        return Err(Refusal::bad("`input`: there is nothing to embed"));
    }
    let (vectors, tokens) = service.embed(contents).await?;
    let embedding = |(index, vector)| Embedding { object: "embedding", index, embedding: asked.encoding.write(vector) };
    Ok(json(&EmbeddingAnswer {
        object: "list",
        data: vectors.into_iter().enumerate().map(embedding).collect(),
        model: service.name.clone(),
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
    }))
}

/// How the vectors are wanted.
#[derive(Default)]
struct Asked {
    model: Option<String>,
    dimensions: Option<usize>,
    encoding: Encoding,
}

impl Asked {
    fn check(&self, service: &Service) -> Result<(), Refusal> {
        if let Some(model) = self.model.as_ref().filter(|model| **model != service.name) {
            return Err(Refusal::unknown(format!("`model`: there is `{}`, not `{model}`", service.name)));
        }
        match self.dimensions.filter(|&dimensions| dimensions != service.width) {
            None => Ok(()),
            Some(found) => Err(Refusal::bad(format!("`dimensions`: the model's is {}, found {found}", service.width))),
        }
    }
}

impl Encoding {
    fn write(self, vector: Vector) -> Written {
        match self {
            Self::Float => Written::Float(vector),
            Self::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
                Written::Base64(general_purpose::STANDARD.encode(bytes))
            }
        }
    }
}

fn of_request(request: EmbeddingRequest) -> Result<(Vec<Content>, Asked), Refusal> {
    let EmbeddingRequest { input, model, encoding_format, dimensions, user: _ } = request;
    let contents = input.contents()?;
    Ok((contents, Asked { model, dimensions, encoding: encoding_format }))
}

fn of_form(fields: FormFields) -> Result<(Vec<Content>, Asked), Refusal> {
    let (contents, others) = form_contents(fields)?;
    let mut asked = Asked::default();
    for (field, bytes) in others {
        let text = form_text(&field, &bytes)?;
        match (field.as_str(), text) {
            ("model", name) => asked.model = Some(name.to_owned()),
            ("encoding_format", "float") => asked.encoding = Encoding::Float,
            ("encoding_format", "base64") => asked.encoding = Encoding::Base64,
            ("encoding_format", _) => return Err(Refusal::bad("`encoding_format`: expected float or base64")),
            ("dimensions", number) => {
                let wrong = |error| Refusal::bad(format!("`dimensions`: {error}"));
                asked.dimensions = Some(number.trim().parse().map_err(wrong)?);
            }
            ("user", _) => {}
            _ => return Err(Refusal::bad(format!("unknown field `{field}`"))),
        }
    }
    Ok((contents, asked))
}
