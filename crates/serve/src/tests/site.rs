//! Who may ask, what browsers are told, and what operators see.

use std::time::Duration;

use super::fake::{settings, start};
use crate::{ApiKey, Settings};

const KEY: &str = "a-key-of-some-length";
const PATHS: [&str; 10] = [
    "/",
    "/page.js",
    "/openapi.json",
    "/metrics",
    "/v1/models",
    "/v1/items",
    "/v1/items/a",
    "/v1/search",
    "/v1/embeddings",
    "/nothing",
];

#[test]
fn without_the_key_only_health_is_answered() {
    let server = start(Settings { key: Some(ApiKey::new(KEY)), ..settings() });
    let basic =
        |pair: &str| format!("Basic {}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair));
    let wrong = ["", "Bearer", "Bearer ", "Bearer a-key-of-some-lengtH", KEY, "Basic !", &basic(KEY), &basic("me:no")];
    for path in PATHS {
        let answer = server.get(path);
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.header("www-authenticate").is_some());
        assert!(!String::from_utf8_lossy(&answer.body).contains(KEY));
        for wrong in wrong {
            assert_eq!(server.send("GET", path, &[("authorization", wrong)], b"").status, 401, "{path} {wrong}");
        }
    }
    let bearer = format!("Bearer {KEY}");
    let password = basic(&format!("anyone:{KEY}"));
    for right in [&bearer, &password] {
        assert_eq!(server.send("GET", "/v1/models", &[("authorization", right)], b"").status, 200);
        assert_eq!(server.send("GET", "/", &[("authorization", right), ("host", "models.example")], b"").status, 200);
    }
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn a_foreign_name_that_points_here_is_refused() {
    let server = start(settings());
    for host in ["evil.example", "evil.example:8080", "localhost.evil.example", "10.0.0.1", "", "127.0.0.1.nip.io"] {
        assert_eq!(server.send("GET", "/v1/items", &[("host", host)], b"").status, 403, "{host}");
    }
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "127.0.0.2", "[::1]:8080", "[::1]"] {
        assert_eq!(server.send("GET", "/v1/items", &[("host", host)], b"").status, 200, "{host}");
    }
}

#[test]
fn the_page_comes_with_a_strict_policy() {
    let server = start(settings());
    for (path, kind) in
        [("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css"), ("/icon.svg", "image/svg+xml")]
    {
        let answer = server.get(path);
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").unwrap().starts_with(kind), "{answer:?}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let text = String::from_utf8(answer.body).unwrap();
        assert!(
            !text.contains("http://") || path == "/icon.svg" || text.contains("www.w3.org"),
            "nothing from elsewhere"
        );
        assert!(!text.contains("innerHTML") && !text.contains("style=") && !text.contains("onclick=\""), "{path}");
    }
}

#[test]
fn the_document_names_every_path() {
    let server = start(settings());
    let document = server.get("/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/v1/embeddings",
        "/v1/search",
        "/v1/items",
        "/v1/items/{key}",
        "/v1/models",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
}

#[test]
fn operators_see_numbers() {
    let server = start(settings());
    server.embed("a");
    server.get("/v1/items/none");
    server.get("/nowhere/1");
    for line in [
        "sensorium_requests_total{route=\"/v1/embeddings\",status=\"200\"} 1",
        "sensorium_requests_total{route=\"/v1/items/{key}\",status=\"404\"} 1",
        "sensorium_requests_total{route=\"other\",status=\"404\"} 1",
        "sensorium_batch_items_count 1",
        "sensorium_queue_items 0",
        "sensorium_connections 1",
    ] {
        // A batch is counted just after it is answered, a connection until it is closed.
        let text = || String::from_utf8(server.get("/metrics").body).unwrap();
        let wait = || {
            std::thread::sleep(Duration::from_millis(20));
            false
        };
        let found = (0..100).any(|_| text().contains(line) || wait());
        assert!(found, "{line} in\n{}", text());
    }
}
