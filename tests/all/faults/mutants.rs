//! Thousands of changed files for every parser: an error or a result, never a panic, never long.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use burn::tensor::Device;
use image::{DynamicImage, ImageFormat};
use rand::RngExt;
use sensorium::{
    Pipeline, Recipe,
    contract::{Preparation, Rng, Sample, Seed, Value},
    retrieve::{EmbeddingFile, Items, Origin},
    samples::{Dataset, SourceConfig, TarWriter},
};
use sensorium_modalities::text::{TextConfig, TextModality};
use sensorium_state::{NamedTensor, write_manifest, write_safetensors};

use super::readers;
use crate::program::{emoji, recipe};

/// No mutant may take longer.
const LONGEST: Duration = Duration::from_secs(2);

type Read = Box<dyn Fn(&[u8])>;

/// A parser with a file that it can read.
struct Parser {
    name: &'static str,
    seed: Vec<u8>,
    /// Reads all that there is in it.
    read: Read,
}

fn mutant(seed: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..bytes.len().max(1));
        if bytes.is_empty() {
            break;
        }
        match rng.random_range(0..7) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, rng.random()),
            // A length or an offset that promises much.
            4 => bytes.iter_mut().skip(at).take(4).for_each(|byte| *byte = 0xff),
            5 => {
                let end = (at + rng.random_range(1..64)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let end = (at + rng.random_range(1..64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
    bytes
}

fn mutants(times: u64) {
    let home = tempfile::tempdir().unwrap();
    let before = peak_memory();
    for parser in parsers(home.path()) {
        (parser.read)(&parser.seed);
        let mut longest = Duration::ZERO;
        for time in 0..times {
            let bytes = mutant(&parser.seed, &mut Seed::new(3).named(parser.name).number(time).rng());
            let read = catch_unwind(AssertUnwindSafe(|| timed(&parser, &bytes)));
            let kept = || {
                let path = std::env::temp_dir().join(format!("mutant-{}-{time}", parser.name));
                fs::write(&path, &bytes).unwrap();
                path.display().to_string()
            };
            let Ok(time) = read else { panic!("a mutant of {} made a panic: {}", parser.name, kept()) };
            assert!(time < LONGEST, "a mutant of {} took {time:?}: {}", parser.name, kept());
            longest = longest.max(time);
        }
        println!("{times} mutants of {}: no panic, {longest:.1?} at most", parser.name);
    }
    println!("peak memory of all tests together {} MiB, {} MiB before", peak_memory(), before);
}

/// How long a parser takes: the shortest of several times where the first is long, since others use the machine too.
fn timed(parser: &Parser, bytes: &[u8]) -> Duration {
    let once = || {
        let begin = Instant::now();
        (parser.read)(bytes);
        begin.elapsed()
    };
    let first = once();
    if first < LONGEST { first } else { (0..4).map(|_| once()).fold(first, Duration::min) }
}

/// The peak memory of this process so far, in MiB, where the system tells.
fn peak_memory() -> u64 {
    sensorium::peak_memory().unwrap_or(0) >> 20
}

fn parsers(home: &Path) -> Vec<Parser> {
    let recipe_path = recipe(home, 6);
    let recipe = Recipe::read(&recipe_path, &[]).unwrap();
    let pipeline = Pipeline::open(recipe, &home.join("data"), &Device::flex(), &mut |_, _| {}).unwrap();
    let preparation = pipeline.model.preparation().clone();
    let picture = field("image");
    let jpeg = {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = image::load_from_memory(&picture).unwrap();
        DynamicImage::from(picture.to_rgb8()).write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        bytes.into_inner()
    };
    let table = "key,text,size,group\na,\"a face, smiling\",1.5,x\nb,a cat,,y\nc,\"two\nlines\",-3e2,x\n";
    let lines =
        "{\"key\": \"a\", \"text\": \"a face\", \"size\": 1.5}\n{\"text\": [\"b\", \"c\"], \"box\": {\"x\": 3}}\n";
    let mut parsers = vec![
        decoded("png", "image", picture, preparation.clone()),
        decoded("jpeg", "image", jpeg, preparation),
        Parser { name: "wav", seed: field("audio"), read: Box::new(readers::sounds()) },
        listed("tar", home.join("mutant.tar"), tar(home)),
        listed("parquet", home.join("mutant.parquet"), parquet(home)),
        listed("csv", home.join("mutant.csv"), table.into()),
        listed("json lines", home.join("mutant.jsonl"), lines.into()),
        tokenizer(),
        Parser { name: "recipe", seed: fs::read(&recipe_path).unwrap(), read: Box::new(readers::recipe) },
    ];
    parsers.extend(of_models(home));
    parsers
}

/// A field of the first emoji.
fn field(name: &str) -> Vec<u8> {
    match &first_emoji().fields[name] {
        Value::Bytes(bytes) => bytes.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn first_emoji() -> Sample {
    Dataset::open(&[SourceConfig::new("emoji-train.tar")], emoji()).unwrap().read(0).unwrap()
}

/// A field's bytes as a modality reads them.
fn decoded(name: &'static str, field: &'static str, seed: Vec<u8>, preparation: Preparation) -> Parser {
    let read = move |bytes: &[u8]| {
        let fields = [(field.to_owned(), Value::Bytes(bytes.into()))].into();
        let _ = preparation.decode(&Sample { key: "a".into(), fields });
    };
    Parser { name, seed, read: Box::new(read) }
}

/// A file of samples.
fn listed(name: &'static str, path: PathBuf, seed: Vec<u8>) -> Parser {
    Parser { name, seed, read: Box::new(move |bytes| readers::samples(&path, bytes)) }
}

fn tar(home: &Path) -> Vec<u8> {
    let path = home.join("seed.tar");
    let mut writer = TarWriter::create(&path).unwrap();
    writer.append(&first_emoji()).unwrap();
    writer.append(&Sample { key: "b".into(), ..first_emoji() }).unwrap();
    writer.finish().unwrap();
    fs::read(path).unwrap()
}

fn parquet(home: &Path) -> Vec<u8> {
    let path = home.join("seed.parquet");
    let origin = Origin { model: "m".into(), samples: "s".into(), data: Vec::new(), fields: Vec::new() };
    let mut file = EmbeddingFile::create(&path, 4, &origin).unwrap();
    let vectors = ndarray::Array2::from_shape_fn((8, 4), |(row, column)| (row * 4 + column) as f32);
    let keys: Vec<String> = (0..8).map(|row| format!("key-{row}")).collect();
    let items = Items { modality: "image".into(), sources: keys.clone(), keys, content: (0..8).collect(), vectors };
    file.add(items).unwrap();
    file.finish().unwrap();
    fs::read(path).unwrap()
}

/// Three parsers that read tensors: of a model, of a published one, and a directory's list of files.
fn of_models(home: &Path) -> [Parser; 3] {
    let path = home.join("mutant.safetensors");
    let tensor = |name: &str, shape: &[usize]| NamedTensor {
        name: name.into(),
        shape: shape.to_vec(),
        values: vec![0.5; shape.iter().product()],
    };
    write_safetensors(&path, &[tensor("a.weight", &[3, 4]), tensor("a.bias", &[3])], &Default::default()).unwrap();
    let seed = fs::read(&path).unwrap();
    let (published, directory) = (home.join("published"), home.join("directory"));
    readers::manifest(&directory, b"");
    write_manifest(&directory).unwrap();
    let manifest = fs::read(directory.join("manifest.json")).unwrap();
    [
        Parser {
            name: "published",
            seed: seed.clone(),
            read: Box::new(move |bytes| readers::published(&published, bytes)),
        },
        Parser { name: "safetensors", seed, read: Box::new(move |bytes| readers::tensors(&path, bytes)) },
        Parser { name: "manifest", seed: manifest, read: Box::new(move |bytes| readers::manifest(&directory, bytes)) },
    ]
}

fn tokenizer() -> Parser {
    let config = TextConfig { context: 12, ..TextConfig::default() };
    let texts = ["a smiling face", "a cat with a wry smile", "flag: France"].map(str::to_owned);
    let trained = TextModality::fit(config.clone(), &mut texts.into_iter()).unwrap();
    let read = move |bytes: &[u8]| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let Ok(modality) = TextModality::load(config.clone(), text) else { return };
        let fields = [("text".to_owned(), Value::Text("a cat's smile 😀".into()))].into();
        let _ = sensorium::contract::Modality::decode(&modality, &Sample { key: "a".into(), fields });
    };
    Parser { name: "tokenizer.json", seed: trained.tokenizer_json().into_bytes(), read: Box::new(read) }
}

#[test]
fn changed_files_are_read_or_refused() {
    mutants(150);
}

#[test]
#[ignore = "long: `tests/faults`"]
fn ten_thousand_changed_files_are_read_or_refused() {
    mutants(10_000);
}
