//! A published checkpoint as a model directory, and back.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use sensorium_state::{MANIFEST, RawTensor, StateError, commit, commit_dir, verify, write_manifest, write_raw};
use serde_json::json;

use crate::{
    Checkpoint, FamilyError, LeftOut,
    checkpoint::CONFIG,
    tensors::{TensorFiles, WEIGHTS},
};

/// What a model directory is built from.
const ARCHITECTURE: &str = "model.toml";
/// Tokenizers, preprocessing and settings beside the weights, taken along as they are.
const BESIDE: [&str; 18] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "normalizer.json",
    "preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
];
/// Largest file that is taken along.
const BESIDE_LIMIT: u64 = 256 << 20;

/// What an import found.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The family's name.
    pub family: &'static str,
    /// `architectures` of the configuration.
    pub class: String,
    /// Parameters, tied ones counted once.
    pub parameters: usize,
    /// Tensors, by the type of their elements.
    pub tensors: BTreeMap<String, usize>,
    /// Tensors that the model does not use.
    pub left_out: Vec<LeftOut>,
    /// Files that were taken along.
    pub files: Vec<String>,
}

/// An error if a directory is there and not empty: nothing of anybody's is replaced.
fn require_free(path: &Path) -> Result<(), FamilyError> {
    let taken = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) || path.is_file();
    match taken {
        true => Err(FamilyError::Occupied(path.to_owned())),
        false => Ok(()),
    }
}

/// Reads a published checkpoint, checks that all of it is understood, and writes it as a model directory, whole
/// or not at all. Tensors keep their bytes and get the names of today.
///
/// # Errors
/// Those of [`Checkpoint::open`], and what keeps the directory from being written.
pub fn import(from: &Path, to: &Path, device: &Device) -> Result<Imported, FamilyError> {
    require_free(to)?;
    let checkpoint = Checkpoint::open(from, device)?;
    let imported = checkpoint.describe(from);
    let lineage = lineage(&checkpoint, from);
    let weights = checkpoint.into_weights();
    commit_dir(to, |directory| -> Result<(), FamilyError> {
        weights.write(directory, from, &imported.files)?;
        let family =
            format!("# A published checkpoint; `{CONFIG}` is its configuration.\nfamily = \"{}\"\n", imported.family);
        commit(&directory.join(ARCHITECTURE), family.as_bytes())?;
        commit(&directory.join("card.md"), card(&imported).as_bytes())?;
        commit(&directory.join("lineage.json"), lineage.as_bytes())?;
        write_manifest(directory)?;
        Ok(())
    })?;
    Ok(imported)
}

/// Opens a model directory that [`import`] wrote, its checksums compared, or a published checkpoint.
///
/// # Errors
/// As [`Checkpoint::open`]; names the file that was changed.
pub fn open(directory: &Path, device: &Device) -> Result<Checkpoint, FamilyError> {
    if directory.join(MANIFEST).exists() {
        verify(directory)?;
    }
    Checkpoint::open(directory, device)
}

/// Writes the published layout of a model directory: configuration, weights, and what came with them.
///
/// # Errors
/// As [`open`], and what keeps the directory from being written.
pub fn export(from: &Path, to: &Path, device: &Device) -> Result<Imported, FamilyError> {
    require_free(to)?;
    let checkpoint = open(from, device)?;
    let exported = checkpoint.describe(from);
    let weights = checkpoint.into_weights();
    commit_dir(to, |directory| weights.write(directory, from, &exported.files))?;
    Ok(exported)
}

impl Checkpoint {
    fn describe(&self, from: &Path) -> Imported {
        let mut tensors = BTreeMap::new();
        for theirs in self.places.values() {
            *tensors.entry(format!("{:?}", self.files.places[theirs].dtype)).or_default() += 1;
        }
        Imported {
            family: self.network.name(),
            class: self.config["architectures"][0].as_str().unwrap_or("not named").to_owned(),
            parameters: self.parameters(),
            tensors,
            left_out: self.left_out.clone(),
            files: BESIDE.iter().filter(|name| is_small_file(&from.join(name))).map(|&name| name.to_owned()).collect(),
        }
    }

    /// The tensors in their files; the network that was made of them is let go.
    fn into_weights(self) -> Weights {
        Weights { places: self.places, files: self.files }
    }
}

/// A checkpoint's tensors where they lie.
struct Weights {
    /// Published name of each, and its name in the files.
    places: BTreeMap<String, String>,
    files: TensorFiles,
}

impl Weights {
    /// Configuration, weights and the files beside them.
    fn write(&self, to: &Path, from: &Path, files: &[String]) -> Result<(), FamilyError> {
        for name in files.iter().map(String::as_str).chain([CONFIG]) {
            copy(&from.join(name), &to.join(name))?;
        }
        let tensors: Vec<RawTensor<'_>> =
            self.places.iter().map(|(name, theirs)| raw(&self.files, name, theirs)).collect();
        // The transformers library refuses files that do not say so.
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        Ok(write_raw(&to.join(WEIGHTS), &tensors, &metadata)?)
    }
}

fn raw<'a>(files: &'a TensorFiles, name: &'a str, theirs: &'a str) -> RawTensor<'a> {
    let place = &files.places[theirs];
    RawTensor {
        name,
        shape: &place.shape,
        dtype: place.dtype,
        bytes: place.bytes,
        read: Box::new(move || files.bytes(theirs).map_err(io::Error::other)),
    }
}

fn is_small_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.len() <= BESIDE_LIMIT)
}

fn copy(from: &Path, to: &Path) -> Result<(), StateError> {
    let io = |operation: &'static str, path: PathBuf| move |error| StateError::io(operation, &path, error);
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(io("create", folder.to_owned()))?;
    }
    let content = fs::read(from).map_err(io("read", from.to_owned()))?;
    commit(to, &content)
}

fn card(imported: &Imported) -> String {
    let left_out: String =
        imported.left_out.iter().map(|left| format!("* `{}`: {}\n", left.name, left.reason)).collect();
    format!(
        "# {} ({})\n\nA published checkpoint, taken in unchanged: {} parameters.\n\n{}",
        imported.family,
        imported.class,
        imported.parameters,
        if left_out.is_empty() { String::new() } else { format!("Left out of its files:\n\n{left_out}") },
    )
}

fn lineage(checkpoint: &Checkpoint, from: &Path) -> String {
    let mut files: Vec<String> = checkpoint
        .files
        .places
        .values()
        .filter_map(|place| Some(place.file.file_name()?.to_string_lossy().into_owned()))
        .collect();
    files.sort_unstable();
    files.dedup();
    let name = from.file_name().map(|name| name.to_string_lossy().into_owned());
    let lineage = json!({ "imported": { "from": name, "files": files }, "version": env!("CARGO_PKG_VERSION") });
    format!("{lineage:#}\n")
}
