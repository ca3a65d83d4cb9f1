//! Single bytes that changed on the disk.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use rand::RngExt;
use sensorium::{AnyModel, contract::Seed};
use sensorium_state::{RunDirectory, verify};

use crate::program::{recipe, succeed};

/// Files below a directory with their sizes.
fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push((path.clone(), fs::metadata(&path).unwrap().len())),
        }
    }
    found.sort();
    found
}

/// Changes one byte, drawn over all files alike, `times` over; `open` must refuse each and name the file.
fn changed(folder: &Path, times: u64, open: &dyn Fn() -> Result<(), String>) {
    open().unwrap();
    let files = files(folder);
    for time in 0..times {
        let draw = |what: &str| Seed::new(5).number(time).named(what).rng().random::<u64>();
        let (path, size) = &files[(draw("file") % files.len() as u64) as usize];
        if *size == 0 {
            continue;
        }
        let whole = fs::read(path).unwrap();
        let mut bytes = whole.clone();
        let at = (draw("place") % size) as usize;
        bytes[at] ^= (draw("bits") % 255) as u8 + 1;
        fs::write(path, &bytes).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        match open() {
            Ok(()) => panic!("byte {at} of {name} was {} and is {}: not noticed", whole[at], bytes[at]),
            Err(message) => {
                // A changed name of a file in the manifest is told by the file that is not there.
                assert!(message.contains(name) || name == "manifest.json", "byte {at} of {name}: {message}");
            }
        }
        fs::write(path, whole).unwrap();
    }
    open().unwrap();
    println!("{times} single-byte changes in {} files, each detected by name", files.len());
}

fn model_and_checkpoint(times: u64) {
    let home = tempfile::tempdir().unwrap();
    let run = home.path().join("run");
    let recipe = recipe(home.path(), 6);
    succeed(&["pretrain", recipe.to_str().unwrap(), "--quiet", "--out", run.to_str().unwrap()]);
    let model = run.join("model");
    changed(&model, times, &|| {
        let opened = AnyModel::open(&model, &Device::flex());
        opened.map(|_| ()).map_err(|error| message(&error))
    });
    let checkpoint = run.join("checkpoints/step-00000006");
    changed(&checkpoint, times, &|| verify(&checkpoint).map(|_| ()).map_err(|error| error.to_string()));
    // What resuming does with it.
    let weights = checkpoint.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    let latest = RunDirectory::open_or_create(&run).unwrap().latest().unwrap();
    assert!(latest.checkpoint.is_some_and(|checkpoint| checkpoint.step < 6));
    assert_eq!(latest.rejected.len(), 1);
}

fn message(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", message(source)),
        None => error.to_string(),
    }
}

#[test]
fn a_changed_byte_is_noticed() {
    model_and_checkpoint(60);
}

#[test]
#[ignore = "long: `tests/faults`"]
fn a_thousand_changed_bytes_are_noticed() {
    model_and_checkpoint(1000);
}
