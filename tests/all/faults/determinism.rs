//! What is the same from run to run, and what nearly so.

use std::{fs, path::Path};

use crate::program::{command, fail, recipe};

/// The losses of a run, step by step.
fn losses(run: &Path) -> Vec<f64> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    records.filter_map(|record| record["loss"].as_f64()).collect()
}

#[test]
fn the_same_recipe_gives_the_same_bytes_and_threads_change_the_last_digits_alone() {
    let home = tempfile::tempdir().unwrap();
    let recipe = recipe(home.path(), 20);
    let pretrain = |name: &str, threads: &str| {
        let out = home.path().join(name);
        let arguments = ["pretrain", recipe.to_str().unwrap(), "--quiet", "--out", out.to_str().unwrap()];
        let output = command(&arguments).env("RAYON_NUM_THREADS", threads).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        out
    };
    let (first, again, two) = (pretrain("first", "1"), pretrain("again", "1"), pretrain("two", "2"));
    for file in super::interrupted::RESULTS {
        assert!(fs::read(first.join(file)).unwrap() == fs::read(again.join(file)).unwrap(), "{file} differs");
    }
    let pairs: Vec<(f64, f64)> = losses(&first).into_iter().zip(losses(&two)).collect();
    assert_eq!(pairs.len(), 20);
    let largest = pairs.iter().map(|(one, two)| ((one - two) / one).abs()).fold(0.0, f64::max);
    assert!(largest < 1e-5, "the losses of one and of two threads differ by {largest:.1e}");
    println!("largest relative difference of 20 losses between one and two threads: {largest:.1e}");
}

#[test]
fn a_run_that_leaves_the_numbers_stops_and_keeps_its_checkpoints() {
    let home = tempfile::tempdir().unwrap();
    let recipe = recipe(home.path(), 6);
    let wild = home.path().join("wild");
    let rate = "train.optimizer.learning_rate=1e38";
    let arguments = ["pretrain", recipe.to_str().unwrap(), "--quiet", "--out", wild.to_str().unwrap(), "--set", rate];
    let message = fail(&arguments, 1);
    assert!(message.contains("the loss of `") && message.contains("the batch's samples: "), "{message}");
    assert!(!wild.join("model").exists());
    let saved = fs::read_dir(wild.join("checkpoints")).unwrap().count();
    assert_eq!(saved, 0, "{message}");
}
