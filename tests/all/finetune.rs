//! A user's own table, from the first look to new cases.

use std::{fmt::Write, fs, path::Path};

use sensorium::adapt::Request;
use tempfile::TempDir;

use crate::{
    program::{command, fail, succeed},
    recipes::shared,
};

/// Cases whose outcome follows from a word of the note, the colour of the picture and a number, each of
/// which is missing in some.
fn write(folder: &Path, name: &str, rows: std::ops::Range<usize>, label: bool) -> String {
    let mut csv = String::from("\u{feff}case_id, scan,note,dose,ward,outcome\n");
    fs::create_dir_all(folder.join("scans")).unwrap();
    for row in rows {
        let ill = row * 7 % 5 < 2;
        let scan = match row % 4 {
            0 => String::new(),
            // One that the table names is not there.
            _ if row == 9 => "scans/lost.png".to_owned(),
            _ => {
                fs::write(folder.join(format!("scans/{row}.png")), picture(ill)).unwrap();
                format!("scans/{row}.png")
            }
        };
        let word = if ill { "feverish and weak" } else { "calm and rested" };
        let note = if row % 3 == 0 { "NA".to_owned() } else { format!("\"patient {row},\n{word} today\"") };
        let dose = if row % 5 == 4 { "?".to_owned() } else { format!("{}.5", if ill { 60 } else { 20 } + row % 9) };
        let outcome = if !label {
            ""
        } else if ill {
            "ill"
        } else {
            "well"
        };
        writeln!(csv, "{}, {scan}, {note},{dose},{},{outcome}", 1000 + row * 3, ["a", "b", "c", "d"][row % 4]).unwrap();
    }
    let path = folder.join(name);
    fs::write(&path, csv).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The smallest BMP of one colour: the header of a 24-bit picture and its rows.
fn picture(bright: bool) -> Vec<u8> {
    let side = 8_u32;
    let size = 54 + side * side * 3;
    let mut bytes = b"BM".to_vec();
    for number in [size, 0, 54, 40, side, side, 1 | 24 << 16, 0, side * side * 3, 0, 0, 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(std::iter::repeat_n(if bright { 230 } else { 30 }, (side * side * 3) as usize));
    bytes
}

const QUICK: [&str; 8] =
    ["--quiet", "--label", "outcome", "--set", "train.steps=40", "--set", "train.evaluate_every=10", "--set"];

fn tune(table: &str, out: &str, more: &[&str]) -> String {
    let first = ["finetune", table, "--out", out];
    succeed(&[&first, QUICK.as_slice(), &["train.checkpoint_every=10"], more].concat())
}

#[test]
fn a_table_is_learned_and_new_cases_are_told() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (table, run) = (write(folder.path(), "cases.csv", 0..120, true), path("run"));
    let report: serde_json::Value = serde_json::from_str(&tune(&table, &run, &["--json"])).unwrap();
    let accuracy = |report: &serde_json::Value| {
        let measures = report["measures"].as_array().unwrap().clone();
        measures.iter().find(|measure| measure["metric"] == "accuracy").unwrap()["value"].as_f64().unwrap()
    };
    assert!(accuracy(&report) > 0.8, "{report:#}");
    for file in
        ["report.html", "judgement.json", "predictions.parquet", "recipe.toml", "model/card.md", "model/lineage.json"]
    {
        assert!(Path::new(&run).join(file).exists(), "{file}");
    }

    // The same command again changes nothing, another label is another run.
    let before = fs::read(path("run/model/model.safetensors")).unwrap();
    tune(&table, &run, &[]);
    assert_eq!(fs::read(path("run/model/model.safetensors")).unwrap(), before);
    let message = fail(&["finetune", &table, "--label", "ward", "--out", &run, "--quiet"], 2);
    assert!(message.contains("another label"), "{message}");

    // New cases, without labels and with a picture that is none: one row out for each row in.
    let new = write(folder.path(), "new.csv", 120..170, false);
    fs::write(path("scans/121.png"), b"not a picture").unwrap();
    let told = path("told.parquet");
    succeed(&["predict", &run, &new, "--out", &told]);
    assert!(fs::metadata(&told).unwrap().len() > 1000);

    let test = write(folder.path(), "test.csv", 170..230, true);
    let report: serde_json::Value =
        serde_json::from_str(&succeed(&["evaluate", &run, &test, "--json", "--by", "ward"])).unwrap();
    assert!(accuracy(&report) > 0.8, "{report:#}");
    let groups: Vec<&str> =
        report["groupings"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
    assert_eq!(groups, ["modalities present", "ward"]);
}

#[test]
fn a_run_that_was_killed_ends_in_the_same_model() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let table = write(folder.path(), "cases.csv", 0..60, true);
    tune(&table, &path("whole"), &[]);
    let arguments = [&["finetune", &table, "--out", &path("cut")], QUICK.as_slice(), &["train.checkpoint_every=10"]];
    let mut child = command(&arguments.concat()).spawn().unwrap();
    let checkpoint = folder.path().join("cut/checkpoints/step-00000010");
    for _ in 0..3000 {
        if checkpoint.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let _ = child.kill();
    child.wait().unwrap();
    tune(&table, &path("cut"), &[]);
    let weights = |run: &str| fs::read(path(&format!("{run}/model/model.safetensors"))).unwrap();
    assert!(weights("whole") == weights("cut"));
}

#[test]
fn folds_are_averaged_and_each_case_is_told_by_the_model_that_has_not_seen_it() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (table, run) = (write(folder.path(), "cases.csv", 0..60, true), path("run"));
    let told = tune(&table, &run, &["--folds", "2", "--group", "ward"]);
    assert!(told.starts_with("On the cross-validation cases:\n60 rows"), "{told}");
    assert!(path("run/fold-2/model").parse::<std::path::PathBuf>().unwrap().exists());
    succeed(&["predict", &run, &table, "--out", &path("told.parquet"), "--quiet"]);

    // The same cases are judged again without training, in all and by what is read.
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let before = json(&fs::read_to_string(path("run/judgement.json")).unwrap());
    let again = json(&succeed(&["evaluate", &run, "--json"]));
    assert_eq!(again["measures"], before["measures"]);
    assert_eq!((&again["subsets"], again["subsets"].as_array().unwrap().len()), (&before["subsets"], 6));
    // A model that has seen the cases tells them otherwise.
    let seen = json(&succeed(&["evaluate", &path("run/fold-1"), &table, "--json"]));
    assert_ne!(seen["measures"], before["measures"]);

    let asked = json(&succeed(&["evaluate", &run, "--json", "--subset", "text", "--subset", "image,table"]));
    let of = |report: &serde_json::Value, names: &[&str]| {
        let subsets = report["subsets"].as_array().unwrap();
        subsets.iter().find(|subset| subset["modalities"] == serde_json::json!(names)).unwrap()["measures"].clone()
    };
    assert_eq!(asked["subsets"].as_array().unwrap().len(), 2);
    assert_eq!(of(&asked, &["text"]), of(&before, &["text"]));
    assert_eq!(of(&asked, &["image", "table"]), of(&before, &["image", "table"]));
    assert_ne!(of(&asked, &["text"]), asked["measures"]);
    let message = fail(&["evaluate", &run, "--subset", "picture"], 2);
    assert!(message.contains("the model reads (image, table, text), found `picture`"), "{message}");

    // Intervals are those of wards, and would be others if rows were drawn.
    let recipe = fs::read_to_string(path("run/recipe.toml")).unwrap();
    assert!(recipe.contains("[data.reading]\ngroup = \"ward\""), "{recipe}");
    fs::write(path("run/recipe.toml"), recipe.replace("[data.reading]\ngroup = \"ward\"", "[data.reading]")).unwrap();
    let of_rows = json(&succeed(&["evaluate", &run, "--json"]));
    let all = |report: &serde_json::Value, key: &str| -> Vec<serde_json::Value> {
        report["measures"].as_array().unwrap().iter().map(|measure| measure[key].clone()).collect()
    };
    assert_eq!(all(&of_rows, "value"), all(&before, "value"));
    assert_ne!(all(&of_rows, "interval"), all(&before, "interval"));

    fs::write(&table, fs::read_to_string(&table).unwrap().replace("calm", "calmer")).unwrap();
    let message = fail(&["evaluate", &run], 2);
    assert!(message.contains("the table is not the one that the run was begun with"), "{message}");
}

#[test]
fn a_recipe_holds_the_options() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    write(folder.path(), "cases.csv", 0..60, true);
    let recipe = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        path(name)
    };
    let text = "data = [\"cases.csv\"]\nlabel = \"outcome\"\ncolumns = [\"drop=scan\"]\ntime = \"1s\"\nset = [\"train.batch=16\"]\n";
    let whole = recipe("whole.toml", text);
    succeed(&["finetune", &whole, "--out", &path("run"), "--quiet", "--seed", "3", "--set", "train.steps=4"]);
    let kept: toml::Table = toml::from_str(&fs::read_to_string(path("run/recipe.toml")).unwrap()).unwrap();
    assert_eq!(kept["request"]["data"], toml::Value::from(vec![path("cases.csv")]));
    assert_eq!(kept["request"]["set"], toml::Value::from(vec!["train.batch=16", "train.steps=4"]));
    assert_eq!((&kept["seed"], &kept["request"]["time"]), (&3.into(), &"1s".into()));
    assert_eq!(kept["train"]["batch"], 16.into());
    assert!(!kept["modalities"].as_table().unwrap().contains_key("image"));

    // What a run keeps of its request is a recipe, and goes on with it.
    let request = recipe("request.toml", &toml::to_string(&kept["request"]).unwrap());
    succeed(&["finetune", &request, "--out", &path("run"), "--quiet"]);

    let says = |name: &str, text: &str, options: &[&str], part: &str| {
        let message = fail(&[&["finetune", &recipe(name, text), "--quiet", "--out", &path("no")], options].concat(), 2);
        assert!(message.contains(part), "{message}");
    };
    says("a.toml", "data = [\"cases.csv\"]\n\nlable = \"outcome\"\n", &[], "a.toml:3: ");
    says("a.toml", "data = [\"cases.csv\"]\n\nlable = \"outcome\"\n", &[], "did you mean `label`?");
    says("a.toml", "time = \"soon\"\n", &[], "expected a time above 0, such as 90s, 10m or 1h, found `soon`");
    says("a.toml", "label = \"outcome\"\n", &[], "needs a table");
    says("a.toml", "data = [\"cases.csv\"]\n", &[], "--label COLUMN");
    says("a.toml", "data = [\"cases.csv\"]\n", &["--label", "outcom"], "there is no column `outcom`");
}

/// Every recipe of `configs/finetune` is read and, where its data are, run for two steps.
#[test]
fn every_recipe_of_fine_tuning_runs_two_steps() {
    let folder = TempDir::new().unwrap();
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/finetune");
    let mut read = 0;
    for entry in fs::read_dir(recipes).unwrap() {
        let path = entry.unwrap().path();
        let request = Request::read(&path).unwrap();
        read += 1;
        let data: Vec<String> = request.data.iter().map(|data| at_hand(data)).collect();
        if !data.iter().all(|data| Path::new(data).exists()) {
            println!("skipped {}: its data are not here (SENSORIUM_SHARED)", path.display());
            continue;
        }
        let (out, recipe) = (folder.path().join(path.file_stem().unwrap()), path.to_str().unwrap());
        let steps = ["train.steps=2", "train.batch=8", "train.evaluate_every=2", "train.checkpoint_every=2"];
        let steps: Vec<&str> = steps.iter().flat_map(|set| ["--set", *set]).collect();
        let data: Vec<&str> = data.iter().map(|data| &**data).collect();
        let short = ["--out", out.to_str().unwrap(), "--quiet", "--set", "model.trunk.layers=1"];
        succeed(&[&["finetune", recipe], &data[..], &short, &steps].concat());
        assert!(out.join("judgement.json").exists(), "{}", path.display());
    }
    assert!(read > 8);
}

/// A path of the reference data where they are.
fn at_hand(path: &str) -> String {
    match path.split_once("/shared/") {
        Some((_, rest)) => shared().join(rest).to_str().unwrap().to_owned(),
        None => path.to_owned(),
    }
}

#[test]
fn repeated_folds_tell_each_case_by_as_many_models_that_have_not_seen_it() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (table, run) = (write(folder.path(), "cases.csv", 0..60, true), path("run"));
    let told = tune(&table, &run, &["--folds", "2", "--repeats", "2"]);
    assert!(told.starts_with("On the cross-validation cases:\n60 rows"), "{told}");
    let sides = |fold: usize| fs::read_to_string(path(&format!("run/fold-{fold}/recipe.json"))).unwrap();
    assert!(Path::new(&path("run/fold-4/model")).is_dir() && !Path::new(&path("run/fold-5")).exists());
    assert_ne!(sides(1), sides(3), "the second time other cases are kept apart");
    let again = succeed(&["evaluate", &run, "--json"]);
    let measures = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["measures"].clone();
    assert_eq!(measures(&again), measures(&fs::read_to_string(path("run/judgement.json")).unwrap()));
}

#[test]
fn what_cannot_be_learned_is_said() {
    let folder = TempDir::new().unwrap();
    let table = write(folder.path(), "cases.csv", 0..30, true);
    let out = folder.path().join("run").to_str().unwrap().to_owned();
    let says = |arguments: &[&str], part: &str| {
        let message = fail(&[&["finetune", &table, "--out", &out, "--quiet"], arguments].concat(), 2);
        assert!(message.contains(part), "{message}");
        assert!(!Path::new(&out).exists(), "{part}");
    };
    says(&["--label", "outcom"], "there is no column `outcom`; the table has");
    says(&["--label", "outcome", "--group", "patient"], "--group: there is no column `patient`");
    says(&["--label", "outcome", "--columns", "picture=scan"], "`picture` is no kind of column");
    says(
        &["--label", "case_id", "--problem", "number", "--columns", "drop=scan,note,dose,ward,outcome"],
        "no column is left",
    );
    says(&["--label", "outcome", "--set", "train.stepz=4"], "stepz");
    says(&["--label", "outcome", "--folds", "1"], "expected 2 to 30 folds");
    says(&["--label", "outcome", "--repeats", "2"], "--repeats: expected --folds beside it");
}
