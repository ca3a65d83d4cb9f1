//! Every recipe is read, and runs two steps scaled down.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sensorium::{
    Pipeline, Pretraining, Recipe, device, pretrain,
    train::{Display, Stop},
};
use sensorium_datasets::emoji::{self, AudioSource, EmojiOptions};
use sensorium_model::Topology;
use sensorium_state::RunDirectory;
use serde_json::Value;

use crate::program::{emoji, peak_memory, succeed};

pub fn configs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths
}

/// Where the recipes' outside data are, if they are here.
pub fn shared() -> PathBuf {
    match std::env::var_os("SENSORIUM_SHARED") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
    }
}

fn scaled_down(path: &Path) -> Recipe {
    let overrides = ["train.steps=2", "train.batch=8", "train.evaluate_every=2"].map(str::to_owned);
    let mut recipe = Recipe::read(path, &overrides).unwrap();
    match &mut recipe.model.topology {
        Topology::Shared { trunk } => trunk.layers = 1,
        Topology::Towers { towers } => towers.values_mut().for_each(|tower| tower.layers = 1),
        Topology::Fused { towers, joint } => {
            towers.values_mut().for_each(|tower| tower.layers = 1);
            joint.layers = 1;
        }
    }
    for source in recipe.data.train.iter_mut().chain(&mut recipe.data.validation) {
        if let Some(rest) = source.path.strip_prefix("../../shared/") {
            source.path = shared().join(rest).to_string_lossy().into_owned();
        }
    }
    recipe
}

fn has_data(recipe: &Recipe) -> bool {
    let sources = recipe.data.train.iter().chain(&recipe.data.validation);
    sources.map(|source| recipe.base.join(&source.path)).all(|path| path.exists())
}

#[test]
fn every_recipe_runs_two_steps() {
    let mut ran = 0;
    for path in configs() {
        let recipe = scaled_down(&path);
        if !has_data(&recipe) {
            println!("skipped {}: its data are not here (SENSORIUM_SHARED)", path.display());
            continue;
        }
        runs(&path, recipe);
        ran += 1;
    }
    assert!(ran > 0, "at least the built-in set needs no data");
}

fn runs(path: &Path, recipe: Recipe) {
    let modalities = recipe.modalities.len();
    let home = tempfile::tempdir().unwrap();
    let builtin = home.path().join("data");
    if recipe.data.builtin.is_some() {
        let options = EmojiOptions { audio: Some(AudioSource::PictureSound), limit: Some(80) };
        emoji::write(&builtin, &options, &mut |_, _| {}).unwrap();
    }
    let pipeline = Pipeline::open(recipe, &builtin, &device("flex").unwrap(), &mut |_, _| {}).unwrap();
    let run = RunDirectory::open_or_create(&home.path().join("run")).unwrap();
    let ended = pretrain(pipeline, &run, Stop::new(), Display::quiet()).unwrap();
    assert!(matches!(ended, Pretraining::Finished(_)));
    let records = fs::read_to_string(run.path().join("metrics.jsonl")).unwrap();
    let records: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<&Value> = records.iter().filter(|record| record["loss"].is_number()).collect();
    assert_eq!(steps.len(), 2, "{}: {records:?}", path.display());
    for step in steps {
        let parts = step["parts"].as_object().unwrap();
        assert!(!parts.is_empty());
        for (name, part) in parts {
            // What is not finite has no form in JSON.
            assert!(
                part["value"].is_number() && part["items"].as_u64() > Some(0),
                "{}: {name}: {part}",
                path.display()
            );
        }
    }
    // What is alone finds nothing but itself; its loss is what tells.
    let told = if modalities == 1 { "loss/" } else { "retrieval/mean recall@1" };
    let tells = |record: &Value| {
        let evaluation = record["evaluation"].as_object();
        evaluation.is_some_and(|all| all.iter().any(|(name, value)| name.starts_with(told) && value.is_number()))
    };
    assert!(records.iter().any(tells), "{told}: {records:?}");
    for file in ["model/manifest.json", "model/recipe.toml", "report.html", "retrieval.json"] {
        assert!(run.path().join(file).is_file(), "{}: no {file}", path.display());
    }
    // The recipe that is saved is a recipe.
    let saved = fs::read_to_string(run.path().join("model/recipe.toml")).unwrap();
    Recipe::parse(&saved, path, &[]).unwrap();
}

/// How often times are measured before they count as misjudged.
const ATTEMPTS: usize = 6;

/// What `check` foresees, beside what a run then takes. A machine that does other work beside can
/// upset either, so that there are several attempts.
#[test]
#[cfg(target_os = "linux")]
fn check_foresees_time_and_memory() {
    for path in configs() {
        if !has_data(&scaled_down(&path)) {
            println!("skipped {}: its data are not here (SENSORIUM_SHARED)", path.display());
            continue;
        }
        let attempts: Vec<String> = (0..ATTEMPTS).map_while(|_| misjudged(&path)).collect();
        assert!(attempts.len() < ATTEMPTS, "{}: {attempts:#?}", path.display());
    }
}

/// How far `check` was off, if that was too far.
fn misjudged(path: &Path) -> Option<String> {
    let home = tempfile::tempdir().unwrap();
    let [data, out] = ["data", "run"].map(|name| home.path().join(name).to_string_lossy().into_owned());
    let mut settings =
        vec!["train.steps=9".to_owned(), "train.batch=32".into(), "train.evaluate_every=9".into(), "expect=[]".into()];
    settings.push(format!("data={}", toml::Value::try_from(small_data(path)).unwrap()));
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let recipe = path.to_str().unwrap();
    let plan: Value =
        serde_json::from_str(&succeed(&[&["check", recipe, "--json", "--data", &data], &settings[..]].concat()))
            .unwrap();
    let memory = peak_memory(&[&["pretrain", recipe, "--out", &out, "--quiet"], &settings[..]].concat());
    let took = times(&Path::new(&out).join("timing.jsonl"));
    let ratio = |foreseen: &str, found: f64| plan[foreseen].as_f64().unwrap() / found;
    let ratios = [
        ("memory", ratio("memory", memory as f64), 0.25),
        ("step", ratio("seconds_per_step", took.step.as_secs_f64()), 0.3),
        ("evaluation", ratio("seconds_per_evaluation", took.evaluation.as_secs_f64()), 0.3),
    ];
    println!("{}: foreseen / found: {ratios:.2?}", path.display());
    ratios.iter().any(|(_, ratio, within)| (ratio - 1.0).abs() > *within).then(|| format!("{ratios:.2?}"))
}

/// The recipe's own data, or where they are the built-in set: eighty of it.
fn small_data(path: &Path) -> toml::Table {
    let recipe = scaled_down(path);
    let source =
        |path: PathBuf| toml::Table::from_iter([("path".to_owned(), path.to_string_lossy().into_owned().into())]);
    let sources = |sources: Vec<PathBuf>| toml::Value::from(sources.into_iter().map(source).collect::<Vec<_>>());
    let own =
        |sources: &[sensorium::samples::SourceConfig]| sources.iter().map(|own| recipe.base.join(&own.path)).collect();
    let (train, validation) = match recipe.data.builtin {
        Some(_) => (vec![emoji().join("emoji-train.tar")], vec![emoji().join("emoji-validation.tar")]),
        None => (own(&recipe.data.train), own(&recipe.data.validation)),
    };
    toml::Table::from_iter([("train".to_owned(), sources(train)), ("validation".to_owned(), sources(validation))])
}

struct Times {
    /// Of the steps after the first, which warms up.
    step: Duration,
    evaluation: Duration,
}

fn times(path: &Path) -> Times {
    let records = fs::read_to_string(path).unwrap();
    let records: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sum = |record: &Value| ["wait", "gradients", "optimizer"].iter().map(|part| record[part].as_f64()).sum();
    let steps: Vec<f64> = records.iter().filter_map(sum).skip(1).collect();
    let evaluation = records.iter().find_map(|record| record["evaluation"].as_f64()).unwrap();
    Times {
        step: Duration::from_secs_f64(steps.iter().sum::<f64>() / steps.len() as f64),
        evaluation: Duration::from_secs_f64(evaluation),
    }
}
