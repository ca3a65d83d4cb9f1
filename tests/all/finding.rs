//! From vectors to answers: `embed`, `index`, `search`, and runs of them that are killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Child,
    sync::OnceLock,
    thread::sleep,
    time::{Duration, Instant},
};

use sensorium::retrieve::{EmbeddingTable, Index};
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{emoji, fail, recipe, run, start, succeed};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A model, and another one of the same recipe.
fn models() -> &'static [PathBuf; 2] {
    static MODELS: OnceLock<(TempDir, [PathBuf; 2])> = OnceLock::new();
    let train = || {
        let home = tempfile::tempdir().unwrap();
        let recipe = recipe(home.path(), 2);
        let models = ["1", "2"].map(|seed| {
            let out = home.path().join(seed);
            succeed(&["pretrain", text(&recipe), "--out", text(&out), "--quiet", "--seed", seed]);
            out.join("model")
        });
        (home, models)
    };
    &MODELS.get_or_init(train).1
}

fn hits(arguments: &[&str]) -> Vec<Value> {
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    serde_json::from_str(&succeed(&arguments)).unwrap()
}

#[test]
fn what_was_embedded_is_found() {
    let home = tempfile::tempdir().unwrap();
    let [model, other] = models();
    let data = emoji().join("emoji-validation.tar");
    let [vectors, index, page, picture] = ["E.parquet", "I", "page.html", "p.png"].map(|name| home.path().join(name));
    succeed(&["embed", text(model), text(&data), "--out", text(&vectors), "--quiet"]);
    let said = succeed(&["index", text(&vectors), "--out", text(&index), "--quiet"]);
    assert!(said.contains("recall@10") && said.contains("HNSW of f32 by cosine, width 16"), "{said}");

    // An item's own picture finds itself among pictures.
    let samples = sensorium::Samples { data: vec![text(&data).to_owned()], fields: Vec::new() };
    let sample = samples.open().unwrap().read(3).unwrap();
    let sensorium::contract::Value::Bytes(bytes) = &sample.fields["image"] else { panic!("no picture") };
    fs::write(&picture, bytes).unwrap();
    let ask = ["search", text(model), text(&index), "--image", text(&picture)];
    let found = hits(&[&ask[..], &["--to", "image", "-k", "3"]].concat());
    assert_eq!((found.len(), found[0]["key"].as_str()), (3, Some(sample.key.as_str())));
    assert!((found[0]["score"].as_f64().unwrap() - 1.0).abs() < 1e-5, "{}", found[0]);
    assert!(found[0]["source"].as_str().unwrap().contains("emoji-validation.tar"), "{}", found[0]);
    // Other modalities than the question's, if none is named; those that are named, together.
    assert!(hits(&ask).iter().all(|hit| hit["modality"] != "image"));
    let both = hits(&[&ask[..], &["--to", "text,audio", "--exact"]].concat());
    assert_eq!(both, hits(&[&ask[..], &["--to", "text,audio"]].concat()), "the graph of so few finds all");
    assert!(both.iter().all(|hit| hit["modality"] == "text" || hit["modality"] == "audio"));

    // A page that shows what was found, and what it can where the samples are gone.
    let shown = succeed(&[&ask[..], &["--to", "image,text,audio,table", "--html", text(&page)]].concat());
    assert!(shown.starts_with("key") && shown.lines().count() == 11, "{shown}");
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.contains("<use href") && html.contains(&sample.key), "{html}");
    let words = ["--text", "a red heart", "--row", "{\"category\": \"Symbols\", \"code_points\": 1}"];
    let several = hits(&[&["search", text(model), text(&index)][..], &words].concat());
    assert!(several.iter().all(|hit| hit["modality"] == "image" || hit["modality"] == "audio"));

    let refused = |arguments: &[&str], part: &str| {
        let message = fail(&[&["search"], arguments].concat(), 2);
        assert!(message.contains(part), "{message}");
    };
    refused(&[text(other), text(&index), "--text", "a"], "was made with another model");
    refused(&[text(model), text(&index), "--row", "[1]"], "a row is a JSON object");
    assert_eq!(run(&["search", text(model), text(&index)]).status.code(), Some(2), "nothing is asked");
    let graph = index.join("image/graph.usearch");
    let mut bytes = fs::read(&graph).unwrap();
    bytes[100] ^= 1;
    fs::write(&graph, bytes).unwrap();
    let message = fail(&["search", text(model), text(&index), "--text", "a"], 1);
    assert!(message.contains("image/graph.usearch") && message.contains("has changed"), "{message}");
    succeed(&["index", text(&vectors), "--out", text(&index), "--quiet", "--exact"]);
    assert_eq!(both, hits(&[&ask[..], &["--to", "text,audio"]].concat()), "an index can be made anew");
}

#[test]
fn stored_vectors_are_judged_as_those_of_the_model() {
    let home = tempfile::tempdir().unwrap();
    let [model, _] = models();
    let data = emoji().join("emoji-train.tar");
    let vectors = home.path().join("E.parquet");
    succeed(&["embed", text(model), text(&data), "--out", text(&vectors), "--quiet"]);
    let stored = succeed(&["evaluate", text(&vectors), "--json"]);
    assert_eq!(stored, succeed(&["evaluate", text(model), text(&data), "--json"]));
    let message = fail(&["evaluate", text(model)], 2);
    assert!(message.contains("judged on samples"), "{message}");
    let message = fail(&["evaluate", text(&vectors), text(&data)], 2);
    assert!(message.contains("judged alone"), "{message}");
}

/// Kills a process after a part of the time that it needs. Whether it was still running.
fn kill_after(mut child: Child, time: Duration) -> bool {
    sleep(time);
    let running = child.try_wait().unwrap().is_none();
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    running
}

/// Kills `embed` and then `index`, so many times each at moments spread over the time that they need, and
/// calls the same command again. What is there is whole at any moment, and the end is as if nothing had been.
fn survives_kills(kills: u32) {
    let home = tempfile::tempdir().unwrap();
    let [model, other] = models();
    let table = home.path().join("table.csv");
    let rows = (0..3000).map(|row| format!("k{row},the number {row} of many,Symbols,{}\n", row % 7));
    fs::write(&table, "key,text,category,code_points\n".to_owned() + &rows.collect::<String>()).unwrap();
    let [whole, vectors, index] = ["whole.parquet", "E.parquet", "I"].map(|name| home.path().join(name));
    let embed = |out: &Path| ["embed", text(model), text(&table), "--quiet", "--out", text(out)].map(str::to_owned);
    let make_index = ["index", text(&vectors), "--quiet", "--out", text(&index)];

    let begin = Instant::now();
    succeed(&embed(&whole).each_ref().map(String::as_str));
    let time = begin.elapsed();
    let expected = fs::read(&whole).unwrap();
    // Odd and even parts of the time, not in order.
    let moment = |time: Duration, kill: u32| time * (kill * 37 % 101) / 101;
    let (mut killed, mut continued) = (0, 0);
    for kill in 0..kills {
        let child = start(&embed(&vectors).each_ref().map(String::as_str));
        killed += u32::from(kill_after(child, moment(time, kill)));
        let parts = fs::read_dir(home.path().join("E.parquet.parts")).map(Iterator::count).unwrap_or(0);
        continued += u32::from(parts > 2);
        if vectors.exists() {
            assert!(fs::read(&vectors).unwrap() == expected, "a file that is there is whole");
            fs::remove_file(&vectors).unwrap();
        }
    }
    if continued > 0 && home.path().join("E.parquet.parts/origin.json").exists() {
        let message = fail(&["embed", text(other), text(&table), "--quiet", "--out", text(&vectors)], 1);
        assert!(message.contains("of another model"), "{message}");
    }
    succeed(&embed(&vectors).each_ref().map(String::as_str));
    assert!(fs::read(&vectors).unwrap() == expected, "no item lost or doubled");
    assert_eq!(EmbeddingTable::read(&vectors).unwrap().keys().len(), 3000);
    println!("embed: {killed} of {kills} killed while running, {continued} left parts; {time:?} each");
    assert!(killed > kills / 4 && continued > 0, "{killed} killed, {continued} continued");

    let begin = Instant::now();
    succeed(&make_index);
    let time = begin.elapsed();
    let mut killed = 0;
    for kill in 0..kills {
        killed += u32::from(kill_after(start(&make_index), moment(time, kill)));
        if index.exists() {
            let index = Index::open(&index).unwrap();
            assert!(index.description().modalities.values().all(|modality| modality.rows == 3000));
        }
        if kill % 3 == 0 && index.exists() {
            fs::remove_dir_all(&index).unwrap();
        }
    }
    succeed(&make_index);
    Index::open(&index).unwrap();
    println!("index: {killed} of {kills} killed while running; {time:?} each");
    assert!(killed > kills / 4, "{killed} killed");
    let mut left: Vec<String> =
        fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["E.parquet", "I", "table.csv", "whole.parquet"], "nothing half-made is left");
}

#[test]
fn killed_runs_lose_nothing() {
    survives_kills(10);
}

/// `cargo test --release --test all two_hundred -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes"]
fn two_hundred_killed_runs_lose_nothing() {
    survives_kills(200);
}
