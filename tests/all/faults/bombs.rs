//! Small files that promise to be huge: refused by what they promise, before memory is asked for.
#![cfg(target_os = "linux")]

use std::{fs, io::Write, path::Path, process::Command};

use burn::tensor::Device;
use sensorium::{
    Pipeline, Recipe,
    contract::{Sample, Value},
    peak_memory,
    samples::{Dataset, SourceConfig},
};

use crate::program::recipe;

/// A picture of `side`² that says so and holds nothing.
fn huge_png(side: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(side.to_be_bytes());
    chunk.extend(side.to_be_bytes());
    chunk.extend([8, 6, 0, 0, 0]);
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut add = |chunk: &[u8]| {
        bytes.extend((chunk.len() as u32 - 4).to_be_bytes());
        bytes.extend(chunk);
        bytes.extend(crc(chunk).to_be_bytes());
    };
    add(&chunk);
    add(b"IDAT\x78\x9c\x03\x00\x00\x00\x00\x01");
    add(b"IEND");
    bytes
}

/// CRC-32 of ISO 3309, as PNG asks for.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, &byte: &u8| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// A WAV file whose header promises 4 GiB.
fn huge_wav() -> Vec<u8> {
    let mut bytes = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    bytes.extend(8000_u32.to_le_bytes());
    bytes.extend(16000_u32.to_le_bytes());
    bytes.extend([2, 0, 16, 0]);
    bytes.extend(b"data");
    bytes.extend(0x7000_0000_u32.to_le_bytes());
    bytes.extend([0; 100]);
    bytes
}

/// A Parquet file whose footer promises to be 4 GiB long.
fn huge_parquet() -> Vec<u8> {
    let mut bytes = b"PAR1".to_vec();
    bytes.extend([0; 1000]);
    bytes.extend(u32::MAX.to_le_bytes());
    bytes.extend(b"PAR1");
    bytes
}

/// `size` zeros, compressed.
fn zeros(path: &Path, size: usize) {
    let file = fs::File::create(path).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    let block = vec![0; 1 << 20];
    (0..size >> 20).for_each(|_| encoder.write_all(&block).unwrap());
    encoder.finish().unwrap();
}

fn bombs(zeros_in_all: usize) {
    let home = tempfile::tempdir().unwrap();
    let recipe = Recipe::read(&recipe(home.path(), 6), &[]).unwrap();
    let pipeline = Pipeline::open(recipe, &home.path().join("data"), &Device::flex(), &mut |_, _| {}).unwrap();
    zeros(&home.path().join("zeros.tar.gz"), zeros_in_all);
    fs::write(home.path().join("huge.parquet"), huge_parquet()).unwrap();
    let before = peak_memory().unwrap();
    for (field, bytes) in [("image", huge_png(60_000)), ("image", huge_png(u32::MAX >> 1)), ("audio", huge_wav())] {
        let fields = [(field.to_owned(), Value::Bytes(bytes.into()))].into();
        let fault = pipeline.model.preparation().decode(&Sample { key: "a".into(), fields }).unwrap_err();
        println!("{fault}");
    }
    for name in ["zeros.tar.gz", "huge.parquet"] {
        let error = Dataset::open(&[SourceConfig::new(name)], home.path()).unwrap_err();
        println!("{error}");
    }
    let grown = (peak_memory().unwrap() - before) >> 20;
    println!("memory grew by {grown} MiB");
    assert!(grown < 64, "memory grew by {grown} MiB");
}

/// In a process of its own, as other tests take memory too.
#[test]
fn what_promises_too_much_is_refused() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", "faults::bombs::alone", "--ignored"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "run by the test above"]
fn alone() {
    bombs(256 << 20);
}

#[test]
#[ignore = "long: `tests/faults`"]
fn ten_gibibytes_of_zeros_are_refused() {
    bombs(10 << 30);
}
