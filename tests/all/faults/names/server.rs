//! Names in what a server is asked.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::json;

use super::{Place, holds_secret, text};
use crate::{
    program::{emoji, recipe, succeed},
    serve::Server,
};

/// The whole answer, whatever was asked.
fn answer(address: &str, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // A server that refuses a request may close before it has read all of it.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn get(address: &str, path: &[u8]) -> Vec<u8> {
    let end = b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    answer(address, &[b"GET ", path, end].concat())
}

fn post(address: &str, path: &str, body: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    answer(address, format!("{head}{body}").as_bytes())
}

fn status(answer: &[u8]) -> u16 {
    let digits = answer.get(9..12).map(|digits| String::from_utf8_lossy(digits).into_owned());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[test]
fn no_address_or_request_names_a_file() {
    let place = Place::new();
    let [run, vectors, index] = ["run", "E.parquet", "index"].map(|name| place.root().join(name));
    succeed(&["pretrain", text(&recipe(&place.root(), 1)), "--out", text(&run), "--quiet"]);
    let model = run.join("model");
    let data = place.root().join("shown.tar");
    fs::copy(emoji().join("emoji-validation.tar"), &data).unwrap();
    succeed(&["embed", text(&model), text(&data), "--out", text(&vectors), "--quiet"]);
    succeed(&["index", text(&vectors), "--out", text(&index), "--quiet"]);
    let before = place.state(&[]);
    let server = Server::start(&["serve", text(&model), "--index", text(&index), "--listen", "127.0.0.1:0"]);
    let listed = get(&server.address, b"/v1/items?count=1");
    let body = String::from_utf8_lossy(&listed);
    let item: serde_json::Value = serde_json::from_str(body.split_once("\r\n\r\n").unwrap().1).unwrap();
    let key = item["data"][0]["key"].as_str().unwrap().to_owned();
    assert_eq!(status(&get(&server.address, format!("/v1/items/{key}?field=image").as_bytes())), 200);

    let mut answers = 0;
    for (number, name) in place.hostile(1000).iter().enumerate() {
        let encoded: Vec<u8> = name.iter().flat_map(|byte| format!("%{byte:02x}").into_bytes()).collect();
        let field = format!("/v1/items/{key}?field=");
        let paths = [
            [b"/", &name[..]].concat(),
            [b"/v1/items/", &name[..]].concat(),
            [b"/v1/items/", &encoded[..]].concat(),
            [field.as_bytes(), &encoded[..]].concat(),
            [b"/", &encoded[..]].concat(),
        ];
        let mut said: Vec<(&str, Vec<u8>)> = paths.iter().map(|path| ("GET", get(&server.address, path))).collect();
        let name = String::from_utf8_lossy(name);
        let embed = |input: serde_json::Value| {
            post(&server.address, "/v1/embeddings", &json!({ "input": [input] }).to_string())
        };
        said.push(("picture", embed(json!({ "image": name }))));
        if number % 10 == 0 {
            said.push(("row", embed(json!({ "row": { "category": name, "image": name, "code_points": 1 } }))));
            let asked = json!({ "text": name, "to": [name] });
            said.push(("search", post(&server.address, "/v1/search", &asked.to_string())));
        }
        for (what, answer) in said {
            answers += 1;
            let status = status(&answer);
            assert!(!holds_secret(&answer), "{what} {name:?}");
            assert!(status == 0 || (200..500).contains(&status), "{what} {name:?}: {status}");
            // A connection that is closed without a word was refused as no HTTP, as when it is too long.
            assert!(status != 0 || answer.is_empty(), "{what} {name:?}");
        }
    }
    drop(server);
    println!("{answers} answers, none of a file outside");
    assert!(place.state(&[]) == before, "something was written");
}
