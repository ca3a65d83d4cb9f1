//! How the server is, and what it serves.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Kind,
    error::{ErrorAnswer, Refusal, json},
    service::Service,
};

/// Live?
///
/// Answers as long as the process does.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "It lives", body = String, content_type = "text/plain")))]
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// Ready?
///
/// Answers 503 from the moment that the server is asked to end.
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, description = "It takes requests", body = String, content_type = "text/plain"),
    (status = 503, description = "It takes no more", body = String, content_type = "text/plain"),
))]
pub(crate) async fn ready(State(service): State<Arc<Service>>) -> (StatusCode, &'static str) {
    match service.gate.is_open() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "ending\n"),
    }
}

/// Numbers
///
/// In the text form of Prometheus.
#[utoipa::path(get, path = "/metrics", responses(
    (status = 200, description = "The numbers", body = String, content_type = "application/openmetrics-text"),
    (status = "4XX", description = "What was wrong", body = ErrorAnswer),
))]
pub(crate) async fn metrics(State(service): State<Arc<Service>>) -> Result<Response, Refusal> {
    let text = service.metrics.text(service.queue.waiting());
    let text = text.map_err(|error| Refusal::fault(&format!("metrics: {error}")))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// What is served.
#[derive(Serialize, ToSchema)]
pub(crate) struct ModelsAnswer {
    /// `list`
    object: &'static str,
    /// The one model.
    data: Vec<ModelAnswer>,
}

/// A model.
#[derive(Serialize, ToSchema)]
struct ModelAnswer {
    /// Its name.
    id: String,
    /// `model`
    object: &'static str,
    /// Not known; clients expect it.
    created: u64,
    /// `sensorium`
    owned_by: &'static str,
    /// Numbers in a vector.
    dimensions: usize,
    /// What can be asked.
    inputs: Vec<InputAnswer>,
    /// How many items of each modality can be found; absent without an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<BTreeMap<String, usize>>,
}

/// A modality of the model.
#[derive(Serialize, ToSchema)]
struct InputAnswer {
    /// As the index calls it.
    modality: String,
    /// As requests call it.
    kind: Kind,
    /// The field of an item that it reads; absent where it reads all that others leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

/// Models
///
/// The one model, what it takes, and what can be found.
#[utoipa::path(get, path = "/v1/models", responses(
    (status = 200, description = "The model", body = ModelsAnswer),
    (status = "4XX", description = "What was wrong", body = ErrorAnswer),
))]
pub(crate) async fn models(State(service): State<Arc<Service>>) -> Response {
    let input = |input: &crate::Input| InputAnswer {
        modality: input.name.to_string(),
        kind: input.kind,
        field: input.field.clone(),
    };
    let count = |(name, count): (sensorium_contract::Name, usize)| (name.to_string(), count);
    let model = ModelAnswer {
        id: service.name.clone(),
        object: "model",
        created: 0,
        owned_by: "sensorium",
        dimensions: service.width,
        inputs: service.decoder.inputs.iter().map(input).collect(),
        index: service.collection.as_ref().map(|collection| collection.modalities().into_iter().map(count).collect()),
    };
    json(&ModelsAnswer { object: "list", data: vec![model] })
}
