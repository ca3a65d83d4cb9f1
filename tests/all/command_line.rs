//! The commands as a user types them.

use std::{fs, path::Path};

use serde_json::Value;

use crate::program::{emoji, fail, recipe, run, succeed};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_built_in_set_is_written_learned_and_judged() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("run/data");
    let said = succeed(&["data", "emoji", text(&data), "--quiet"]);
    assert!(said.contains("samples") && data.join("emoji-train.tar").is_file(), "{said}");
    let out = home.path().join("run");
    let builtin = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/emoji.toml");
    let mut arguments = vec!["pretrain", builtin, "--out", text(&out), "--quiet", "--json", "--seed", "3"];
    let overrides = [
        "train.steps=3",
        "train.batch=16",
        "train.evaluate_every=3",
        "model.trunk.layers=1",
        "model.trunk.width=24",
        "model.trunk.heads=2",
        "modalities.image.size=32",
        // Three steps reach nothing.
        "expect=[]",
    ];
    overrides.iter().for_each(|given| arguments.extend(["--set", given]));
    let trained: Value = serde_json::from_str(&succeed(&arguments)).unwrap();
    let model = out.join("model");
    let validation = data.join("emoji-validation.tar");
    let page = home.path().join("page.html");
    let judged = succeed(&["evaluate", text(&model), text(&validation), "--json", "--report", text(&page)]);
    // The saved model, read again, finds what the trained one found.
    assert_eq!(serde_json::from_str::<Value>(&judged).unwrap(), trained);
    assert_eq!(trained["directions"].as_array().unwrap().len(), 12);
    assert!(fs::read_to_string(page).unwrap().contains("</html>"));
    let table = succeed(&["evaluate", text(&model), text(&validation)]);
    assert!(table.contains("image") && table.contains("text"), "{table}");
}

#[test]
fn fields_can_be_read_under_another_name() {
    let home = tempfile::tempdir().unwrap();
    let recipe = recipe(home.path(), 1);
    let out = home.path().join("run");
    succeed(&["pretrain", text(&recipe), "--out", text(&out), "--quiet"]);
    let model = out.join("model");
    let table = home.path().join("table.csv");
    fs::write(&table, "key,name,category,code_points\na,heart,Symbols,1\nb,dog,Animals,2\n").unwrap();
    let directions = |output: &std::process::Output| {
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["directions"].as_array().unwrap().len()
    };
    let said = |output: &std::process::Output| String::from_utf8(output.stderr.clone()).unwrap();
    let renamed = run(&["evaluate", text(&model), text(&table), "--json", "--field", "text=name"]);
    assert_eq!(directions(&renamed), 2, "table and text");
    assert!(said(&renamed).contains("no sample has the modality `image`"), "{}", said(&renamed));
    assert!(!said(&renamed).contains("`text` (field"), "{}", said(&renamed));
    // Without, only the table is left, and nothing can be found.
    let message = fail(&["evaluate", text(&model), text(&table)], 1);
    assert!(message.contains("no sample has two of the model's modalities"), "{message}");
}

#[test]
fn vectors_of_samples_are_written() {
    let home = tempfile::tempdir().unwrap();
    let recipe = recipe(home.path(), 1);
    let [out, vectors, other] = ["run", "E.parquet", "other.parquet"].map(|name| home.path().join(name));
    succeed(&["pretrain", text(&recipe), "--out", text(&out), "--quiet"]);
    let model = out.join("model");
    let data = emoji().join("emoji-validation.tar");
    let said = succeed(&["embed", text(&model), text(&data), "--out", text(&vectors), "--quiet"]);
    let count: usize = said.split(' ').next().unwrap().parse().unwrap();
    assert!(said.contains(&format!("{count} vectors of {} samples", count / 4)), "four modalities each: {said}");
    succeed(&["embed", text(&model), text(&data), "--out", text(&other), "--quiet"]);
    assert!(fs::read(&vectors).unwrap() == fs::read(&other).unwrap(), "the same samples give the same bytes");
    let table = home.path().join("table.csv");
    fs::write(&table, "key,nothing\na,1\n").unwrap();
    let absent = home.path().join("absent.parquet");
    let message = fail(&["embed", text(&model), text(&table), "--out", text(&absent), "--quiet"], 1);
    assert!(!absent.exists() && message.contains("no sample has any of the model's modalities"), "{message}");
}

#[test]
fn a_number_that_a_recipe_expects_decides_about_the_exit_code() {
    let home = tempfile::tempdir().unwrap();
    let recipe = recipe(home.path(), 1);
    let out = home.path().join("run");
    let expect = "expect=[{ from = \"image\", to = \"text\", times_chance = 1000 }]";
    let output = run(&["pretrain", text(&recipe), "--out", text(&out), "--quiet", "--set", expect]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("error: image→text: recall@1 is"), "{message}");
    assert!(out.join("report.html").is_file(), "all is written nevertheless");
}

#[test]
fn check_and_bench_say_numbers() {
    let home = tempfile::tempdir().unwrap();
    let recipe = recipe(home.path(), 4);
    let data = home.path().join("data");
    let plan: Value =
        serde_json::from_str(&succeed(&["check", text(&recipe), "--json", "--data", text(&data)])).unwrap();
    assert_eq!(plan["steps"], 4);
    assert!(plan["parameters_in_all"].as_u64() > Some(1000) && plan["seconds_per_step"].as_f64() > Some(0.0), "{plan}");
    let cost = succeed(&["bench", text(&recipe), "--json", "--steps", "2", "--data", text(&data)]);
    let cost: Value = serde_json::from_str(&cost).unwrap();
    assert!(cost["samples_per_second"].as_f64() > Some(0.0), "{cost}");
    assert!(!data.exists(), "neither writes anything");
}

/// The losses of a run's steps.
fn losses(run: &Path) -> Vec<f64> {
    let records = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let loss = |line: &str| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64();
    records.lines().filter_map(loss).collect()
}

#[test]
fn bf16_learns_as_f32_does() {
    let home = tempfile::tempdir().unwrap();
    let recipe = recipe(home.path(), 8);
    let [full, half] = ["f32", "bf16"].map(|precision| {
        let out = home.path().join(precision);
        let precision = format!("train.precision={precision}");
        succeed(&["pretrain", text(&recipe), "--out", text(&out), "--set", &precision]);
        losses(&out)
    });
    assert_eq!((full.len(), half.len()), (8, 8));
    assert_ne!(full, half);
    for (full, half) in full.iter().zip(&half) {
        assert!((half / full - 1.0).abs() < 0.01, "{half} instead of {full}");
    }
    let out = home.path().join("wrong");
    let message = fail(&["pretrain", text(&recipe), "--out", text(&out), "--set", "train.precision=fp8"], 2);
    assert!(message.contains("`f32` or `bf16`") && !out.exists(), "{message}");
}

#[test]
fn a_wrong_recipe_names_its_line() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("run");
    let recipe = recipe(home.path(), 1);
    let right = fs::read_to_string(&recipe).unwrap();
    for (line, by, part) in [
        ("batch = 16", "bacth = 16", "did you mean `batch`?"),
        ("size = 24", "size = \"big\"", "modalities.image.size"),
        ("size = 24", "size = 25", "multiples of the patch"),
        ("heads = 2", "heads = 5", "not a multiple of heads 5"),
        ("kind = \"contrastive\"", "kind = \"contrast\"", "unknown variant"),
        ("weight = 0.1", "passes = [[\"imagee\"]]", "names the modality `imagee`"),
    ] {
        fs::write(&recipe, right.replacen(line, by, 1)).unwrap();
        for command in ["pretrain", "check"] {
            let mut arguments = vec![command, text(&recipe)];
            arguments.extend(if command == "pretrain" { ["--out", text(&out)] } else { ["--data", text(&out)] });
            let message = fail(&arguments, 2);
            assert!(message.contains(part), "{message}");
        }
        assert!(!out.exists(), "{part}: something was written");
    }
    let at = right.lines().position(|line| line == "batch = 16").unwrap() + 1;
    fs::write(&recipe, right.replacen("batch = 16", "bacth = 16", 1)).unwrap();
    let message = fail(&["pretrain", text(&recipe), "--out", text(&out)], 2);
    assert!(message.starts_with(&format!("error: {}:{at}: ", recipe.display())), "{message}");
    let absent = home.path().join("absent.toml");
    let message = fail(&["pretrain", text(&absent), "--out", text(&out)], 2);
    assert!(message.contains("absent.toml") && message.matches("os error").count() == 1, "{message}");
}

#[test]
fn bad_data_are_named_and_leave_nothing() {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("run");
    let recipe = recipe(home.path(), 2);
    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let whole = fs::read(emoji().join("emoji-train.tar")).unwrap();
    let cut = home.path().join("cut.tar");
    fs::write(&cut, &whole[..whole.len() / 2 + 100]).unwrap();
    let noise = home.path().join("noise.tar");
    fs::write(&noise, vec![0x5a; 4096]).unwrap();
    let absent = home.path().join("absent.tar");
    for (path, part) in [(&absent, "absent.tar"), (&empty, "empty"), (&cut, "cut.tar"), (&noise, "noise.tar")] {
        let given = format!("data.train.0.path={}", path.display());
        let message = fail(&["pretrain", text(&recipe), "--out", text(&out), "--set", &given, "--quiet"], 1);
        assert!(message.contains(part), "{message}");
        assert!(!out.exists(), "{part}: something was written");
    }
    let given = "modalities.image.field=photo";
    let message = fail(&["pretrain", text(&recipe), "--out", text(&out), "--set", given, "--quiet"], 1);
    assert!(message.contains("`photo`") && message.contains("image, "), "{message}");
    assert!(!out.exists());
}

#[test]
fn damaged_samples_end_the_run() {
    let home = tempfile::tempdir().unwrap();
    // More than an epoch, at whose end the share of damaged samples is known.
    let recipe = recipe(home.path(), 9);
    let mut bytes = fs::read(emoji().join("emoji-train.tar")).unwrap();
    // Every picture loses its header's end.
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(4).position(|window| window == b"IHDR") {
        bytes[at + found + 4..at + found + 12].fill(0);
        at += found + 4;
    }
    assert!(at > 0);
    let damaged = home.path().join("damaged.tar");
    fs::write(&damaged, bytes).unwrap();
    let out = home.path().join("run");
    let given = format!("data.train.0.path={}", damaged.display());
    let message = fail(&["pretrain", text(&recipe), "--out", text(&out), "--set", &given, "--quiet"], 1);
    assert!(message.contains("damaged") && message.contains("image"), "{message}");
    assert!(!out.join("model").exists() && !out.join("report.html").exists());
}

#[test]
fn wrong_devices_models_and_places_are_named() {
    let home = tempfile::tempdir().unwrap();
    let recipe = recipe(home.path(), 1);
    let out = home.path().join("run");
    let message = fail(&["pretrain", text(&recipe), "--out", text(&out), "--device", "gpu"], 2);
    assert!(message.contains("unknown device `gpu`") && message.contains("flex"), "{message}");
    assert!(!out.exists());
    // Below a file, and where the system lets nobody write.
    let file = home.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    for place in [file.join("run"), "/proc/sensorium/run".into()] {
        let message = fail(&["pretrain", text(&recipe), "--out", text(&place), "--quiet"], 1);
        assert!(message.contains(text(&place)), "{message}");
        let message = fail(&["data", "emoji", text(&place), "--quiet"], 1);
        assert!(message.contains(text(&place)), "{message}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a folder");
    let validation = emoji().join("emoji-validation.tar");
    for no_model in [home.path().to_owned(), home.path().join("absent"), file] {
        let message = fail(&["evaluate", text(&no_model), text(&validation)], 1);
        assert!(message.contains("manifest.json") && message.contains(text(&no_model)), "{message}");
    }
}

#[test]
fn wrong_usage_is_two() {
    for arguments in [
        &["pretrian"][..],
        &["pretrain"],
        &["evaluate", "model"],
        &["check", "r.toml", "--stes", "3"],
        &["check", "r.toml", "--seed", "9223372036854775808"],
    ] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert!(succeed(&["--help"]).contains("pretrain"));
    assert!(succeed(&["--version"]).starts_with("sensorium "));
}
