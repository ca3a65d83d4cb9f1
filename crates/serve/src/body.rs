//! Bodies of requests: bounded in length, in time, and in what all of them hold together.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, FromRequest, Multipart, Request},
    http::{StatusCode, header, request::Parts},
};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{content::FormFields, error::Refusal};

/// All bodies together may hold so many times the longest one.
const BODIES: usize = 16;

/// How much of a body is read, and for how long.
#[derive(Clone)]
pub(crate) struct Reader {
    longest: usize,
    patience: Duration,
    /// Bytes that may still be held.
    memory: Arc<Semaphore>,
}

/// A body that has arrived.
pub(crate) struct Arrived {
    pub bytes: Bytes,
    /// Its share of the memory, while it is used.
    _memory: Option<OwnedSemaphorePermit>,
}

impl Reader {
    pub fn new(longest: usize, patience: Duration) -> Self {
        let memory = longest.saturating_mul(BODIES).min(Semaphore::MAX_PERMITS);
        Self { longest, patience, memory: Arc::new(Semaphore::new(memory)) }
    }

    /// A whole body. One that says that it is too long is refused before any of it is read.
    pub async fn read(&self, head: &Parts, body: Body) -> Result<Arrived, Refusal> {
        let claimed =
            head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if claimed.is_some_and(|length| length > self.longest as u64) {
            return Err(self.too_long());
        }
        let late =
            || Refusal::new(StatusCode::REQUEST_TIMEOUT, format!("no whole body after {} s", self.patience.as_secs()));
        tokio::time::timeout(self.patience, self.collect(body)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn collect(&self, mut body: Body) -> Result<Arrived, Refusal> {
        let mut bytes = Vec::new();
        let mut memory: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Refusal::bad(format!("the body broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > self.longest {
                return Err(self.too_long());
            }
            let full = |_| Refusal::busy("the memory for requests is full; try again later", 1);
            let more = self.memory.clone().try_acquire_many_owned(data.len() as u32).map_err(full)?;
            match &mut memory {
                Some(memory) => memory.merge(more),
                none => *none = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Arrived { bytes: bytes.into(), _memory: memory })
    }

    fn too_long(&self) -> Refusal {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {} bytes", self.longest))
    }
}

/// What a body is said to be.
pub(crate) enum Form {
    Json,
    Multipart,
}

impl Form {
    /// By the content type; others are refused with 415.
    pub fn of(head: &Parts) -> Result<Self, Refusal> {
        let found = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = found.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Ok(Self::Json),
            "multipart/form-data" => Ok(Self::Multipart),
            _ => {
                let message =
                    format!("expected the content type application/json or multipart/form-data, found `{found}`");
                Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
            }
        }
    }
}

/// A JSON body; what is wrong is said with its place.
pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value =
        serde_path_to_error::deserialize(&mut reader).map_err(|error| match error.path().to_string().as_str() {
            "." => Refusal::bad(error.inner().to_string()),
            path => Refusal::bad(format!("`{path}`: {}", error.inner())),
        })?;
    reader.end().map_err(|error| Refusal::bad(error.to_string()))?;
    Ok(value)
}

/// The fields of a form in their order: name and content.
pub(crate) async fn from_multipart(head: Parts, bytes: Bytes) -> Result<FormFields, Refusal> {
    let wrong = |what: String| Refusal::bad(format!("the form cannot be read: {what}"));
    let mut request = Request::from_parts(head, Body::from(bytes));
    // It has been bounded.
    DefaultBodyLimit::disable().apply(&mut request);
    let mut form = Multipart::from_request(request, &()).await.map_err(|error| wrong(error.body_text()))?;
    let mut fields = Vec::new();
    while let Some(field) = form.next_field().await.map_err(|error| wrong(error.body_text()))? {
        let name = field.name().ok_or_else(|| wrong("a field has no name".to_owned()))?.to_owned();
        fields.push((name, field.bytes().await.map_err(|error| wrong(error.body_text()))?));
    }
    Ok(fields)
}
