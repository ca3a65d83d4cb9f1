//! The model directory: everything that an answer depends on.

use std::{collections::BTreeMap, fs, path::Path};

use burn::{module::Module, tensor::Device};
use sensorium_contract::{Array, Arrays, Batch, Embedder, Name, Part, Seed};
use sensorium_modalities::Modalities;
use sensorium_state::{
    MANIFEST, NonFinite, StateError, commit_dir, export, import, read_arrays, read_safetensors, verify, write_arrays,
    write_manifest, write_safetensors,
};

use crate::{Architecture, Model, ModelError};

/// What the model is, for people.
pub const CARD: &str = "card.md";
/// Where it comes from, for machines.
pub const LINEAGE: &str = "lineage.json";
const ARCHITECTURE: &str = "model.toml";
const WEIGHTS: &str = "model.safetensors";
const PROBE: &str = "probe.safetensors";
/// What a head's recorded answers begin with.
const HEAD: &str = "head";
/// Largest difference of an answer's elements that rounding may cause between builds and devices.
const ROUNDING: f32 = 1e-3;

/// Writes a model directory, whole or not at all. `probe` is a small batch whose answers are
/// recorded; `documents` are further files with their content.
///
/// # Errors
/// If something cannot be written.
pub fn save(path: &Path, model: &Model, probe: &Batch, documents: &[(&str, String)]) -> Result<(), ModelError> {
    let model = model.valid();
    commit_dir(path, |directory| {
        let toml = toml::to_string(model.architecture()).map_err(|error| toml_error(directory, &error))?;
        let learned = model.modalities().files();
        let texts = learned.iter().map(|(name, content)| (name.as_str(), content));
        let texts =
            texts.chain([(ARCHITECTURE, &toml)]).chain(documents.iter().map(|(name, content)| (*name, content)));
        for (name, content) in texts {
            write(&directory.join(name), content)?;
        }
        write_safetensors(&directory.join(WEIGHTS), &export(&model), &BTreeMap::new())?;
        write_arrays(&directory.join(PROBE), &recorded(&model, probe), &BTreeMap::new())?;
        write_manifest(directory)?;
        Ok(())
    })
}

/// Reads a model directory: verifies the checksums, builds the model on the device and compares its
/// answers with the recorded ones.
///
/// # Errors
/// Names the file that is missing, damaged or answers differently.
pub fn load(path: &Path, device: &Device) -> Result<Model, ModelError> {
    if !path.join(MANIFEST).exists() {
        let problem = format!("there is no `{MANIFEST}`: this is not a model directory");
        return Err(ModelError::Toml { path: path.to_owned(), problem });
    }
    verify(path)?;
    let toml = fs::read_to_string(path.join(ARCHITECTURE));
    let toml = toml.map_err(|error| StateError::io("read", &path.join(ARCHITECTURE), error))?;
    let architecture: Architecture = toml::from_str(&toml).map_err(|error| toml_error(path, &error))?;
    let modalities = Modalities::load(&architecture.modalities, path)?;
    let model = Model::new(&architecture, modalities, Seed::new(0), device)?;
    let weights = read_safetensors(&path.join(WEIGHTS), NonFinite::Refuse)?;
    let model = import(model, &weights.tensors)?;
    verify_answers(&model, path)?;
    Ok(model)
}

/// Compares a model's answers with those that were recorded in its directory.
///
/// # Errors
/// If they differ by more than rounding can cause.
pub fn verify_answers(model: &Model, path: &Path) -> Result<(), ModelError> {
    let path = path.join(PROBE);
    let arrays = read_arrays(&path)?;
    let model = model.valid();
    let batch = probe(model.preparation().modalities.keys(), &arrays);
    let vectors = model.embed(&batch).into_iter();
    let vectors = vectors.map(|(name, found)| (name.to_string(), Array::F32(found.vectors.into_dyn())));
    for (name, found) in vectors.chain(heads(&model, &batch)) {
        let (Some(Array::F32(expected)), Array::F32(found)) = (arrays.get(&format!("out.{name}")), found) else {
            continue;
        };
        let distance = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        if distance > ROUNDING || found.len() != expected.len() {
            return Err(ModelError::Answers { path, modality: name, found: distance, allowed: ROUNDING });
        }
    }
    Ok(())
}

/// A batch's arrays as `in.MODALITY.ARRAY`, and its vectors as `out.MODALITY`.
fn recorded(model: &Model, batch: &Batch) -> BTreeMap<String, Array> {
    let inputs = batch.parts.iter().flat_map(|(name, part)| {
        part.arrays.iter().map(move |(array, values)| (format!("in.{name}.{array}"), values.clone()))
    });
    let outputs = model.embed(batch).into_iter();
    let outputs = outputs.map(|(name, out)| (format!("out.{name}"), Array::F32(out.vectors.into_dyn())));
    inputs.chain(outputs).chain(heads(model, batch).map(|(name, said)| (format!("out.{name}"), said))).collect()
}

/// What the head says of the samples that have each modality, of that modality alone, as
/// `HEAD.MODALITY`.
fn heads(model: &Model, batch: &Batch) -> impl Iterator<Item = (String, Array)> {
    let names: Vec<Name> = model.preparation().modalities.keys().cloned().collect();
    let alone = |name: &Name| {
        let others: Vec<Name> = names.iter().filter(|other| *other != name).cloned().collect();
        let said = model.say(&batch.without(&others))?;
        Some((format!("{HEAD}.{name}"), Array::F32(said.logits.into_dyn())))
    };
    names.iter().filter_map(alone).collect::<Vec<_>>().into_iter()
}

fn probe<'a>(names: impl Iterator<Item = &'a Name>, arrays: &BTreeMap<String, Array>) -> Batch {
    let mut batch = Batch::default();
    for name in names {
        let prefix = format!("in.{name}.");
        let own = arrays.iter().filter_map(|(key, array)| Some((key.strip_prefix(&prefix)?, array)));
        let own: Arrays = own.fold(Arrays::default(), |all, (key, array)| all.with(key.to_owned(), array.clone()));
        let Some(rows) = own.iter().next().map(|(_, array)| array.shape()[0]) else { continue };
        // The recorded samples of different modalities need not be the same ones.
        batch.parts.insert(name.clone(), Part { rows: (0..rows).collect(), arrays: own, content: vec![0; rows] });
        batch.keys.resize(batch.keys.len().max(rows), String::new());
    }
    batch
}

fn write(path: &Path, content: &str) -> Result<(), StateError> {
    let written = fs::File::create(path).and_then(|mut file| {
        std::io::Write::write_all(&mut file, content.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| StateError::io("write", path, error))
}

fn toml_error(path: &Path, error: &dyn std::fmt::Display) -> ModelError {
    ModelError::Toml { path: path.join(ARCHITECTURE), problem: error.to_string() }
}
