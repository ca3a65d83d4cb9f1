//! Which path leads where, and who may go there.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{embeddings, error::Refusal, gate::until_sent, items, page, search, service::Service, status};

/// What the document says of the whole.
#[derive(OpenApi)]
#[openapi(info(
    title = "Sensorium",
    description = "Vectors of texts, pictures, sounds and rows in one space, and search among them.",
    license(name = "MIT OR Apache-2.0"),
))]
struct Document;

/// Health is answered to everyone, always.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// What browsers are told with every answer: nothing from elsewhere runs or is sent anywhere.
const HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "microphone=(self), camera=(), geolocation=()"),
];

/// All that is answered.
pub(crate) fn router(service: Arc<Service>) -> Router {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(embeddings::create))
        .routes(routes!(search::search))
        .routes(routes!(items::some))
        .routes(routes!(items::one))
        .routes(routes!(status::models))
        .routes(routes!(status::live))
        .routes(routes!(status::ready))
        .routes(routes!(status::metrics))
        .split_for_parts();
    // The document of types that are known here always has a JSON form.
    let document = document.to_json().unwrap_or_default();
    let document = move || async move { ([(header::CONTENT_TYPE, "application/json")], document) };
    router
        .route("/openapi.json", get(document))
        .merge(page::routes())
        .fallback(|| async { Refusal::unknown("there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
        .layer(from_fn_with_state(service.clone(), admit))
        .with_state(service)
}

/// Lets a request in if the server is not ending and the asker may ask; counts it.
async fn admit(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = matched.unwrap_or_else(|| "other".to_owned());
    let mut response = match (HEALTH.contains(&route.as_str()), service.gate.enter()) {
        (true, _) => next.run(request).await,
        (false, None) => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is ending").into_response(),
        (false, Some(pass)) => match may_ask(&service, &request) {
            Ok(()) => until_sent(next.run(request).await, pass),
            Err(refusal) => until_sent(refusal.into_response(), pass),
        },
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        // A browser then asks for a name, which may be anything, and the key as the password.
        let challenge = HeaderValue::from_static("Basic realm=\"Sensorium: the API key is the password\", Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    service.metrics.request(&route, response.status().as_u16(), begin.elapsed());
    response
}

fn may_ask(service: &Service, request: &Request) -> Result<(), Refusal> {
    match &service.key {
        Some(key) if given(request).is_some_and(|given| key.is(&given)) => Ok(()),
        Some(_) => {
            let message = "expected `Authorization: Bearer KEY` with this server's key";
            Err(Refusal::new(StatusCode::UNAUTHORIZED, message))
        }
        None => from_here(request),
    }
}

/// The key in a request: as a bearer's token, or as a browser sends a password.
fn given(request: &Request) -> Option<Vec<u8>> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().as_bytes().to_vec());
    }
    let pair = general_purpose::STANDARD.decode(rest.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let colon = pair.iter().position(|&byte| byte == b':')?;
    Some(pair[colon + 1..].to_vec())
}

/// Without a key only this machine asks, by an address of its own: a page from elsewhere whose name
/// was made to point here (DNS rebinding) is refused.
fn from_here(request: &Request) -> Result<(), Refusal> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    match name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback()) {
        true => Ok(()),
        false => Err(Refusal::new(StatusCode::FORBIDDEN, "without an API key only localhost is answered")),
    }
}
