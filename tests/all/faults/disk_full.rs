//! A disk that fills up: a clear error, and the same call goes on once there is room.
#![cfg(target_os = "linux")]

use std::{fs, path::Path, process::Command};

use crate::program::{recipe, succeed};

/// Runs a recipe on a small disk, then gives the disk room and runs it again.
const SCRIPT: &str = r#"
mount -t tmpfs -o size="$SIZE"k tmpfs "$DISK" || exit 77
"$SENSORIUM" pretrain "$RECIPE" --out "$DISK/run" --quiet 2> "$FOUND/message"
echo $? > "$FOUND/code"
mount -o remount,size=64m "$DISK"
"$SENSORIUM" pretrain "$RECIPE" --out "$DISK/run" --quiet 2> "$FOUND/message2"
echo $? > "$FOUND/code2"
(cd "$DISK/run" && find . -type f -not -path './tensorboard/*' | sort > "$FOUND/files")
for file in metrics.jsonl model/model.safetensors retrieval.json; do cp "$DISK/run/$file" "$FOUND"; done
"#;

#[test]
fn a_full_disk_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let recipe = recipe(home.path(), 6);
    let straight = home.path().join("straight");
    succeed(&["pretrain", recipe.to_str().unwrap(), "--out", straight.to_str().unwrap(), "--quiet"]);
    let sizes = || (0..24).map(|power| 16.0 * 1.35_f64.powi(power)).map(|size| size as u64);
    for (failed, size) in sizes().enumerate() {
        let found = home.path().join(format!("found-{size}"));
        if !run_on_disk(size, home.path(), &recipe, &found) {
            println!("skipped: this system allows no small disk to be mounted");
            return;
        }
        let read = |file: &str| fs::read_to_string(found.join(file)).unwrap();
        let message = read("message");
        assert_eq!(read("code2").trim(), "0", "{size} KiB: {message}{}", read("message2"));
        for file in ["metrics.jsonl", "model.safetensors", "retrieval.json"] {
            let place = if file == "model.safetensors" { "model/model.safetensors" } else { file };
            let whole = fs::read(straight.join(place)).unwrap();
            assert!(whole == fs::read(found.join(file)).unwrap(), "{size} KiB: {file} differs after {message}");
        }
        assert_eq!(read("files"), files(&straight), "{size} KiB: after {message}");
        if read("code").trim() == "0" {
            assert!(failed > 5, "too few sizes were too small");
            return;
        }
        assert_eq!(read("code").trim(), "1", "{size} KiB: {message}");
        assert!(message.starts_with("error: ") && message.contains("the disk is full"), "{size} KiB: {message}");
    }
    panic!("no disk was large enough");
}

/// Whether there is a small disk to run on.
fn run_on_disk(size: u64, home: &Path, recipe: &Path, found: &Path) -> bool {
    let disk = home.join("disk");
    fs::create_dir_all(&disk).unwrap();
    fs::create_dir(found).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT]);
    command.env("SIZE", size.to_string()).env("DISK", disk).env("RECIPE", recipe).env("FOUND", found);
    command.env("SENSORIUM", env!("CARGO_BIN_EXE_sensorium"));
    command.output().is_ok() && found.join("code2").exists()
}

/// As `find` lists them; the names of TensorBoard's tell the time.
fn files(folder: &Path) -> String {
    let find = "find . -type f -not -path './tensorboard/*' | sort";
    let output = Command::new("sh").args(["-c", find]).current_dir(folder).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
