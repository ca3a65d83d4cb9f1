//! Runs that are stopped at any moment and go on.
#![cfg(unix)]

use std::{
    fs,
    path::Path,
    process::{Child, Command, ExitStatus},
    thread::sleep,
    time::{Duration, Instant},
};

use rand::RngExt;
use sensorium::contract::Seed;

use crate::program::{recipe, start, succeed};

/// Between two checkpoints of [`recipe`].
const INTERVAL: u64 = 3;

/// What a run must not depend on how often it was stopped.
pub const RESULTS: [&str; 4] = ["metrics.jsonl", "model/model.safetensors", "model/model.toml", "retrieval.json"];

#[derive(Clone, Copy, PartialEq)]
enum Signal {
    Kill,
    Terminate,
}

/// The steps that a run has recorded.
fn recorded(run: &Path) -> u64 {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["step"].as_u64();
    text.lines().filter_map(step).max().unwrap_or(0)
}

/// The step of the newest checkpoint.
fn saved(run: &Path) -> u64 {
    let folders = fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().file_name());
    let step = |name: std::ffi::OsString| name.to_str()?.strip_prefix("step-")?.parse().ok();
    folders.filter_map(step).max().unwrap_or(0)
}

/// Whether it came before the process ended.
fn wait_for(child: &mut Child, mut done: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while !done() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(begin.elapsed() < Duration::from_secs(300), "it did not come");
        sleep(Duration::from_millis(1));
    }
    true
}

fn stop(child: &mut Child, signal: Signal) -> ExitStatus {
    match signal {
        Signal::Kill => child.kill().unwrap(),
        Signal::Terminate => {
            assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        }
    }
    let begin = Instant::now();
    let status = child.wait().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(30), "it took {:?} to end", begin.elapsed());
    status
}

/// A run of `steps` that is stopped `times` at random moments, beside one that is not.
fn stopped(signal: Signal, times: u64, steps: u64) {
    let home = tempfile::tempdir().unwrap();
    let recipe = recipe(home.path(), steps);
    let out = |run: &str| home.path().join(run).display().to_string();
    let (straight, run) = (out("straight"), out("stopped"));
    let pretrain = |out: &str| ["pretrain", recipe.to_str().unwrap(), "--quiet", "--out", out].map(str::to_owned);
    succeed(&pretrain(&straight).each_ref().map(String::as_str));
    let directory = Path::new(&run);
    let mut stops = 0;
    for time in 0..times {
        let mut child = start(&pretrain(&run).each_ref().map(String::as_str));
        let draw: u64 = Seed::new(11).number(time).rng().random();
        let (target, delay) = (recorded(directory).max(time * steps / times) + 1, Duration::from_millis(draw % 60));
        if !wait_for(&mut child, || recorded(directory) >= target) {
            break;
        }
        sleep(delay);
        let status = stop(&mut child, signal);
        if status.success() {
            break;
        }
        stops += 1;
        let (recorded, saved) = (recorded(directory), saved(directory));
        assert!(recorded - saved.min(recorded) <= INTERVAL, "stopped at {recorded}, but {saved} is saved");
        if signal == Signal::Terminate {
            assert_eq!(status.code(), Some(143));
            assert_eq!(saved, recorded, "the state of the last step is not saved");
        }
    }
    assert!(2 * stops >= times, "it was stopped {stops} times only");
    succeed(&pretrain(&run).each_ref().map(String::as_str));
    for file in RESULTS {
        let read = |run: &str| fs::read(Path::new(run).join(file)).unwrap();
        assert!(read(&straight) == read(&run), "{file} differs");
    }
    println!("stopped {stops} times in {steps} steps; loss log and weights are the same bytes");
}

#[test]
fn a_killed_run_ends_bit_for_bit_as_if_it_had_not_been() {
    stopped(Signal::Kill, 3, 12);
}

#[test]
fn a_terminated_run_saves_says_so_and_goes_on() {
    stopped(Signal::Terminate, 2, 12);
}

#[test]
#[ignore = "long: `tests/faults`"]
fn fifty_kills_change_nothing() {
    stopped(Signal::Kill, 50, 300);
}

#[test]
#[ignore = "long: `tests/faults`"]
fn fifty_terminations_change_nothing() {
    stopped(Signal::Terminate, 50, 300);
}
