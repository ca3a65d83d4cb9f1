//! Damaged samples among many: counted, named, left out, and nothing else is.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use burn::tensor::Device;
use rand::RngExt;
use sensorium::{
    Pipeline, Recipe,
    contract::{Sample, Seed, Value},
    samples::{Dataset, LoaderConfig, Prepared, SourceConfig, TarWriter},
};

use crate::program::{emoji, recipe};

type Damage = fn(&mut Sample);

/// The kinds of damage: a name, and what it does to a sound sample.
const KINDS: [(&str, Damage); 9] = [
    ("a picture cut short", |sample| change(sample, "image", |bytes| bytes.truncate(bytes.len() / 2))),
    ("a picture of noise", |sample| change(sample, "image", |bytes| *bytes = vec![0x5a; 500])),
    ("an empty picture", |sample| change(sample, "image", Vec::clear)),
    ("a picture of another kind", |sample| change(sample, "image", |bytes| *bytes = b"<svg></svg>".to_vec())),
    ("a sound cut short", |sample| change(sample, "audio", |bytes| bytes.truncate(bytes.len() / 2))),
    ("a sound without header", |sample| change(sample, "audio", |bytes| drop(bytes.drain(..40)))),
    ("a sound of no channels", |sample| change(sample, "audio", |bytes| bytes[22] = 0)),
    ("a text of bytes", |sample| drop(sample.fields.insert("text".into(), Value::Bytes([0xff_u8, 0xfe].into())))),
    ("a picture that is a number", |sample| drop(sample.fields.insert("image".into(), Value::Number(3.0)))),
];

fn change(sample: &mut Sample, field: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let Some(Value::Bytes(bytes)) = sample.fields.get_mut(field) else { panic!("no {field}") };
    let mut changed = bytes.to_vec();
    change(&mut changed);
    *bytes = changed.into();
}

fn planted(samples: usize, faults: usize) {
    let home = tempfile::tempdir().unwrap();
    let pipeline = {
        let recipe = Recipe::read(&recipe(home.path(), 6), &[]).unwrap();
        Pipeline::open(recipe, &home.path().join("data"), &Device::flex(), &mut |_, _| {}).unwrap()
    };
    let damaged = write(&home.path().join("planted.tar"), samples, faults);
    let dataset = Dataset::open(&[SourceConfig::new("planted.tar")], home.path()).unwrap();
    assert_eq!(dataset.len(), samples);
    let config = LoaderConfig { max_damaged: 0.05, ..LoaderConfig::default() };
    let prepared = Prepared::new(dataset, Arc::new(pipeline.model.preparation().clone()), config).unwrap();
    let (mut read, mut reasons, mut named) = (0, BTreeMap::<String, usize>::new(), BTreeSet::new());
    for loaded in prepared.sequential(64) {
        let loaded = loaded.unwrap();
        read += loaded.batch.len();
        for fault in loaded.faults {
            *reasons.entry(format!("{}: {}", fault.fault.field, fault.fault.reason)).or_default() += 1;
            named.insert(fault.key);
        }
    }
    assert_eq!(named, damaged);
    assert_eq!(reasons.values().sum::<usize>(), faults);
    assert_eq!(read + faults, samples);
    println!("{read} read, {faults} skipped of {samples}: {reasons:?}");
}

/// The keys of the damaged samples.
fn write(path: &Path, samples: usize, faults: usize) -> BTreeSet<String> {
    let sound = Dataset::open(&[SourceConfig::new("emoji-train.tar")], emoji()).unwrap();
    let mut places = BTreeSet::new();
    let mut rng = Seed::new(9).rng();
    while places.len() < faults {
        places.insert(rng.random_range(0..samples));
    }
    let mut writer = TarWriter::create(path).unwrap();
    let mut damaged = BTreeSet::new();
    for number in 0..samples {
        let mut sample = sound.read(number % sound.len()).unwrap();
        sample.key = format!("sample-{number:05}");
        if places.contains(&number) {
            KINDS[damaged.len() % KINDS.len()].1(&mut sample);
            damaged.insert(sample.key.clone());
        }
        writer.append(&sample).unwrap();
    }
    writer.finish().unwrap();
    damaged
}

#[test]
fn damaged_samples_are_named_and_nothing_else_is_lost() {
    planted(1000, 27);
}

#[test]
#[ignore = "long: `tests/faults`"]
fn faults_among_ten_thousand_samples_are_named() {
    planted(10_000, 137);
}
