//! Names of modalities and files in recipes, models and indices, and of columns, which modalities are called by.

use std::{fs, path::Path};

use burn::tensor::Device;
use ndarray::Array2;
use sensorium::{
    AnyModel, IndexedItems, Recipe,
    contract::Name,
    retrieve::{EmbeddingFile, Index, IndexOptions, Items, Origin, index},
    serve::Collection,
};
use sensorium_state::{checksum, verify, write_manifest};
use serde_json::{Value, json};

use super::{Place, SECRET, holds_secret, text};
use crate::program::{command, recipe, succeed};

/// Vectors of two items of one modality.
fn vectors(path: &Path, modality: &str, origin: &Origin) {
    let keys = vec!["a".to_owned(), "b".to_owned()];
    let vectors = Array2::from_shape_fn((2, 4), |(row, column)| (row + column) as f32);
    let mut file = EmbeddingFile::create(path, 4, origin).unwrap();
    let modality = Name::new(modality);
    file.add(Items { modality, sources: keys.clone(), keys, content: vec![1, 2], vectors }).unwrap();
    file.finish().unwrap();
}

fn origin(model: String, data: &Path) -> Origin {
    Origin { model, samples: "not these".into(), data: vec![text(data).to_owned()], fields: Vec::new() }
}

/// The names that can stand in JSON, TOML and a column's name.
fn hostile(place: &Place) -> Vec<String> {
    place.hostile(1000).into_iter().filter_map(|name| String::from_utf8(name).ok()).collect()
}

#[test]
fn no_modality_of_an_index_leads_out_of_it() {
    let place = Place::new();
    let [file, made] = ["E.parquet", "index"].map(|name| place.root().join(name));
    let build = || index::build(&file, &made, &IndexOptions::default(), &mut |_, _| {});
    let origin = origin("m".into(), Path::new("/"));
    vectors(&file, "image", &origin);
    build().unwrap();
    // Where a name would lead, there is what would be found.
    for folder in [place.outside().join("canary.png"), place.outside().join("image"), place.root().join("image")] {
        let _ = fs::remove_file(&folder);
        fs::create_dir(&folder).unwrap();
        for name in ["vectors.f32", "items.parquet", "graph.usearch"] {
            fs::copy(made.join("image").join(name), folder.join(name)).unwrap();
        }
    }
    let description = fs::read_to_string(made.join("index.json")).unwrap();
    let before = place.state(&["index", "E.parquet"]);
    let names = hostile(&place).into_iter().chain(["../image".to_owned(), "../../outside/image".to_owned()]);
    for name in names {
        let mut changed: Value = serde_json::from_str(&description).unwrap();
        let modality = changed["modalities"]["image"].clone();
        changed["modalities"] = json!({ &name: modality });
        fs::write(made.join("index.json"), changed.to_string()).unwrap();
        write_manifest(&made).unwrap();
        let message = Index::open(&made).err().map(|error| error.to_string()).expect(&name);
        assert!(message.contains("the name ") || is_harmless(&name), "{name:?}: {message}");
    }
    for name in hostile(&place) {
        vectors(&file, &name, &origin);
        assert!(build().is_err() || is_harmless(&name), "{name:?} is built");
    }
    assert!(place.state(&["index", "E.parquet"]) == before, "something was written");
}

#[test]
fn no_file_of_a_manifest_is_outside() {
    let place = Place::new();
    let listed = place.root().join("listed");
    fs::create_dir(&listed).unwrap();
    fs::write(listed.join("a"), "a").unwrap();
    write_manifest(&place.outside()).unwrap();
    let text = fs::read_to_string(place.outside().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    write_manifest(&listed).unwrap();
    let own: Value = serde_json::from_str(&fs::read_to_string(listed.join("manifest.json")).unwrap()).unwrap();
    for name in hostile(&place) {
        // With the size and the checksum that the file outside has.
        let mut changed = own.clone();
        changed["files"][&name] = manifest["files"]["canary.png"].clone();
        let mut files: Vec<_> = changed["files"].as_object().unwrap().clone().into_iter().collect();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        changed["files"] = Value::Object(files.into_iter().collect());
        fs::write(listed.join("manifest.json"), serde_json::to_string_pretty(&changed).unwrap() + "\n").unwrap();
        let message = verify(&listed).unwrap_err().to_string();
        assert!(message.contains("is missing, though"), "{name:?}: {message}");
    }
}

#[test]
fn no_modality_of_a_recipe_or_model_leads_out_of_it() {
    let place = Place::new();
    let run = place.root().join("run");
    let path = recipe(&place.root(), 1);
    succeed(&["pretrain", text(&path), "--out", text(&run), "--quiet"]);
    let model = run.join("model");
    AnyModel::open(&model, &Device::flex()).unwrap();
    // As if the name of the one that is there led to it from elsewhere.
    for folder in [place.outside(), place.root()] {
        fs::copy(model.join("text.tokenizer.json"), folder.join("text.tokenizer.json")).unwrap();
    }
    let [recipe, architecture] = [&path, &model.join("model.toml")].map(|path| fs::read_to_string(path).unwrap());
    let before = place.state(&["run"]);
    let extra = ["../../text", "../../../outside/text"].map(str::to_owned);
    for name in hostile(&place).into_iter().chain(extra) {
        // JSON's texts are texts of TOML, too.
        let changed = |toml: &str| toml.replace("[modalities.text", &format!("[modalities.{}", json!(name)));
        match Recipe::parse(&changed(&recipe), &path, &[]) {
            Ok(_) => assert!(is_harmless(&name), "{name:?} is a modality"),
            Err(error) => assert!(error.to_string().contains("the name "), "{name:?}: {error}"),
        }
        fs::write(model.join("model.toml"), changed(&architecture)).unwrap();
        write_manifest(&model).unwrap();
        let message = AnyModel::open(&model, &Device::flex()).err().map(|error| error.to_string()).expect(&name);
        assert!(message.contains("the name ") || is_harmless(&name), "{name:?}: {message}");
    }
    assert!(place.state(&["run"]) == before, "something was written");
}

/// Whether it names a file of one folder: however odd it looks, it leads nowhere.
fn is_harmless(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']) && !name.contains(char::is_control)
}

#[test]
fn columns_are_called_what_they_like_and_write_nowhere_else() {
    let place = Place::new();
    let [table, run, answers] = ["cases.csv", "run", "answers.csv"].map(|name| place.root().join(name));
    let before = place.state(&["cases.csv", "run", "answers.parquet"]);
    let note =
        |row: usize| if row.is_multiple_of(2) { "calm and well rested today" } else { "feverish and very weak now" };
    let line = |row: usize| format!("{0} {row},{0} again {row},{1}\n", note(row), ["well", "ill"][row % 2]);
    let rows: String = (0..60).map(line).collect();
    fs::write(&table, format!("../../outside/one,{}/two,outcome\n{rows}", place.outside().display())).unwrap();
    let options = ["--quiet", "--label", "outcome", "--set", "train.steps=2", "--set", "train.evaluate_every=1"];
    succeed(&[&["finetune", text(&table), "--out", text(&run)], &options[..]].concat());
    let answers = answers.with_extension("parquet");
    succeed(&["predict", text(&run), text(&table), "--out", text(&answers)]);
    assert!(run.join("model").read_dir().unwrap().count() > 5 && answers.exists());
    assert!(place.state(&["cases.csv", "run", "answers.parquet"]) == before, "something was written");
}

/// An index can come from anywhere, and name any file of this machine as what it was made of.
#[test]
fn an_index_shows_only_what_it_was_made_of() {
    let place = Place::new();
    let [run, file, made, page] = ["run", "E.parquet", "index", "page.html"].map(|name| place.root().join(name));
    succeed(&["pretrain", text(&recipe(&place.root(), 1)), "--out", text(&run), "--quiet"]);
    let model = run.join("model");
    let secret = place.outside().join("secret.jsonl");
    fs::write(&secret, format!("{{\"key\": \"a\", \"text\": \"{SECRET}\"}}\n{{\"key\": \"b\"}}\n")).unwrap();
    let table = place.root().join("table.jsonl");
    fs::write(&table, "{\"key\": \"a\", \"text\": \"a cat\"}\n").unwrap();
    succeed(&["embed", text(&model), text(&table), "--out", text(&file), "--quiet"]);
    succeed(&["index", text(&file), "--out", text(&made), "--quiet"]);
    assert!(IndexedItems::open(&made, &model).unwrap().read("a").is_ok());
    let mut changed: Value = serde_json::from_slice(&fs::read(made.join("index.json")).unwrap()).unwrap();
    assert_eq!(changed["origin"]["model"], json!(checksum(&model).unwrap()));
    changed["origin"]["data"] = json!([text(&secret)]);
    fs::write(made.join("index.json"), changed.to_string()).unwrap();
    write_manifest(&made).unwrap();
    let items = IndexedItems::open(&made, &model).unwrap();
    assert!(items.problem().unwrap().contains("not those that were embedded"), "{:?}", items.problem());
    assert!(items.read("a").is_err() && items.some(10).is_empty());
    let arguments = ["search", text(&model), text(&made), "--text", "a", "--html", text(&page)];
    let output = command(&arguments).output().unwrap();
    assert!(output.status.success());
    assert!(![output.stdout, output.stderr, fs::read(&page).unwrap()].iter().any(|said| holds_secret(said)));
}
