//! Runs that are killed at one file operation after the other.
#![cfg(target_os = "linux")]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use super::interrupted::RESULTS;
use crate::program::{recipe, succeed};

/// What brings a file under its name, and to the disk.
const OPERATIONS: [&str; 6] = ["rename", "fsync", "mkdir", "unlink", "rmdir", "ftruncate"];

/// The program under `strace`, which kills it at the `when`-th call of an operation. Whether that came to pass.
fn killed(operation: &str, when: usize, arguments: &[&str]) -> Option<bool> {
    let inject = format!("inject={operation}:signal=KILL:when={when}");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={operation}"), "-e", &inject]);
    command.arg(env!("CARGO_BIN_EXE_sensorium")).args(arguments);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
    Some(!status.success())
}

/// Kills a run at every `stride`-th call of each operation; the same command then must end as if nothing had been.
fn torn(stride: usize) {
    let home = tempfile::tempdir().unwrap();
    let recipe = recipe(home.path(), 6);
    let out = |run: &str| home.path().join(run).display().to_string();
    let straight = out("straight");
    let pretrain = |out: &str| ["pretrain", recipe.to_str().unwrap(), "--quiet", "--out", out].map(str::to_owned);
    succeed(&pretrain(&straight).each_ref().map(String::as_str));
    let mut kills = 0;
    for operation in OPERATIONS {
        for when in (1..).step_by(stride) {
            let run = out(&format!("{operation}-{when}"));
            let arguments = pretrain(&run);
            let arguments = arguments.each_ref().map(String::as_str);
            match killed(operation, when, &arguments) {
                None => return println!("skipped: strace is not installed"),
                Some(false) => break,
                Some(true) => kills += 1,
            }
            succeed(&arguments);
            for file in RESULTS {
                let read = |run: &str| fs::read(Path::new(run).join(file)).unwrap();
                assert!(read(&straight) == read(&run), "{file} differs after a kill at {operation} {when}");
            }
            assert_eq!(leftovers(Path::new(&run)), Vec::<String>::new(), "after a kill at {operation} {when}");
            fs::remove_dir_all(&run).unwrap();
        }
    }
    if kills == 0 {
        return println!("skipped: this system lets strace kill nothing");
    }
    println!("killed at {kills} file operations; each run went on by itself to the same bytes");
}

/// What is left under temporary names.
fn leftovers(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().display().to_string();
        if entry.path().is_dir() {
            found.extend(leftovers(&entry.path()));
        }
        if name.starts_with(".tmp") || name.starts_with("damaged") {
            found.push(name);
        }
    }
    found
}

#[test]
fn a_run_killed_while_it_saves_goes_on_by_itself() {
    torn(23);
}

#[test]
#[ignore = "long: `tests/faults`"]
fn a_run_killed_at_any_file_operation_goes_on_by_itself() {
    torn(1);
}
