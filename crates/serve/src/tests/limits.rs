//! What is asked wrongly, too much, or too slowly.

use std::{
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::fake::{read, settings, start};
use crate::{ServeError, Settings};

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let server = start(settings());
    let embeddings = "/v1/embeddings";
    for (body, reason) in [
        (json!({}), "missing field `input`"),
        (json!({ "input": [] }), "nothing to embed"),
        (json!({ "input": 1 }), "`input`: invalid type: integer `1`, expected a text"),
        (json!({ "input": ["a", [1, 2]] }), "`input[1]`: invalid type: sequence, expected a text"),
        (json!({ "input": vec!["a"; 2049] }), "at most 2048"),
        (json!({ "input": { "row": { "a": [1] } } }), "`input.row.a`"),
        (json!({ "input": { "smell": "a" } }), "unknown field `smell`"),
        (json!({ "input": "a", "inputs": "b" }), "unknown field `inputs`"),
        (json!({ "input": "a", "encoding_format": "int8" }), "`encoding_format`"),
        (json!({ "input": "a", "dimensions": 3 }), "the model's is 2"),
        (json!({ "input": "a", "dimensions": -3 }), "`dimensions`"),
        (json!({ "input": { "text": "a", "image": "data:image/png;base64,AAAA" } }), "exactly one"),
        (json!({ "input": [{}] }), "exactly one"),
        (json!({ "input": ["a", ""] }), "item 1: `text`: it holds nothing"),
        (json!({ "input": { "image": "http://example.com/a.png" } }), "data URL"),
        (json!({ "input": { "image": "data:image/png;base64,%%" } }), "data URL"),
        (json!({ "input": { "image": "data:image/png,abc" } }), "`;base64` is missing"),
        (json!({ "input": { "image": "data:audio/wav;base64,AAAA" } }), "it holds audio"),
        (json!({ "input": { "image": "data:image/png;base64,YnJva2Vu" } }), "it is broken"),
        (json!({ "input": { "image": "data:image/png;base64,YnVn" } }), "cannot be decoded"),
        (json!({ "input": { "audio": "data:audio/wav;base64,AAAA" } }), "the model takes text, image"),
        (json!({ "input": { "row": { "a": 1 } } }), "the model takes text, image"),
    ] {
        let answer = server.post(embeddings, &body);
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.message().contains(reason), "{body}: {}", answer.message());
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    }
    for (body, reason) in [
        (json!({}), "nothing to look for"),
        (json!({ "text": "a", "to": ["smell"] }), "the index has image, text"),
        (json!({ "text": "a", "to": [] }), "at least one"),
        (json!({ "text": "a", "to": vec!["text"; 65] }), "at most 64"),
        (json!({ "text": "a", "k": 0 }), "`k`"),
        (json!({ "text": "a", "k": 1001 }), "`k`"),
        (json!({ "text": "a", "smell": "b" }), "unknown field"),
    ] {
        let answer = server.post("/v1/search", &body);
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.message().contains(reason), "{body}: {}", answer.message());
    }
    let kind = [("content-type", "application/json")];
    for body in [&b"{"[..], b"", b"\xff", b"[]", b"{\"input\":\"a\"} x", "[".repeat(10_000).as_bytes()] {
        assert_eq!(server.send("POST", embeddings, &kind, body).status, 400);
    }
    let form = [("content-type", "multipart/form-data; boundary=X")];
    let field = |name: &str| format!("--X\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\nword\r\n--X--\r\n");
    for body in ["nothing", "--X\r\n", &field("smell"), &field("dimensions"), &field("row"), &field("k")] {
        assert_eq!(server.send("POST", embeddings, &form, body.as_bytes()).status, 400, "{body}");
        assert_eq!(server.send("POST", "/v1/search", &form, body.as_bytes()).status, 400, "{body}");
    }
    assert_eq!(server.send("POST", embeddings, &[("content-type", "text/plain")], b"a").status, 415);
    assert_eq!(server.send("POST", embeddings, &[], b"{}").status, 415);
    assert_eq!(server.post(embeddings, &json!({ "input": "a", "model": "other" })).status, 404);
    assert_eq!(server.get("/nothing").status, 404);
    let wrong = server.get(embeddings);
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    assert_eq!(server.raw(b"nonsense\r\n\r\n").status, 400);
}

#[test]
fn a_model_s_bug_hurts_no_other_request() {
    let server = start(Settings { wait: Duration::from_millis(200), ..settings() });
    thread::scope(|scope| {
        let healthy = scope.spawn(|| server.embed("healthy").status);
        let broken = scope.spawn(|| server.embed("PANIC").status);
        let empty = scope.spawn(|| server.embed("NAN").status);
        assert_eq!(healthy.join().unwrap(), 200);
        assert_eq!(broken.join().unwrap(), 500);
        assert_eq!(empty.join().unwrap(), 422);
    });
    assert_eq!(server.embed("healthy").status, 200);
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let server = start(Settings { queue: 4, batch: 2, ..settings() });
    assert_eq!(server.post("/v1/embeddings", &json!({ "input": ["a", "b", "c", "d", "e"] })).status, 413);
    server.gate.shut(true);
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| server.embed("a").status)).collect();
        let full = || server.get("/metrics").body.windows(24).any(|line| line == b"sensorium_queue_items 4\n");
        while !full() {
            thread::sleep(Duration::from_millis(10));
        }
        let refused = server.embed("b");
        assert_eq!(refused.status, 429);
        assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1, "{refused:?}");
        server.gate.shut(false);
        waiting.into_iter().for_each(|answer| assert_eq!(answer.join().unwrap(), 200));
    });
    assert_eq!(server.embed("b").status, 200);
}

#[test]
fn a_client_that_leaves_frees_its_place() {
    let server = start(Settings { queue: 1, ..settings() });
    server.gate.shut(true);
    let mut stream = server.connect();
    let body = br#"{"input":"a"}"#;
    let head = format!(
        "POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    thread::sleep(Duration::from_millis(200));
    drop(stream);
    server.gate.shut(false);
    let begin = Instant::now();
    while server.embed("b").status != 200 {
        assert!(begin.elapsed() < Duration::from_secs(5));
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn long_bodies_are_refused_before_they_are_read() {
    let server = start(Settings { body: 1000, ..settings() });
    // It claims ten gibibytes and sends nothing.
    let claim = b"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 10737418240\r\n\r\n";
    let begin = Instant::now();
    let answer = server.raw(claim);
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(begin.elapsed() < Duration::from_secs(4));
    // It claims nothing and sends much.
    let mut chunks = b"POST /v1/search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..2000 {
        chunks.extend_from_slice(b"400\r\n");
        chunks.extend_from_slice(&[b' '; 1024]);
        chunks.extend_from_slice(b"\r\n");
    }
    assert_eq!(server.raw(&chunks).status, 413);
    assert_eq!(server.post("/v1/embeddings", &json!({ "input": "x".repeat(980) })).status, 200);
    assert_eq!(server.post("/v1/embeddings", &json!({ "input": "x".repeat(990) })).status, 413);
    let long = start(settings()).post("/v1/embeddings", &json!({ "input": "x".repeat(300_000) }));
    assert_eq!(long.status, 413, "a text longer than any model reads");
}

#[test]
fn a_long_head_is_refused() {
    let server = start(settings());
    let long = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(1_000_000));
    assert_eq!(server.raw(long.as_bytes()).status, 431);
}

#[test]
fn slow_clients_are_told_and_dropped() {
    let server = start(Settings { patience: Duration::from_millis(400), ..settings() });
    let slow = |bytes: &[u8]| {
        let begin = Instant::now();
        let mut stream = server.connect();
        stream.write_all(bytes).unwrap();
        let answer = read(stream);
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        answer.status
    };
    assert_eq!(slow(b"POST /v1/embeddings HTTP/1.1\r\nhost: loc"), 408, "half a head");
    let head = b"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"in";
    assert_eq!(slow(head), 408, "half a body");
    assert_eq!(slow(b""), 0, "who says nothing hears nothing");
    // Between two requests a connection may rest, but not for ever.
    assert_eq!(slow(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"), 200);
}

#[test]
fn slow_connections_do_not_hurt_others() {
    let server = start(Settings { patience: Duration::from_secs(5), ..settings() });
    let slow: Vec<_> = (0..300)
        .map(|number| {
            let mut stream = server.connect();
            let half = if number % 2 == 0 {
                &b"GET /hea"[..]
            } else {
                b"POST /v1/search HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n"
            };
            stream.write_all(half).unwrap();
            stream
        })
        .collect();
    for _ in 0..50 {
        assert_eq!(server.embed("healthy").status, 200);
    }
    drop(slow);
}

#[test]
fn more_connections_than_allowed_wait() {
    let server = start(Settings { connections: 2, patience: Duration::from_secs(5), ..settings() });
    let (one, two) = (server.connect(), server.connect());
    thread::sleep(Duration::from_millis(100));
    let mut third = server.connect();
    third.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    third.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(third.read(&mut [0; 1]).is_err(), "it is not accepted yet");
    drop((one, two));
    third.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(read(third).status, 200);
}

#[test]
fn an_ending_server_finishes_what_it_began() {
    let mut server = start(settings());
    server.gate.shut(true);
    let answer = thread::scope(|scope| {
        let waiting = scope.spawn(|| server.embed("a"));
        thread::sleep(Duration::from_millis(200));
        server.stop.blocking_send(()).unwrap();
        thread::sleep(Duration::from_millis(100));
        assert_eq!(server.get("/readyz").status, 503, "at once");
        assert_eq!(server.get("/healthz").status, 200);
        assert_eq!(server.embed("b").status, 503, "nothing new is begun");
        server.gate.shut(false);
        waiting.join().unwrap()
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    let ended = server.ended.take().unwrap().join().unwrap();
    assert!(ended.is_ok(), "{ended:?}");
}

#[test]
fn an_ending_server_does_not_wait_for_ever() {
    let mut server = start(Settings { grace: Duration::from_millis(300), ..settings() });
    server.gate.shut(true);
    let mut stream = server.connect();
    let request = b"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{\"input\":\"a\"}";
    stream.write_all(request).unwrap();
    thread::sleep(Duration::from_millis(200));
    server.stop.blocking_send(()).unwrap();
    let begin = Instant::now();
    let ended = server.ended.take().unwrap().join().unwrap();
    assert!(matches!(ended, Err(ServeError::CutOff)), "{ended:?}");
    assert!(begin.elapsed() < Duration::from_secs(5));
}
