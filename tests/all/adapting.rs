//! Fine-tuning from a model: low rank, locks, what is forgotten, and cases of several pictures.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{emoji, fail, recipe, succeed};

/// Cases whose outcome is whether one of their pictures is bright; `odd` ones are three times as rare.
fn write(folder: &Path, rows: usize) -> String {
    let mut csv = String::from("scan,note,dose,outcome\n");
    fs::create_dir_all(folder.join("scans")).unwrap();
    for row in 0..rows {
        let odd = row % 4 == 1;
        let picture = |name: String, bright: bool| {
            let level = if bright { 220 } else { 20 + (row % 9) as u8 };
            let image = DynamicImage::ImageRgb8(RgbImage::from_pixel(8, 8, Rgb([level; 3])));
            image.save_with_format(folder.join(&name), ImageFormat::Png).unwrap();
            name
        };
        let scan = match row % 5 {
            0 => String::new(),
            1 => picture(format!("scans/{row}.png"), odd),
            2 => format!("{}|scans/lost.png", picture(format!("scans/{row}.png"), odd)),
            _ => {
                let one = picture(format!("scans/{row}-a.png"), false);
                format!("{one}|{}", picture(format!("scans/{row}-b.png"), odd))
            }
        };
        let note = if odd { "strange to see" } else { "as it should be" };
        writeln!(csv, "{scan},case {row} is {note},{},{}", row * 7 % 13, if odd { "odd" } else { "even" }).unwrap();
    }
    let path = folder.join("cases.csv");
    fs::write(&path, csv).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A model of pictures, texts, sounds and rows that has hardly learned anything.
fn start(folder: &Path) -> String {
    let out = folder.join("start");
    succeed(&["pretrain", recipe(folder, 2).to_str().unwrap(), "--out", out.to_str().unwrap(), "--quiet"]);
    out.join("model").to_str().unwrap().to_owned()
}

const QUICK: [&str; 9] = [
    "--quiet",
    "--json",
    "--label",
    "outcome",
    "--set",
    "train.steps=12",
    "--set",
    "train.evaluate_every=4",
    "--set=train.checkpoint_every=4",
];

fn tune(table: &str, out: &Path, more: &[&str]) -> Value {
    let first = ["finetune", table, "--out", out.to_str().unwrap()];
    serde_json::from_str(&succeed(&[&first, QUICK.as_slice(), more].concat())).unwrap()
}

fn lineage(run: &Path) -> Value {
    serde_json::from_slice(&fs::read(run.join("model/lineage.json")).unwrap()).unwrap()
}

/// Every parameter of a model by its name.
fn weights(model: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(model.join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: BTreeMap<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
    let values = |entry: &Value| {
        let at = |end: usize| 8 + length + entry["data_offsets"][end].as_u64().unwrap() as usize;
        bytes[at(0)..at(1)].to_vec()
    };
    tensors.map(|(name, entry)| (name, values(&entry))).collect()
}

#[test]
fn low_rank_changes_are_merged_and_locked_parts_stay() {
    let folder = TempDir::new().unwrap();
    let (table, from) = (write(folder.path(), 60), start(folder.path()));
    let run = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        tune(&table, &out, &[&["--from", &from], more].concat());
        out
    };
    let [full, lora] = [run("full", &[]), run("lora", &["--adapt", "lora", "--set", "start.low_rank.rank=2"])];
    let trained = |run: &Path| lineage(run)["trained_parameters"].as_u64().unwrap();
    assert!(trained(&lora) < trained(&full), "{} of {}", trained(&lora), trained(&full));
    let (full, lora) = (weights(&full.join("model")), weights(&lora.join("model")));
    let merged = fs::read(folder.path().join("lora/model/model.safetensors")).unwrap();
    run("lora", &["--adapt", "lora", "--set", "start.low_rank.rank=2"]);
    assert!(fs::read(folder.path().join("lora/model/model.safetensors")).unwrap() == merged, "from its checkpoint");
    // The same names: whoever reads the model knows nothing of how it was trained.
    assert_eq!(full.keys().collect::<Vec<_>>(), lora.keys().collect::<Vec<_>>());
    let before = weights(Path::new(&from));
    let changed = |name: &str, after: &BTreeMap<String, Vec<u8>>| after[name] != before[name];
    let block = |part: &str| format!("trunks.Shared.trunk.blocks.0.{part}");
    for part in ["qkv.weight", "out.weight", "up.weight", "down.weight"] {
        assert!(changed(&block(part), &lora), "{part}");
    }
    for part in ["qkv.bias", "norm1.gamma"] {
        assert!(changed(&block(part), &full) && !changed(&block(part), &lora), "{part}");
    }
    let told = folder.path().join("told.parquet");
    succeed(&[
        "predict",
        folder.path().join("lora").to_str().unwrap(),
        &table,
        "--quiet",
        "--out",
        told.to_str().unwrap(),
    ]);

    let locked = weights(&run("locked", &["--lock", "image,trunks.*.trunk.*"]).join("model"));
    assert!(!changed(&block("qkv.weight"), &locked));
    // Modalities are numbered by their names: audio, image, table, text there, and image, table, text here.
    assert!(locked["encoders.0.Image.patch.weight"] == before["encoders.1.Image.patch.weight"]);
    assert!(locked["encoders.2.Text.embedding.weight"] != before["encoders.3.Text.embedding.weight"]);

    let message = fail(&["finetune", &table, "--label", "outcome", "--lock", "image", "--quiet"], 2);
    assert!(message.contains("--lock: `image` starts from drawn weights"), "{message}");
    let message = fail(&["finetune", &table, "--label", "outcome", "--adapt", "lora", "--quiet"], 2);
    assert!(message.contains("--adapt: expected a model to start from (--from MODEL), found none"), "{message}");
}

#[test]
fn what_is_forgotten_is_measured_and_given_back() {
    let folder = TempDir::new().unwrap();
    let (table, from) = (write(folder.path(), 40), start(folder.path()));
    let guard = emoji().join("emoji-validation.tar").to_str().unwrap().to_owned();
    let out = folder.path().join("run");
    let judged = |more: &[&str]| -> Value {
        tune(&table, &out, &[&["--from", &from, "--guard", &guard], more].concat());
        serde_json::from_slice(&fs::read(out.join("judgement.json")).unwrap()).unwrap()
    };
    let found = judged(&[])["guard"].clone();
    let points = found["points"].as_array().unwrap();
    assert_eq!((points.len(), found["chosen"].as_f64()), (11, Some(1.0)));
    let report: Value = serde_json::from_str(&succeed(&["evaluate", &from, &guard, "--json"])).unwrap();
    let recalls: Vec<f64> = report["directions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|direction| direction["own_partner"]["recall@1"].as_f64().unwrap())
        .collect();
    let mean = recalls.iter().sum::<f64>() / recalls.len() as f64;
    assert!((points[0]["kept"]["recall_at_1"].as_f64().unwrap() - mean).abs() < 1e-9, "{found:#}");
    let kept = |point: &Value| point["kept"]["recall_at_1"].as_f64().unwrap();
    assert!(points.iter().any(|point| kept(point) != kept(&points[0])), "what is measured moves: {found:#}");
    let tuned = weights(&out.join("model"));

    // The same run, without training: all the way back but for what is new.
    assert_eq!(judged(&["--blend", "0"])["guard"]["chosen"].as_f64(), Some(0.0));
    let (before, back) = (weights(Path::new(&from)), weights(&out.join("model")));
    let shared = "trunks.Shared.trunk.blocks.0.qkv.weight";
    assert!(back[shared] == before[shared] && tuned[shared] != before[shared]);
    let new: Vec<&String> = back.keys().filter(|name| name.starts_with("objectives")).collect();
    assert!(!new.is_empty() && new.iter().all(|name| back[*name] == tuned[*name]));
    judged(&["--blend", "1"]);
    assert!(weights(&out.join("model")) == tuned);
}

#[test]
fn several_pictures_a_case_are_read_and_importance_is_told() {
    let folder = TempDir::new().unwrap();
    let table = write(folder.path(), 80);
    let out = folder.path().join("run");
    tune(&table, &out, &["--balance=sampling", "--columns", "drop=note"]);
    let recipe = fs::read_to_string(out.join("recipe.toml")).unwrap();
    assert!(recipe.contains("pictures = 2") && recipe.contains("balance = \"sampling\""), "{recipe}");
    let judged: Value = serde_json::from_slice(&fs::read(out.join("judgement.json")).unwrap()).unwrap();
    let importance = judged["importance"].as_array().unwrap();
    let names: Vec<&str> = importance.iter().map(|found| found["modality"].as_str().unwrap()).collect();
    assert_eq!(names, ["image", "table"], "a table of one column is told once");
    assert!(importance.iter().all(|found| found["interval"][0].as_f64() <= found["loss"].as_f64()));
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("What the model relies on"));
    let message = fail(&["finetune", &table, "--label", "dose", "--problem", "number", "--balance", "--quiet"], 2);
    assert!(message.contains("--balance: expected classes"), "{message}");
}

#[test]
fn rows_of_one_case_are_told_together() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), 80);
    let mut csv = String::from("scan,stay,outcome\n");
    for (row, line) in fs::read_to_string(folder.path().join("cases.csv")).unwrap().lines().skip(1).enumerate() {
        let (scans, outcome) = (line.split(',').next().unwrap(), line.rsplit(',').next().unwrap());
        scans.split('|').for_each(|scan| writeln!(csv, "{scan},{},{outcome}", 500 + row * 3).unwrap());
    }
    let (table, out, told) = (folder.path().join("rows.csv"), folder.path().join("run"), folder.path().join("told"));
    fs::write(&table, csv).unwrap();
    let [table, told] = [&table, &told].map(|path| path.to_str().unwrap());
    let judged = tune(table, &out, &["--case", "stay", "--folds", "2"]);
    assert_eq!(judged["rows"], 80, "{judged}");
    let recipe = fs::read_to_string(out.join("recipe.toml")).unwrap();
    assert!(recipe.contains("pictures = 2") && !recipe.contains("name = \"stay\""), "{recipe}");
    let run = out.to_str().unwrap();
    succeed(&["predict", run, table, "--out", told, "--quiet"]);
    let again: Value = serde_json::from_str(&succeed(&["evaluate", run, table, "--json", "--quiet"])).unwrap();
    assert_eq!(again["rows"], 80, "{again}");
    fs::write(folder.path().join("other.csv"), "scan,outcome\n,odd\n").unwrap();
    let message = fail(&["predict", run, folder.path().join("other.csv").to_str().unwrap(), "--out", told], 2);
    assert!(message.contains("--case: there is no column `stay`"), "{message}");
}

#[test]
fn the_column_that_decides_is_the_important_one() {
    let folder = TempDir::new().unwrap();
    let mut csv = String::from("dose,day,outcome\n");
    for row in 0..160 {
        let dose = row * 37 % 101;
        writeln!(csv, "{dose},{},{}", row * 53 % 97, if dose > 50 { "high" } else { "low" }).unwrap();
    }
    let (table, out) = (folder.path().join("cases.csv"), folder.path().join("run"));
    fs::write(&table, csv).unwrap();
    tune(table.to_str().unwrap(), &out, &["--set", "train.steps=60", "--set", "train.evaluate_every=20"]);
    let judged: Value = serde_json::from_slice(&fs::read(out.join("judgement.json")).unwrap()).unwrap();
    let loss = |column: &str| {
        let found = judged["importance"].as_array().unwrap().iter().find(|found| found["column"] == column);
        found.unwrap()["loss"].as_f64().unwrap()
    };
    assert!(loss("dose") > 0.2 && loss("day").abs() < 0.1, "dose {}, day {}", loss("dose"), loss("day"));
}

#[test]
fn a_tower_can_be_locked_while_pretraining() {
    let folder = TempDir::new().unwrap();
    let from = start(folder.path());
    let out: PathBuf = folder.path().join("run");
    let recipe = recipe(folder.path(), 3);
    let arguments = ["pretrain", recipe.to_str().unwrap(), "--from", &from, "--quiet", "--out", out.to_str().unwrap()];
    let message = fail(&[&arguments[..], &["--lock", "picture"]].concat(), 2);
    assert!(message.contains("train.lock: `picture`: there is no such modality"), "{message}");
    assert!(!out.join("checkpoints").exists());
    succeed(&[&arguments[..], &["--lock", "image"]].concat());
    let (before, after) = (weights(Path::new(&from)), weights(&out.join("model")));
    assert!(after["encoders.1.Image.patch.weight"] == before["encoders.1.Image.patch.weight"]);
    assert!(after["encoders.3.Text.embedding.weight"] != before["encoders.3.Text.embedding.weight"]);
}
