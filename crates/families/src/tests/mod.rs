//! Agreement with the reference cases of `SENSORIUM_SHARED`.

pub(crate) mod altered;
mod training;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use ndarray::{Array2, s};
use sensorium_contract::Array;
use sensorium_state::read_arrays;

use crate::{Checkpoint, TOWERS};

/// Largest difference of an answer's element from the reference.
const TOLERANCE: f32 = 1e-4;

pub(crate) fn shared() -> Option<PathBuf> {
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
    shared().map(|shared| in_folder(&shared.join(folder))).unwrap_or_default()
}

fn in_folder(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.join("io.safetensors").exists()).collect();
    cases.sort();
    cases
}

/// Inputs and outputs of a case.
pub(crate) fn case(path: &Path) -> [BTreeMap<String, Array>; 2] {
    let arrays = read_arrays(&path.join("io.safetensors")).unwrap();
    ["in.", "out."].map(|prefix| {
        let own =
            arrays.iter().filter_map(|(name, array)| Some((name.strip_prefix(prefix)?.to_owned(), array.clone())));
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
fn the_families_that_have_towers_are_listed() {
    for path in cases("parity") {
        let network = Checkpoint::open(&path, &Device::flex()).unwrap().network;
        assert_eq!(!network.towers([32, 32]).is_empty(), TOWERS.contains(&network.name()), "{}", path.display());
    }
}

/// Cases of other sizes, where someone made some (`tests/reference/checkpoints.py`).
#[test]
fn further_cases_agree() {
    let Some(folder) = std::env::var_os("SENSORIUM_CASES") else {
        println!("skipped: no further cases are named (SENSORIUM_CASES)");
        return;
    };
    let wrong: Vec<String> = in_folder(Path::new(&folder)).iter().filter_map(|path| disagreement(path)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn published_forms_are_read() {
    all_agree("parity-published");
}

/// What fills up a text and who is beside it change no bit of its vectors.
#[test]
fn texts_of_several_lengths_have_the_vectors_of_each_alone() {
    let Some(shared) = shared() else { return };
    for family in ["bert", "roberta", "distilbert", "clap"] {
        let path = shared.join("parity").join(family);
        let checkpoint = Checkpoint::open(&path, &Device::flex()).unwrap();
        let [inputs, _] = case(&path);
        let Array::I64(ids) = &inputs["input_ids"] else { panic!("ids are integers") };
        let (rows, tokens) = (ids.shape()[0], ids.shape()[1]);
        let length = |row: usize| tokens - 2 * row % tokens;
        let mask = Array2::from_shape_fn((rows, tokens), |(row, token)| token < length(row)).into_dyn();
        let given = [("input_ids", Array::I64(ids.clone())), ("attention_mask", Array::Bool(mask))];
        let features = |answers: BTreeMap<String, Array>| match &answers["last_hidden_state"] {
            Array::F32(features) => features.clone(),
            other => panic!("{other:?}"),
        };
        let together =
            features(checkpoint.vectors(&given.map(|(name, array)| (name.to_owned(), array)).into()).unwrap());
        for row in 0..rows {
            let own = ids.slice(s![row..=row, ..length(row)]).to_owned().into_dyn();
            let alone = features(checkpoint.forward(&[("input_ids".to_owned(), Array::I64(own))].into()).unwrap());
            assert_eq!(together.slice(s![row..=row, ..length(row), ..]).into_dyn(), alone.view(), "{family}");
        }
    }
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

/// A copy of a case that a test may damage.
fn copy(case: &str) -> Option<tempfile::TempDir> {
    let from = shared()?.join(case);
    let home = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), home.path().join(name)).unwrap();
    }
    Some(home)
}

/// The message with which a damaged checkpoint is refused, soon.
fn refused(directory: &Path) -> String {
    let start = std::time::Instant::now();
    let message = Checkpoint::open(directory, &Device::flex()).unwrap_err().to_string();
    assert!(start.elapsed().as_secs_f64() < 1.0, "{message}");
    message
}

/// Header and data of a safetensors file.
fn parts(path: &Path) -> (serde_json::Value, Vec<u8>) {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..8 + length]).unwrap(), bytes[8 + length..].to_vec())
}

fn write_parts(path: &Path, header: &serde_json::Value, data: &[u8]) {
    let header = header.to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn damaged_files_are_refused_by_name() {
    const NAME: &str = "bert.pooler.dense.bias";
    let Some(home) = copy("parity/bert") else { return };
    let path = home.path().join("model.safetensors");
    let (header, data) = parts(&path);
    let offsets = |change: fn(&mut u64, &mut u64)| {
        let mut header = header.clone();
        let place = &mut header[NAME]["data_offsets"];
        let [mut start, mut end] = [0, 1].map(|at| place[at].as_u64().unwrap());
        change(&mut start, &mut end);
        *place = serde_json::json!([start, end]);
        header
    };
    let mut wrong_shape = header.clone();
    wrong_shape[NAME]["shape"] = serde_json::json!([16, 2]);
    let mut unknown = header.clone();
    let entry = unknown.as_object_mut().unwrap().remove(NAME).unwrap();
    unknown["surprise"] = entry;
    for (header, said) in [
        (offsets(|start, _| *start -= 4), "lies at bytes"),
        (offsets(|_, end| *end += 4), "lies in 132 bytes"),
        (offsets(|start, end| (*start, *end) = (1 << 40, (1 << 40) + 128)), "lies at bytes"),
        (wrong_shape, "expected shape [32], found [16, 2]"),
        (unknown, "`surprise` is unknown"),
    ] {
        write_parts(&path, &header, &data);
        let message = refused(home.path());
        assert!(message.contains(said), "{message}");
    }
    let start = header[NAME]["data_offsets"][0].as_u64().unwrap() as usize;
    let mut nan = data.clone();
    nan[start..start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    write_parts(&path, &header, &nan);
    assert!(refused(home.path()).contains("`bert.pooler.dense.bias` holds NaN at element 0"));
    write_parts(&path, &header, &data[..data.len() - 1]);
    assert!(refused(home.path()).contains("its tensors end at byte"));
    std::fs::write(&path, [&((17_u64 << 20).to_le_bytes())[..], b"{"].concat()).unwrap();
    assert!(refused(home.path()).contains("its header claims 17825792 bytes"));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(home.path().join("pytorch_model.bin"), b"pickle").unwrap();
    assert!(refused(home.path()).contains("can hold code and is not read"));
}

#[test]
fn impossible_configurations_are_refused_by_key() {
    let Some(home) = copy("parity/bert") else { return };
    let path = home.path().join("config.json");
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (key, value, said) in [
        ("vocab_size", serde_json::json!(1_000_000_000_000_u64), "expected shape [1000000000000, 32]"),
        ("hidden_size", serde_json::json!(1_000_000_000_000_u64), "width 1000000000000"),
        ("num_hidden_layers", serde_json::json!(1_000_000_000_u64), "1000000000 layers"),
        ("num_attention_heads", serde_json::json!(0), "must be above 0"),
        ("hidden_act", serde_json::json!("mish"), "hidden_act"),
        ("model_type", serde_json::json!("mystery"), "model_type is `mystery`"),
        ("vocab_size", serde_json::json!(-1), "vocab_size"),
    ] {
        let mut changed = config.clone();
        changed[key] = value;
        std::fs::write(&path, changed.to_string()).unwrap();
        let message = refused(home.path());
        assert!(message.contains(said), "{message}");
    }
}

/// Writes a checkpoint with some tensors and configuration changed.
pub(crate) fn changed(
    from: &Path,
    to: &Path,
    config: impl FnOnce(&mut serde_json::Value),
    tensors: impl FnOnce(&mut BTreeMap<String, Array>),
) {
    let mut json = serde_json::from_slice(&std::fs::read(from.join("config.json")).unwrap()).unwrap();
    config(&mut json);
    std::fs::write(to.join("config.json"), json.to_string()).unwrap();
    let mut arrays = read_arrays(&from.join("model.safetensors")).unwrap();
    tensors(&mut arrays);
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = arrays
        .into_iter()
        .map(|(name, array)| match array {
            Array::F32(values) => {
                (name, values.shape().to_vec(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
            _ => panic!("{name} holds no floats"),
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let data = safetensors::serialize(views, None).unwrap();
    std::fs::write(to.join("model.safetensors"), data).unwrap();
}

/// A base model's own file has no head, and names without the family's prefix.
#[test]
fn base_models_answer_without_a_head() {
    let Some(shared) = shared() else { return };
    let cases = [
        ("llama", "model.", "lm_head.weight"),
        ("bart", "model.", "final_logits_bias"),
        ("whisper", "model.", ""),
        ("imagegpt", "transformer.", "lm_head.weight"),
    ];
    for (family, prefix, head) in cases {
        let (from, to) = (shared.join("parity").join(family), tempfile::tempdir().unwrap());
        let bare = |tensors: &mut BTreeMap<String, Array>| {
            let names = std::mem::take(tensors).into_iter().filter(|(name, _)| name != head);
            *tensors = names.map(|(name, array)| (name.strip_prefix(prefix).unwrap().to_owned(), array)).collect();
        };
        changed(&from, to.path(), |_| (), bare);
        let [inputs, _] = case(&from);
        let answers = [from.as_path(), to.path()]
            .map(|path| Checkpoint::open(path, &Device::flex()).unwrap().forward(&inputs).unwrap());
        let [with, without] = answers.each_ref().map(|answers| &answers["last_hidden_state"]);
        assert_eq!(with, without, "{family}");
    }
}

/// Inputs without tokens are an error, not a panic.
#[test]
fn empty_inputs_are_refused() {
    for path in cases("parity") {
        let Ok(checkpoint) = Checkpoint::open(&path, &Device::flex()) else { continue };
        let [mut inputs, _] = case(&path);
        let ids = inputs.values_mut().filter(|array| matches!(array, Array::I64(ids) if ids.ndim() == 2));
        let emptied = ids.map(|ids| *ids = Array::I64(ndarray::ArrayD::zeros(vec![2, 0]))).count();
        assert!(emptied == 0 || checkpoint.forward(&inputs).is_err(), "{}", path.display());
    }
}
