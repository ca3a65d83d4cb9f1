//! The real binary, and a small set for it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
};

use sensorium_datasets::emoji::{self, AudioSource, EmojiOptions};
use tempfile::TempDir;

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sensorium"));
    command.args(arguments).stdin(Stdio::null());
    command
}

pub fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

#[track_caller]
pub fn succeed(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn start(arguments: &[&str]) -> Child {
    command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Runs a command that must succeed, and tells the most memory that it had, in bytes.
#[cfg(target_os = "linux")]
pub fn peak_memory(arguments: &[&str]) -> u64 {
    let mut child = start(arguments);
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut most = 0;
    let ended = loop {
        // A process that has ended has no such line.
        let peak = fs::read_to_string(&status).unwrap_or_default();
        let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        most = most.max(peak.unwrap_or(0));
        match child.try_wait().unwrap() {
            Some(ended) => break ended,
            None => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    };
    assert!(ended.success(), "{arguments:?}");
    most << 10
}

/// The message of a command that fails: one line that begins with `error:`, and nothing else.
#[track_caller]
pub fn fail(arguments: &[&str], code: i32) -> String {
    let output = run(arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert!(message.starts_with("error: ") && !message.contains("panicked"), "{arguments:?}: {message}");
    assert_eq!(message.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{message}");
    assert!(output.stdout.is_empty(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    message
}

/// Eighty emoji: picture, name, sound and table row; made once for all tests.
pub fn emoji() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let write = || {
        let folder = tempfile::tempdir().unwrap();
        let options = EmojiOptions { audio: Some(AudioSource::PictureSound), limit: Some(80) };
        emoji::write(folder.path(), &options, &mut |_, _| {}).unwrap();
        folder
    };
    FOLDER.get_or_init(write).path()
}

/// A small recipe of four modalities in `folder`, whose data are [`emoji`].
pub fn recipe(folder: &Path, steps: u64) -> PathBuf {
    let path = folder.join("small.toml");
    let data = emoji().display();
    let text = format!(
        r#"[data]
train = [{{ path = "{data}/emoji-train.tar" }}]
validation = [{{ path = "{data}/emoji-validation.tar" }}]

[modalities.image]
kind = "image"
size = 24
patch = 12
augment = {{ shift = 2 }}

[modalities.text]
kind = "text"
tokenizer = {{ train = "bpe", vocabulary = 300 }}
context = 12

[modalities.audio]
kind = "audio"
rate = 8000
seconds = 0.5
mels = 16
fft = 256
window = 200
patch_frames = 10
augment = {{ shift_frames = 2 }}

[modalities.table]
kind = "table"

[model]
topology = "shared"
embedding = 16

[model.trunk]
layers = 1
width = 24
heads = 2

[[objectives]]
kind = "contrastive"

[[objectives]]
kind = "masked-modelling"
weight = 0.1

[train]
steps = {steps}
batch = 16
ema = 0.9
evaluate_every = 4
checkpoint_every = 3
"#
    );
    fs::write(&path, text).unwrap();
    path
}
