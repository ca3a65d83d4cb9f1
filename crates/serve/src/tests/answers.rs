//! What is asked rightly is answered rightly.

use std::{sync::Arc, thread, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::fake::{served, settings, start, vector};
use crate::{ApiKey, ServeError, Settings, serve};

fn floats(value: &serde_json::Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

fn data_url(bytes: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(bytes))
}

#[test]
fn openai_s_shape_is_answered() {
    let server = start(settings());
    let answer = server.embed("apple");
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["object"], "list");
    assert_eq!(answer["model"], "sums");
    assert_eq!(answer["data"][0]["object"], "embedding");
    assert_eq!(answer["data"][0]["index"], 0);
    assert_eq!(floats(&answer["data"][0]["embedding"]), vector(b"apple"));
    assert_eq!(answer["usage"], json!({ "prompt_tokens": 5, "total_tokens": 5 }));

    let several = server.post(
        "/v1/embeddings",
        &json!({ "input": ["a", "bb"], "model": "sums", "dimensions": 2, "encoding_format": "base64", "user": "me" }),
    );
    let bytes = STANDARD.decode(several.json()["data"][1]["embedding"].as_str().unwrap()).unwrap();
    let found: Vec<f32> = bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(found, vector(b"bb"));
}

#[test]
fn pictures_come_as_data_urls_and_as_forms() {
    let server = start(settings());
    let answer = server.post("/v1/embeddings", &json!({ "input": ["word", { "image": data_url(b"pixels") }] })).json();
    assert_eq!(floats(&answer["data"][0]["embedding"]), vector(b"word"));
    assert_eq!(floats(&answer["data"][1]["embedding"]), vector(b"pixels"));

    let form = b"--X\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\npixels\r\n\
        --X\r\ncontent-disposition: form-data; name=\"text\"\r\n\r\nword\r\n--X--\r\n";
    let kind = [("content-type", "multipart/form-data; boundary=X")];
    let answer = server.send("POST", "/v1/embeddings", &kind, form);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(floats(&answer.json()["data"][0]["embedding"]), vector(b"pixels"));
    assert_eq!(floats(&answer.json()["data"][1]["embedding"]), vector(b"word"));
}

#[test]
fn large_forms_are_read_whole() {
    let server = start(settings());
    let picture = vec![1; 5 << 20];
    let head = b"--X\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n";
    let form = [&head[..], &picture, b"\r\n--X--\r\n"].concat();
    let kind = [("content-type", "multipart/form-data; boundary=X")];
    assert_eq!(server.send("POST", "/v1/embeddings", &kind, &form).status, 200);
}

#[test]
fn requests_of_many_connections_share_batches_and_get_their_own_answers() {
    let server = start(Settings { wait: Duration::from_millis(300), ..settings() });
    let before = server.gate.batches();
    thread::scope(|scope| {
        for number in 0..24 {
            let server = &server;
            scope.spawn(move || {
                let text = "x".repeat(number + 1);
                let answer = server.embed(&text).json();
                let found = floats(&answer["data"][0]["embedding"]);
                vector(text.as_bytes()).iter().zip(found).for_each(|(a, b)| assert!((a - b).abs() < 1e-6));
            });
        }
    });
    assert!(server.gate.batches() - before <= 6, "{} batches", server.gate.batches() - before);
}

#[test]
fn a_search_answers_with_what_is_stored() {
    let server = start(settings());
    let answer = server.post("/v1/search", &json!({ "text": "apple" }));
    assert_eq!(answer.status, 200, "{answer:?}");
    let found = &answer.json()["found"];
    assert_eq!(found["image"][0]["key"], "a/1");
    assert_eq!(found["image"][0]["fields"]["image"]["content_type"], "image/png");
    assert_eq!(found["image"][0]["fields"]["image"]["href"], "/v1/items/a%2F1?field=image");
    assert_eq!(found["text"][0]["fields"]["text"], "<b>apple</b>");
    assert!(found["text"][1].get("fields").is_none(), "an item that cannot be read is still found");
    let one =
        server.post("/v1/search", &json!({ "image": data_url(b"x"), "text": "y", "to": ["text"], "k": 1 })).json();
    assert_eq!(one["found"].as_object().unwrap().len(), 1);
    assert_eq!(one["found"]["text"].as_array().unwrap().len(), 1);
    let both: Vec<f32> = vector(b"x").iter().zip(vector(b"y")).map(|(a, b)| a + b).collect();
    let length = both.iter().map(|value| value * value).sum::<f32>().sqrt();
    let score = one["found"]["text"][0]["score"].as_f64().unwrap() as f32;
    assert!((score - both[0] / length).abs() < 1e-6, "several parts are asked by their mean");

    let form = b"--X\r\ncontent-disposition: form-data; name=\"text\"\r\n\r\nword\r\n\
        --X\r\ncontent-disposition: form-data; name=\"to\"\r\n\r\nimage,text\r\n\
        --X\r\ncontent-disposition: form-data; name=\"k\"\r\n\r\n1\r\n--X--\r\n";
    let kind = [("content-type", "multipart/form-data; boundary=X")];
    let answer = server.send("POST", "/v1/search", &kind, form).json();
    assert_eq!(answer["found"]["text"].as_array().unwrap().len(), 1);
}

#[test]
fn items_are_shown() {
    let server = start(settings());
    let item = server.get("/v1/items/a%2F1").json();
    assert_eq!(item["modalities"], json!(["image", "text"]));
    assert_eq!(item["fields"]["weight"], 1.5);
    let picture = server.get("/v1/items/a%2F1?field=image");
    assert_eq!((picture.status, picture.header("content-type")), (200, Some("image/png")));
    assert_eq!(picture.body, b"\x89PNG\r\n\x1a\n");
    // What a browser could run is never given as such.
    let page = server.get("/v1/items/a%2F1?field=page");
    assert_eq!(page.header("content-type"), Some("application/octet-stream"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let text = server.get("/v1/items/a%2F1?field=text");
    assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
    let lost = server.get("/v1/items/lost").json();
    assert_eq!(lost["problem"], "`data.tar` is there no more");
    assert_eq!(server.get("/v1/items/lost?field=text").status, 404);
    assert_eq!(server.get("/v1/items/none").status, 404);
    assert_eq!(server.get("/v1/items/a%2F1?field=none").status, 404);
    assert_eq!(server.get("/v1/items/a%2F1?fields=text").status, 400);
    assert_eq!(server.get("/v1/items").json()["data"].as_array().unwrap().len(), 2);
    assert_eq!(server.get("/v1/items?count=1").json()["data"].as_array().unwrap().len(), 1);
    for wrong in ["0", "101", "x", "-1"] {
        assert_eq!(server.get(&format!("/v1/items?count={wrong}")).status, 400, "{wrong}");
    }
}

#[test]
fn what_cannot_be_served_is_refused_at_the_start() {
    let gate = Arc::default();
    let open = Settings { listen: ([0, 0, 0, 0], 0).into(), ..settings() };
    let refused = serve(served(&gate, false), &open, |_| panic!("it listens"));
    assert!(matches!(refused, Err(ServeError::NeedsKey { .. })), "{refused:?}");
    let none = Settings { batch: 0, ..settings() };
    assert!(matches!(serve(served(&gate, false), &none, |_| {}), Err(ServeError::Setting { name: "batch", .. })));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let same = Settings { listen: taken.local_addr().unwrap(), ..settings() };
    assert!(matches!(serve(served(&gate, false), &same, |_| {}), Err(ServeError::Listen { .. })));
}

#[test]
fn a_key_is_long_and_one_line() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("key");
    for (text, problem) in [("short\n", "16"), ("two lines of\nwords and words", "one line"), ("", "16")] {
        std::fs::write(&path, text).unwrap();
        let message = ApiKey::read(&path).unwrap_err().to_string();
        assert!(message.contains(problem) && !message.contains("words"), "{message}");
    }
    std::fs::write(&path, "0123456789abcdef\n").unwrap();
    let key = ApiKey::read(&path).unwrap();
    assert!(key.is(b"0123456789abcdef") && !key.is(b"0123456789abcdeg") && !key.is(b""));
    assert_eq!(format!("{key:?}"), "ApiKey");
    assert!(ApiKey::read(&home.path().join("none")).is_err());
}
