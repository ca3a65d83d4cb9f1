//! The server as a user starts it: its answers are those of `embed`, it ends when asked, and asks for a key.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use sensorium::{contract::Value, retrieve::EmbeddingReader, samples::Dataset, samples::SourceConfig};
use serde_json::{Value as Json, json};

use crate::program::{command, emoji, fail, recipe, succeed};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A running server; killed if a test fails.
pub struct Server {
    child: Child,
    pub address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, address }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Json) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Json::Null))
    }
}

/// The vectors of a file by key and modality.
fn vectors(path: &Path) -> BTreeMap<(String, String), Vec<f32>> {
    let reader = EmbeddingReader::open(path).unwrap();
    let mut found = BTreeMap::new();
    for rows in reader.batches().unwrap() {
        let rows = rows.unwrap();
        for row in 0..rows.len() {
            let name = (rows.key(row).to_owned(), rows.modality(row).to_owned());
            found.insert(name, rows.vectors().row(row).to_vec());
        }
    }
    found
}

#[test]
fn answers_are_those_of_embed_whatever_is_asked_at_the_same_time() {
    let home = tempfile::tempdir().unwrap();
    let recipe = recipe(home.path(), 1);
    let [out, stored, index] = ["run", "E.parquet", "index"].map(|name| home.path().join(name));
    succeed(&["pretrain", text(&recipe), "--out", text(&out), "--quiet"]);
    let (model, data) = (out.join("model"), emoji().join("emoji-validation.tar"));
    succeed(&["embed", text(&model), text(&data), "--out", text(&stored), "--quiet"]);
    succeed(&["index", text(&stored), "--out", text(&index), "--quiet"]);
    let offline = vectors(&stored);
    let samples = Dataset::open(&[SourceConfig::new(text(&data))], home.path()).unwrap();
    let mut server =
        Server::start(&["serve", text(&model), "--index", text(&index), "--listen", "127.0.0.1:0", "--wait-ms", "50"]);

    let compare = |index: usize| {
        let sample = samples.read(index).unwrap();
        let bytes = |field: &str| match &sample.fields[field] {
            Value::Bytes(bytes) => STANDARD.encode(bytes),
            other => panic!("{other:?}"),
        };
        let input = json!([
            sample.fields["text"].as_text().unwrap(),
            { "image": format!("data:image/png;base64,{}", bytes("image")) },
            { "audio": format!("data:audio/wav;base64,{}", bytes("audio")) },
        ]);
        let (status, answer) = server.ask("POST", "/v1/embeddings", &json!({ "input": input }).to_string());
        assert_eq!(status, 200, "{answer}");
        for (place, modality) in ["text", "image", "audio"].into_iter().enumerate() {
            let expected = &offline[&(sample.key.clone(), modality.to_owned())];
            let found = answer["data"][place]["embedding"].as_array().unwrap();
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(expected) {
                let difference = (a.as_f64().unwrap() as f32 - b).abs();
                assert!(difference < 1e-5, "{} {modality}: {difference}", sample.key);
            }
        }
    };
    let count = samples.len().min(32);
    thread::scope(|scope| {
        for first in 0..8 {
            let compare = &compare;
            scope.spawn(move || (first..count).step_by(8).for_each(compare));
        }
    });

    // What it finds for a picture that it knows is this picture, and it shows it.
    let sample = samples.read(0).unwrap();
    let Value::Bytes(picture) = &sample.fields["image"] else { panic!("no picture") };
    let url = format!("data:image/png;base64,{}", STANDARD.encode(picture));
    let (_, answer) = server.ask("POST", "/v1/search", &json!({ "image": url, "to": ["image"], "k": 3 }).to_string());
    assert!(answer["found"]["image"][0]["score"].as_f64().unwrap() > 0.9999, "{answer}");
    let (_, item) = server.ask("GET", &format!("/v1/items/{}", sample.key), "");
    assert_eq!(item["fields"]["text"].as_str(), sample.fields["text"].as_text().as_deref(), "{item}");

    assert!(Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status().unwrap().success());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn others_are_answered_only_with_a_key() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("key");
    let message = fail(&["serve", "none", "--listen", "0.0.0.0:0"], 2);
    assert!(message.contains("--api-key-file"), "{message}");
    fs::write(&key, "short").unwrap();
    let message = fail(&["serve", "none", "--listen", "0.0.0.0:0", "--api-key-file", text(&key)], 2);
    assert!(message.contains("16 characters") && !message.contains("short\n"), "{message}");
    let message = fail(&["serve", "none", "--queue", "0"], 2);
    assert!(message.contains("`queue`"), "{message}");
}
