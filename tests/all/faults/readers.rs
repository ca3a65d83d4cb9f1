//! Bytes into each parser that is ours: what the mutants here and the targets of `fuzz/` both run.

use std::{fs, path::Path};

use burn::tensor::Device;
use sensorium_contract::{Modality, Name, Sample, Value};
use sensorium_families::Checkpoint;
use sensorium_modalities::audio::{Audio, AudioConfig};
use sensorium_recipe::Recipe;
use sensorium_samples::{Dataset, SourceConfig};
use sensorium_state::{NonFinite, read_arrays, read_safetensors, verify};

/// The configuration of the smallest published model.
const CONFIG: &str = r#"{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 4, "n_layer": 1, "n_head": 1, "vocab_size": 8, "n_positions": 8}"#;

/// A file of samples, whose extension says what it is: all are read.
pub fn samples(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    let source = SourceConfig::new(path.display().to_string());
    let Ok(dataset) = Dataset::open(&[source], Path::new("/")) else { return };
    for index in 0..dataset.len().min(100) {
        let _ = dataset.read(index);
    }
}

/// A model's or checkpoint's tensors.
pub fn tensors(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    let _ = read_safetensors(path, NonFinite::Refuse);
    let _ = read_arrays(path);
}

/// The tensors of a published model, whose header is read by our own code.
pub fn published(folder: &Path, bytes: &[u8]) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.json"), CONFIG).unwrap();
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
    let _ = Checkpoint::open(folder, &Device::flex());
}

/// A directory's list of files, of which one is there.
pub fn manifest(folder: &Path, bytes: &[u8]) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("a"), b"content").unwrap();
    fs::write(folder.join("manifest.json"), bytes).unwrap();
    let _ = verify(folder);
}

/// A recipe.
pub fn recipe(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(recipe) = Recipe::parse(text, Path::new("/recipe.toml"), &[]) {
        let _ = recipe.train.check();
    }
}

/// Reads a sound as the first half second of a WAV file.
pub fn sounds() -> impl Fn(&[u8]) {
    let config = AudioConfig { rate: 8000, seconds: 0.5, mels: 16, fft: 256, window: 200, ..AudioConfig::default() };
    let audio = Audio::new(&Name::new("audio"), config).unwrap();
    move |bytes| {
        let fields = [("audio".to_owned(), Value::Bytes(bytes.into()))].into();
        let _ = audio.decode(&Sample { key: "a".into(), fields });
    }
}
