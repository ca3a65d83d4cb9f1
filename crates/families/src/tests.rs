//! Agreement with the reference cases of `SENSORIUM_SHARED`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use sensorium_contract::Array;
use sensorium_state::read_arrays;

use crate::Checkpoint;

/// Largest difference of an answer's element from the reference.
const TOLERANCE: f32 = 1e-4;

fn shared() -> Option<PathBuf> {
    let folder = match std::env::var_os("SENSORIUM_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
    };
    if folder.exists() {
        return Some(folder);
    }
    println!("skipped: the reference cases are not here (SENSORIUM_SHARED)");
    None
}

/// The cases of a folder.
fn cases(folder: &str) -> Vec<PathBuf> {
    let Some(shared) = shared() else { return Vec::new() };
    let entries = std::fs::read_dir(shared.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.join("io.safetensors").exists()).collect();
    cases.sort();
    cases
}

/// Inputs and outputs of a case.
fn case(path: &Path) -> [BTreeMap<String, Array>; 2] {
    let arrays = read_arrays(&path.join("io.safetensors")).unwrap();
    ["in.", "out."].map(|prefix| {
        let own = arrays.iter().filter_map(|(name, array)| Some((name.strip_prefix(prefix)?.to_owned(), array.clone())));
        own.collect()
    })
}

fn difference(expected: &Array, found: &Array) -> f32 {
    assert_eq!(expected.shape(), found.shape());
    let floats = |array: &Array| match array {
        Array::F32(values) => values.iter().copied().collect::<Vec<f32>>(),
        Array::I64(values) => values.iter().map(|&value| value as f32).collect(),
        Array::Bool(values) => values.iter().map(|&value| f32::from(u8::from(value))).collect(),
    };
    floats(expected).iter().zip(floats(found)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// What does not agree in a case.
fn disagreement(path: &Path) -> Option<String> {
    let [inputs, expected] = case(path);
    let checkpoint = match Checkpoint::open(path, &Device::flex()) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return Some(format!("{}: {error}", path.display())),
    };
    let found = match checkpoint.forward(&inputs) {
        Ok(found) => found,
        Err(error) => return Some(format!("{}: {error}", path.display())),
    };
    let mut wrong = Vec::new();
    for (name, expected) in &expected {
        match found.get(name) {
            None => wrong.push(format!("`{name}` is missing among {:?}", found.keys())),
            Some(found) => {
                let difference = difference(expected, found);
                if difference.is_nan() || difference > TOLERANCE {
                    wrong.push(format!("`{name}` differs by {difference}"));
                }
            }
        }
    }
    (!wrong.is_empty()).then(|| format!("{}: {}", path.display(), wrong.join("; ")))
}

fn all_agree(folder: &str) {
    let wrong: Vec<String> = cases(folder).iter().filter_map(|path| disagreement(path)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn answers_agree_with_the_reference() {
    all_agree("parity");
}

#[test]
fn published_forms_are_read() {
    all_agree("parity-published");
}

/// What is loaded goes out again with the same bytes.
#[test]
fn tensors_go_out_as_they_came() {
    for path in cases("parity") {
        let Ok(checkpoint) = Checkpoint::open(&path, &Device::flex()) else { continue };
        for tensor in checkpoint.tensors() {
            let values = checkpoint.files.floats(&checkpoint.places[&tensor.name]).unwrap();
            assert!(values.iter().zip(&tensor.values).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", tensor.name);
        }
    }
}
