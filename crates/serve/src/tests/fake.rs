//! A model, an index and a client, each of a few lines.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Condvar, Mutex, mpsc},
    thread,
    time::Duration,
};

use ndarray::{Array1, Array2, ArrayD};
use sensorium_contract::{
    Array, Arrays, Batch, Embedder, Embeddings, Fault, Head, Item, Masked, Modality, Name, Preparation, Rng, Sample,
    Value,
};
use serde_json::{Value as Json, json};

use crate::{Collection, Hit, Input, Kind, ServeError, Served, Settings, listen, service::Service};

/// Reads a text or bytes as numbers: one for each letter or byte.
#[derive(Debug)]
struct Letters {
    field: &'static str,
}

impl Modality for Letters {
    fn decode(&self, sample: &Sample) -> Result<Option<Item>, Fault> {
        let bytes = match sample.fields.get(self.field) {
            None => return Ok(None),
            Some(Value::Bytes(bytes)) if bytes.starts_with(b"broken") => {
                return Err(Fault::new(self.field, "picture cannot be decoded", "it is broken"));
            }
            Some(Value::Bytes(bytes)) if bytes.starts_with(b"bug") => panic!("a decoder's bug"),
            Some(Value::Bytes(bytes)) => bytes.to_vec(),
            Some(value) => value.as_text().unwrap_or_default().as_bytes().to_vec(),
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        let letters: Array1<f32> = bytes.iter().map(|&byte| f32::from(byte)).collect();
        Ok(Some(Item { arrays: Arrays::default().with("letters", Array::F32(letters.into_dyn())), content: 0 }))
    }

    fn collate(&self, items: &[Item]) -> Arrays {
        let longest = items.iter().map(|item| item.arrays.f32("letters").len()).max().unwrap_or(0);
        let mut letters = Array2::zeros((items.len(), longest));
        for (mut row, item) in letters.outer_iter_mut().zip(items) {
            row.iter_mut().zip(item.arrays.f32("letters")).for_each(|(to, &letter)| *to = letter);
        }
        Arrays::default().with("letters", Array::F32(ArrayD::from(letters.into_dyn())))
    }

    fn mask(&self, arrays: &Arrays, _: &mut [Rng]) -> Masked {
        Masked { arrays: arrays.clone(), targets: Vec::new() }
    }

    fn heads(&self) -> Vec<Head> {
        Vec::new()
    }

    fn max_tokens(&self) -> usize {
        100
    }

    fn tokens(&self, item: &Item) -> usize {
        item.arrays.f32("letters").len()
    }
}

/// The direction from 0 to (sum of the letters, 1000).
struct Sums {
    gate: Arc<Gate>,
}

pub fn vector(bytes: &[u8]) -> [f32; 2] {
    let sum: f32 = bytes.iter().map(|&byte| f32::from(byte)).sum();
    let length = (sum * sum + 1e6).sqrt();
    [sum / length, 1000.0 / length]
}

impl Embedder for Sums {
    fn embed(&self, batch: &Batch) -> BTreeMap<Name, Embeddings> {
        self.gate.pass();
        let embed = |(name, part): (&Name, &sensorium_contract::Part)| {
            let rows = part.arrays.f32("letters");
            let mut vectors = Array2::zeros((part.rows.len(), 2));
            for (row, mut to) in rows.outer_iter().zip(vectors.outer_iter_mut()) {
                let bytes: Vec<u8> = row.iter().map(|&letter| letter as u8).collect();
                assert!(!bytes.starts_with(b"PANIC"), "a model's bug");
                let vector = if bytes.starts_with(b"NAN") { [f32::NAN, 0.0] } else { vector(&bytes) };
                to.assign(&Array1::from(vector.to_vec()));
            }
            (name.clone(), Embeddings { rows: part.rows.clone(), vectors })
        };
        batch.parts.iter().map(embed).collect()
    }
}

/// Holds the model up, and counts its batches.
#[derive(Default)]
pub struct Gate {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let state = self.state.lock().unwrap();
        let mut state = self.changed.wait_while(state, |(shut, _)| *shut).unwrap();
        state.1 += 1;
    }

    pub fn shut(&self, shut: bool) {
        self.state.lock().unwrap().0 = shut;
        self.changed.notify_all();
    }

    pub fn batches(&self) -> usize {
        self.state.lock().unwrap().1
    }
}

/// Two items; the fields of the second cannot be had.
struct Shelf;

impl Collection for Shelf {
    fn width(&self) -> usize {
        2
    }

    fn modalities(&self) -> Vec<(Name, usize)> {
        vec![(Name::new("image"), 1), (Name::new("text"), 2)]
    }

    fn nearest(&self, query: &[f32], to: &Name, k: usize) -> Result<Vec<Hit>, String> {
        let keys: &[&str] = if &**to == "image" { &["a/1"] } else { &["a/1", "lost"] };
        let mut hits: Vec<Hit> = keys.iter().map(|key| Hit { key: (*key).to_owned(), score: query[0] }).collect();
        hits.truncate(k);
        Ok(hits)
    }

    fn some(&self, count: usize) -> Vec<String> {
        ["a/1", "lost"].into_iter().take(count).map(str::to_owned).collect()
    }

    fn modalities_of(&self, key: &str) -> Vec<Name> {
        match key {
            "a/1" => vec![Name::new("image"), Name::new("text")],
            "lost" => vec![Name::new("text")],
            _ => Vec::new(),
        }
    }

    fn read(&self, key: &str) -> Result<Sample, String> {
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.into());
        match key {
            "a/1" => Ok(Sample {
                key: key.to_owned(),
                fields: [
                    ("image".to_owned(), bytes(b"\x89PNG\r\n\x1a\n")),
                    ("page".to_owned(), bytes(b"<html><script>")),
                    ("text".to_owned(), Value::Text("<b>apple</b>".to_owned())),
                    ("weight".to_owned(), Value::Number(1.5)),
                ]
                .into(),
            }),
            _ => Err("`data.tar` is there no more".to_owned()),
        }
    }
}

/// A running server; it ends when this is dropped.
pub struct Server {
    pub address: SocketAddr,
    pub gate: Arc<Gate>,
    pub stop: tokio::sync::mpsc::Sender<()>,
    pub ended: Option<thread::JoinHandle<Result<(), ServeError>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.gate.shut(false);
        let _ = self.stop.try_send(());
        if let Some(ended) = self.ended.take() {
            let _ = ended.join();
        }
    }
}

/// Settings for tests: any free port, quick batches.
pub fn settings() -> Settings {
    let wait = Duration::from_millis(1);
    Settings { listen: SocketAddr::from(([127, 0, 0, 1], 0)), wait, ..Settings::default() }
}

pub fn served(gate: &Arc<Gate>, collection: bool) -> Served {
    let modality = |field| (Name::new(field), Arc::new(Letters { field }) as Arc<dyn Modality>);
    let input = |name: &str, kind| Input { name: Name::new(name), kind, field: Some(name.to_owned()) };
    Served {
        name: "sums".to_owned(),
        model: Box::new(Sums { gate: gate.clone() }),
        preparation: Arc::new(Preparation {
            modalities: [modality("text"), modality("image")].into(),
            ..Preparation::default()
        }),
        inputs: vec![input("text", Kind::Text), input("image", Kind::Image)],
        collection: collection.then(|| Arc::new(Shelf) as Arc<dyn Collection>),
    }
}

pub fn start(settings: Settings) -> Server {
    let gate = Arc::new(Gate::default());
    let (stop, asked) = tokio::sync::mpsc::channel(1);
    let service = Arc::new(Service::start(served(&gate, true), &settings).unwrap());
    let (tell, told) = mpsc::channel();
    let ended = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind(settings.listen).await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let stop = listen::Stop::on_messages(asked);
            listen::listen(listener, stop, service, &settings).await
        })
    });
    Server { address: told.recv().unwrap(), gate, stop, ended: Some(ended) }
}

/// An answer: status, head, body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What an error says.
    pub fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

impl Server {
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes as they are, and reads until the connection ends.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        // The server may answer, and close, before it has all.
        let _ = stream.write_all(bytes);
        read(stream)
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += &format!("host: {}\r\n", self.address);
        }
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        head += &format!("content-length: {}\r\n\r\n", body.len());
        self.raw(&[head.as_bytes(), body].concat())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Json) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes())
    }

    pub fn embed(&self, text: &str) -> Answer {
        self.post("/v1/embeddings", &json!({ "input": text }))
    }
}

pub fn read(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let _ = stream.shutdown(Shutdown::Both);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head, body: bytes.get(end + 4..).unwrap_or_default().to_vec() }
}
