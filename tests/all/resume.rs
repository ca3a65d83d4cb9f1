//! Runs that are stopped and go on.
#![cfg(unix)]

use std::{
    fs,
    path::Path,
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::program::{recipe, start, succeed};

fn lines(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default().lines().count()
}

/// Whether it came before the process ended.
fn wait_for(child: &mut Child, mut done: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while !done() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "it did not come");
        sleep(Duration::from_millis(1));
    }
    true
}

#[test]
fn a_killed_run_ends_bit_for_bit_as_if_it_had_not_been() {
    let home = tempfile::tempdir().unwrap();
    let recipe = recipe(home.path(), 12);
    let arguments = |run: &'static str| {
        let out = home.path().join(run);
        ["pretrain", recipe.to_str().unwrap(), "--quiet", "--out", out.to_str().unwrap()].map(str::to_owned)
    };
    let text = |arguments: &[String; 5]| succeed(&arguments.each_ref().map(String::as_str));
    text(&arguments("straight"));
    let run = home.path().join("killed");
    let mut killed = 0;
    for records in [1, 5, 10] {
        let mut child = start(&arguments("killed").each_ref().map(String::as_str));
        if wait_for(&mut child, || lines(&run) >= records) {
            killed += 1;
        }
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(killed > 0, "it was never killed while it ran");
    text(&arguments("killed"));
    for file in ["metrics.jsonl", "model/model.safetensors", "model/model.toml", "retrieval.json"] {
        let read = |run: &str| fs::read(home.path().join(run).join(file)).unwrap();
        assert!(read("straight") == read("killed"), "{file} differs");
    }
}

#[test]
fn a_terminated_run_saves_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let recipe = recipe(home.path(), 100_000);
    let run = home.path().join("run");
    let mut child = start(&["pretrain", recipe.to_str().unwrap(), "--quiet", "--out", run.to_str().unwrap()]);
    assert!(wait_for(&mut child, || lines(&run) >= 3));
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let records = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let steps = records.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let last = steps.filter_map(|record| record["step"].as_u64()).max().unwrap();
    let checkpoint = run.join(format!("checkpoints/step-{last:08}/manifest.json"));
    assert!(checkpoint.is_file(), "the state of step {last} is not saved");
    assert!(!run.join("model").exists());
}
