//! Published checkpoints that are trained on, from the command line.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use sensorium_state::{NonFinite, read_safetensors};
use tempfile::TempDir;

use crate::{
    program::{fail, succeed},
    recipes::shared,
};

const WORDS: [&str; 8] = ["feverish", "weak", "calm", "rested", "and", "today", "patient", "very"];

/// A reference case, imported with a tokenizer of few words; nothing if the cases are not here.
fn imported(home: &TempDir, case: &str, [first, last]: [usize; 2]) -> Option<PathBuf> {
    let from = shared().join("parity").join(case);
    if !from.exists() {
        println!("skipped: the reference cases are not here (SENSORIUM_SHARED)");
        return None;
    }
    let [published, model] = ["published", "imported"].map(|name| home.path().join(format!("{name}-{case}")));
    fs::create_dir(&published).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(from.join(file), published.join(file)).unwrap();
    }
    let words = WORDS.iter().enumerate().map(|(at, word)| format!("\"{word}\":{}", 10 + at));
    let words: Vec<String> = words.collect();
    let tokenizer = format!(
        r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,"decoder":null,
        "pre_tokenizer":{{"type":"Whitespace"}},
        "post_processor":{{"type":"BertProcessing","cls":["[CLS]",{first}],"sep":["[SEP]",{last}]}},
        "model":{{"type":"WordLevel","unk_token":"[UNK]",
        "vocab":{{"[UNK]":3,"[CLS]":{first},"[SEP]":{last},{}}}}}}}"#,
        words.join(",")
    );
    fs::write(published.join("tokenizer.json"), tokenizer).unwrap();
    succeed(&["import", text(&published), text(&model)]);
    Some(model)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Cases whose outcome follows from their note.
fn table(home: &TempDir) -> PathBuf {
    let mut csv = String::from("note,dose,scan,outcome\n");
    fs::create_dir_all(home.path().join("scans")).unwrap();
    for row in 0..80_u32 {
        let ill = row * 7 % 5 < 2;
        let note = if ill { "feverish and weak" } else { "calm and rested" };
        let picture = image::RgbImage::from_pixel(10 + row % 3, 9, image::Rgb([if ill { 220 } else { 20 }; 3]));
        picture.save(home.path().join(format!("scans/{row}.png"))).unwrap();
        let very = ["very ", ""][row as usize % 2];
        let outcome = if ill { "ill" } else { "well" };
        writeln!(csv, "patient {row} {very}{note} today,{}.5,scans/{row}.png,{outcome}", row % 11).unwrap();
    }
    let path = home.path().join("cases.csv");
    fs::write(&path, csv).unwrap();
    path
}

fn tune(table: &Path, from: &Path, out: &Path, more: &[&str]) -> f64 {
    let quick =
        ["--label", "outcome", "--quiet", "--json", "--set", "train.steps=40", "--set", "train.evaluate_every=10"];
    let start = ["finetune", text(table), "--from", text(from), "--out", text(out)];
    let report: serde_json::Value =
        serde_json::from_str(&succeed(&[start.as_slice(), quick.as_slice(), more].concat())).unwrap();
    let measures = report["measures"].as_array().unwrap();
    measures.iter().find(|measure| measure["metric"] == "accuracy").unwrap()["value"].as_f64().unwrap()
}

/// The blocks' projections of a model.
fn blocks(model: &Path) -> Vec<Vec<f32>> {
    let file = read_safetensors(&model.join("model.safetensors"), NonFinite::Refuse).unwrap();
    let tensors = file.tensors.into_iter().filter(|(name, _)| name.contains("towers") && name.contains(".out.weight"));
    tensors.map(|(_, tensor)| tensor.values).collect()
}

#[test]
fn a_published_encoder_is_fine_tuned_on_a_table() {
    let home = TempDir::new().unwrap();
    let Some(model) = imported(&home, "bert", [2, 1]) else { return };
    let (table, [full, frozen]) = (table(&home), ["full", "frozen"].map(|name| home.path().join(name)));
    let notes = ["--columns", "text=note,drop=scan,dose"];
    assert!(tune(&table, &model, &full, &notes) > 0.9);
    assert!(tune(&table, &model, &frozen, &[notes.as_slice(), &["--adapt", "frozen"]].concat()) > 0.9);
    // What was frozen is as another frozen training left it, and not as the full one did.
    let again = home.path().join("again");
    tune(&table, &model, &again, &[notes.as_slice(), &["--adapt", "frozen", "--seed", "3"]].concat());
    let [full_blocks, frozen_blocks, again_blocks] = [&full, &frozen, &again].map(|run| blocks(&run.join("model")));
    assert!(!frozen_blocks.is_empty() && frozen_blocks == again_blocks && full_blocks != frozen_blocks);
    let card = fs::read_to_string(full.join("model/card.md")).unwrap();
    assert!(card.contains("tensors taken over"), "{card}");

    // The model stands for itself: its checkpoint may go.
    fs::remove_dir_all(&model).unwrap();
    let told = home.path().join("told.parquet");
    succeed(&["predict", text(&full), text(&table), "--out", text(&told), "--quiet"]);
    succeed(&["evaluate", text(&full), text(&table), "--json"]);
}

#[test]
fn published_towers_and_cells_are_read_together() {
    let home = TempDir::new().unwrap();
    let Some(model) = imported(&home, "clip", [96, 97]) else { return };
    let (table, run) = (table(&home), home.path().join("run"));
    assert!(tune(&table, &model, &run, &["--columns", "text=note,image=scan"]) > 0.9);
    let card = fs::read_to_string(run.join("model/card.md")).unwrap();
    assert!(card.contains("tensors taken over"), "{card}");
    let before = fs::read(run.join("model/model.safetensors")).unwrap();
    tune(&table, &model, &run, &["--columns", "text=note,image=scan"]);
    assert!(before == fs::read(run.join("model/model.safetensors")).unwrap());
}

const RECIPE: &str = r#"
[data]
train = [{ path = "cases.csv", fields = { text = "note", image = "scan" } }]
validation_share = 0.25

[modalities.text]
kind = "text"
context = 12
tokenizer = { train = "byte" }

[modalities.image]
kind = "image"
augment = { flip = true }

[model]
topology = "towers"
[model.towers.text]
layers = 1
[model.towers.image]
layers = 1

[[objectives]]
kind = "contrastive"

[train]
steps = 2
batch = 16
"#;

#[test]
fn pretraining_goes_on_from_a_published_checkpoint() {
    let home = TempDir::new().unwrap();
    let Some(model) = imported(&home, "clip", [96, 97]) else { return };
    table(&home);
    let (recipe, run) = (home.path().join("recipe.toml"), home.path().join("run"));
    fs::write(&recipe, RECIPE).unwrap();
    let pretrain = |out: &Path, more: &[&str]| {
        let arguments = ["pretrain", text(&recipe), "--from", text(&model), "--out", text(out), "--quiet"];
        [arguments.as_slice(), more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let call = |arguments: Vec<String>| succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    call(pretrain(&run, &["--set", "train.optimizer.learning_rate=1e-9"]));
    // With steps as good as none the model gives the vectors of the checkpoint.
    let vectors = |model: &Path, out: &str| {
        let out = home.path().join(out);
        let cases = text(&home.path().join("cases.csv")).to_owned();
        let fields = ["--field", "text=note", "--field", "image=scan"];
        let embed = ["embed", text(model), &cases, "--out", text(&out), "--quiet"];
        succeed(&[embed.as_slice(), fields.as_slice()].concat());
        succeed(&["evaluate", text(&out), "--json"])
    };
    assert_eq!(vectors(&model, "before.parquet"), vectors(&run.join("model"), "after.parquet"));
    let saved = fs::read_to_string(run.join("model/recipe.toml")).unwrap();
    assert!(saved.contains("published = ") && saved.contains("flip = true"), "{saved}");

    let shared = RECIPE.replace("topology = \"towers\"", "topology = \"shared\"\ntrunk = { layers = 1 }");
    let shared = shared.split("[model.towers.text]").next().unwrap().to_owned()
        + "[[objectives]]"
        + shared.split("[[objectives]]").nth(1).unwrap();
    fs::write(&recipe, shared).unwrap();
    let arguments = pretrain(&home.path().join("other"), &[]);
    let message = fail(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 1);
    assert!(message.contains("take `towers` or `fused`"), "{message}");
}

#[test]
fn checkpoints_that_cannot_be_trained_are_named() {
    let home = TempDir::new().unwrap();
    let Some(model) = imported(&home, "bart", [0, 2]) else { return };
    let table = table(&home);
    let says = |from: &Path, part: &str| {
        let out = home.path().join("run");
        let message =
            fail(&["finetune", text(&table), "--label", "outcome", "--from", text(from), "--out", text(&out)], 1);
        assert!(message.contains(part) && !out.exists(), "{message}");
    };
    says(&model, "a model of the family Bart cannot be trained or explained here; those of the families Bert");
}
