//! Every recipe is read, and runs two steps scaled down.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sensorium::{
    Pipeline, Pretraining, Recipe, device, pretrain,
    train::{Display, Stop},
};
use sensorium_datasets::emoji::{self, AudioSource, EmojiOptions};
use sensorium_model::Topology;
use sensorium_state::RunDirectory;
use serde_json::Value;

pub fn configs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths
}

/// Where the recipes' outside data are, if they are here.
fn shared() -> PathBuf {
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
    assert!(records.iter().any(|record| record["evaluation"]["retrieval/mean recall@1"].is_number()), "{records:?}");
    for file in ["model/manifest.json", "model/recipe.toml", "report.html", "retrieval.json"] {
        assert!(run.path().join(file).is_file(), "{}: no {file}", path.display());
    }
    // The recipe that is saved is a recipe.
    let saved = fs::read_to_string(run.path().join("model/recipe.toml")).unwrap();
    Recipe::parse(&saved, path, &[]).unwrap();
}
