//! Runs in a process of their own, to be killed and interrupted.

use std::{
    env,
    process::{Child, Command, ExitStatus},
    thread::sleep,
    time::Instant,
};

use super::*;
use crate::Ended;

const HOME: &str = "SENSORIUM_TRAIN_TEST_RUN";
const SLOW: &str = "SENSORIUM_TRAIN_TEST_SLOW";

/// Trains slowly enough to be caught in between. The other tests start it.
#[test]
#[ignore = "the body of a child process"]
fn child() {
    let Some(home) = env::var_os(HOME) else { return };
    let slow = env::var(SLOW).ok().and_then(|slow| slow.parse().ok()).map_or(Duration::ZERO, Duration::from_millis);
    let stream = move |steps: std::ops::Range<u64>| -> BatchStream {
        Box::new(steps.map(move |step| {
            sleep(slow);
            Ok(loaded(step))
        }))
    };
    let outcome = run_on(Path::new(&home), &small(), Box::new(stream), Stop::on_signals().unwrap()).unwrap();
    match outcome.ended {
        Ended::Finished => {}
        Ended::Interrupted { signal } => std::process::exit(128 + signal),
    }
}

fn start(home: &Path, slow: u64) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "tests::process::child", "--ignored"]);
    command.env(HOME, home).env(SLOW, slow.to_string());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command.spawn().unwrap()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what} did not come");
        sleep(Duration::from_millis(2));
    }
}

fn recorded(home: &Path) -> usize {
    fs::read_to_string(home.join("metrics.jsonl")).unwrap_or_default().lines().count()
}

#[cfg(unix)]
fn signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

#[cfg(unix)]
fn code(status: ExitStatus) -> Option<i32> {
    status.code()
}

#[test]
#[cfg(unix)]
fn a_killed_run_ends_as_if_it_had_not_been() {
    let (straight, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(straight.path(), &small());
    for records in [1, 5, 9, 13] {
        let mut child = start(home.path(), 20);
        wait_for("the record", || recorded(home.path()) >= records || child.try_wait().unwrap().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(start(home.path(), 0).wait().unwrap().success());
    assert_same(straight.path(), home.path());
}

/// Wherever the process dies, the next one finds a whole state: killed at many moments, also while
/// it writes a checkpoint.
#[test]
#[cfg(unix)]
fn a_run_killed_at_random_moments_ends_as_if_it_had_not_been() {
    let (straight, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(straight.path(), &small());
    for moment in 0..12 {
        let mut child = start(home.path(), 1);
        wait_for("the run", || home.path().join("metrics.jsonl").exists());
        sleep(Duration::from_millis(moment * 3));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(start(home.path(), 0).wait().unwrap().success());
    assert_same(straight.path(), home.path());
    let unfinished = checkpoints(home.path()).into_iter().filter(|name| name.starts_with(".tmp-")).count();
    assert_eq!(unfinished, 0);
}

#[test]
#[cfg(unix)]
fn a_signal_saves_and_ends_and_the_run_goes_on() {
    let (straight, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(straight.path(), &small());
    for (name, number, records) in [("-INT", 2, 2), ("-TERM", 15, 6)] {
        let mut child = start(home.path(), 50);
        wait_for("the record", || recorded(home.path()) >= records);
        let before = recorded(home.path());
        signal(&child, name);
        assert_eq!(code(child.wait().unwrap()), Some(128 + number));
        // The step under way was finished and nothing after it was begun; the state is of that step.
        let last = lines(home.path(), "metrics.jsonl").last().unwrap()["step"].as_u64().unwrap();
        assert!(recorded(home.path()) <= before + 3);
        assert_eq!(checkpoints(home.path()).pop().unwrap(), format!("step-{last:08}"));
    }
    assert!(start(home.path(), 0).wait().unwrap().success());
    assert_same(straight.path(), home.path());
}

#[test]
#[cfg(unix)]
fn a_second_signal_ends_at_once() {
    let home = tempfile::tempdir().unwrap();
    let mut child = start(home.path(), 20_000);
    wait_for("the run", || home.path().join("metrics.jsonl").exists());
    sleep(Duration::from_millis(100));
    let begin = Instant::now();
    signal(&child, "-INT");
    sleep(Duration::from_millis(100));
    assert!(child.try_wait().unwrap().is_none(), "the first signal lets the step finish");
    signal(&child, "-TERM");
    assert_eq!(code(child.wait().unwrap()), Some(143));
    assert!(begin.elapsed() < Duration::from_secs(5));
}
