use std::{io, net::SocketAddr, path::PathBuf};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a server does not start, or does not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Others than this machine could ask, and nothing would hold them off.
    #[error("`--listen {address}` can be reached from other machines: it needs `--api-key-file`")]
    NeedsKey {
        /// What should have been listened on.
        address: SocketAddr,
    },
    /// The file of the key cannot be used.
    #[error("{}: {problem}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Expected and found.
        problem: String,
    },
    /// A setting that cannot work.
    #[error("`{name}` must be at least {least}, is {found}")]
    Setting {
        /// Which one.
        name: &'static str,
        /// The least possible.
        least: usize,
        /// As given.
        found: usize,
    },
    /// The index was made by another model.
    #[error("the index holds vectors of {index} numbers, the model gives {model}")]
    Width {
        /// Of the index.
        index: usize,
        /// Of the model.
        model: usize,
    },
    /// The model does not answer a simple question.
    #[error("the model does not answer: {0}")]
    Model(String),
    /// Nobody else may use the address, or it is not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// What should be listened on.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Threads, timers or signals cannot be had.
    #[error("cannot serve: {0}")]
    System(#[from] io::Error),
    /// Requests were still being answered when the time for that was over.
    #[error("ended before all requests were answered")]
    CutOff,
}

/// What a request is answered with when it is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: StatusCode,
    pub message: String,
    /// Seconds after which to try again.
    pub retry_after: Option<u64>,
}

impl Refusal {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None }
    }

    /// 400: what was asked makes no sense.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404: there is no such thing.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 429: more is asked than can be done.
    pub fn busy(message: impl Into<String>, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, message) }
    }

    /// 500: a fault of ours. What exactly went wrong is said on standard error, not to the client.
    pub fn fault(what: &str) -> Self {
        eprintln!("error: {what}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed at this; its log says how")
    }
}

/// Why a request was not answered, in the shape that OpenAI's clients read.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorAnswer {
    error: ErrorReason,
}

/// A reason.
#[derive(Serialize, ToSchema)]
struct ErrorReason {
    /// What is wrong, in words: what was expected, and what was found.
    message: String,
    /// `invalid_request_error`, `authentication_error`, `rate_limit_error` or `server_error`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Not used; clients expect it.
    param: Option<String>,
    /// The status in words, `payload_too_large`.
    code: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let kind = match self.status.as_u16() {
            401 | 403 => "authentication_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        let code = self.status.canonical_reason().unwrap_or_default().to_lowercase().replace(' ', "_");
        let answer = ErrorAnswer { error: ErrorReason { message: self.message, kind, param: None, code } };
        let mut response = (self.status, json(&answer)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A value as a JSON answer.
pub(crate) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => Refusal::fault(&format!("an answer has no JSON form: {error}")).into_response(),
    }
}
