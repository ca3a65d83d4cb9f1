//! Agreement with Pillow, on `tests/reference/pillow_resize.safetensors` (made by the script beside it), and
//! what the shared pictures become.

use std::{collections::HashMap, io::Read, path::Path};

use safetensors::SafeTensors;
use sensorium_contract::{Modality, Name, Sample, Value};

use super::{
    Image, ImageConfig,
    decode::{Levels, decode},
    resize::fit,
};
use crate::reference::{fixture, integers, metadata, shared};

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    file: String,
    config: ImageConfig,
}

#[derive(serde::Deserialize)]
struct Picture {
    name: String,
    path: String,
    config: ImageConfig,
}

/// `[height, width, channels]`
fn levels(bytes: &[u8], config: &ImageConfig) -> Vec<u8> {
    let picture = decode("image", bytes, config.channels, config.background, None).unwrap();
    let fitted = fit(picture, config).unwrap();
    match fitted.levels {
        Levels::Byte(levels) => levels,
        Levels::Deep(levels) => levels.iter().map(|level| (level.clamp(0.0, 1.0) * 255.0).round() as u8).collect(),
    }
}

fn difference(found: &[u8], expected: &[u8]) -> u8 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(found, expected)| found.abs_diff(*expected)).max().unwrap()
}

#[test]
fn every_format_and_resizing_agrees_with_pillow() {
    let bytes = fixture("pillow_resize.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&metadata(&bytes)["cases"]).unwrap();
    assert!(cases.len() > 80);
    let mut failures = Vec::new();
    for Case { name, file, config } in cases {
        let found = levels(tensors.tensor(&format!("{file}.file")).unwrap().data(), &config);
        let worst = difference(&found, tensors.tensor(&format!("{name}.pixels")).unwrap().data());
        // Decoders spread halved chroma over pixels in ways of their own.
        let allowed = if name == "jpeg-chroma" { 3 } else { 1 };
        if worst > allowed {
            failures.push((name, worst));
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn shared_pictures_agree_with_pillow() {
    if shared("emoji").is_none() {
        return;
    }
    let bytes = fixture("pillow_resize.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let pictures: Vec<Picture> = serde_json::from_str(&metadata(&bytes)["pictures"]).unwrap();
    let mut shards = HashMap::new();
    let mut failures = Vec::new();
    for Picture { name, path, config } in pictures {
        let file = match path.split_once(':') {
            Some((shard, member)) => shards.entry(shard.to_owned()).or_insert_with(|| members(shard))[member].clone(),
            None => std::fs::read(shared(&path).unwrap()).unwrap(),
        };
        let found = levels(&file, &config);
        let places = integers(&tensors, &format!("{name}.places"));
        let found: Vec<u8> = places.iter().map(|&place| found[place as usize]).collect();
        let worst = difference(&found, tensors.tensor(&format!("{name}.levels")).unwrap().data());
        if worst > 1 {
            failures.push((name, worst));
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}

fn members(shard: &str) -> HashMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(std::fs::File::open(shared(shard).unwrap()).unwrap());
    let mut files = HashMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        if Path::new(&name).extension().is_some_and(|extension| extension == "png") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(name, bytes);
        }
    }
    files
}

#[test]
fn every_shared_picture_decodes() {
    let Some(folder) = shared("xray/images") else { return };
    let image = Image::new(&Name::new("image"), ImageConfig::default()).unwrap();
    for (source, files) in [
        ("xray", read(&folder)),
        ("stamps", read(&shared("stamps/img").unwrap())),
        ("emoji", crate::reference::emoji("png", usize::MAX)),
    ] {
        let (count, start) = (files.len(), std::time::Instant::now());
        for bytes in files {
            let fields = [("image".to_owned(), Value::Bytes(bytes.into()))].into();
            let item = image.decode(&Sample { key: String::new(), fields }).unwrap().unwrap();
            assert_eq!(item.arrays.f32("pixels").shape(), [3, 64, 64]);
        }
        println!("{source}: {count} pictures, {:.2} ms each", start.elapsed().as_secs_f64() * 1e3 / count as f64);
        assert!(count > 100, "{source}: {count}");
    }
}

fn read(folder: &Path) -> Vec<Vec<u8>> {
    std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}
