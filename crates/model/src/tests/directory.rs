//! The model directory.

use std::{fs, path::Path};

use sensorium_contract::Embedder;

use super::*;
use crate::{CARD, LINEAGE, load, save};

fn saved(directory: &Path) -> (Model, std::path::PathBuf) {
    let model = model("fused", &[CONTRASTIVE, MATCHING]);
    let path = directory.join("model");
    let documents = [(CARD, "# A model\n".to_owned()), (LINEAGE, "{}\n".to_owned())];
    save(&path, &model, &batch(&model, &samples(3)), &documents).unwrap();
    (model, path)
}

#[test]
fn a_loaded_model_answers_bit_for_bit() {
    let home = tempfile::tempdir().unwrap();
    let (model, path) = saved(home.path());
    let loaded = load(&path, &Device::flex()).unwrap();
    assert_eq!(loaded.architecture(), model.architecture());
    // Prepared by the loaded one: its tokenizer and columns count too.
    let samples = samples(12);
    assert_eq!(batch(&loaded, &samples), batch(&model, &samples));
    assert_eq!(loaded.embed(&batch(&loaded, &samples)), model.valid().embed(&batch(&model, &samples)));
}

#[test]
fn a_changed_byte_is_refused_by_the_file_s_name() {
    let home = tempfile::tempdir().unwrap();
    let (_, path) = saved(home.path());
    let mut files = 0;
    for entry in fs::read_dir(&path).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let content = fs::read(&file).unwrap();
        for at in [0, content.len() / 2, content.len() - 1] {
            let mut changed = content.clone();
            changed[at] ^= 1;
            fs::write(&file, &changed).unwrap();
            let Err(error) = load(&path, &Device::flex()) else { panic!("byte {at} of {name} may change") };
            // A changed manifest may point at another file.
            assert!(error.to_string().contains(&name) || name == "manifest.json", "{name}: {error}");
        }
        fs::write(&file, &content[..content.len() - 2]).unwrap();
        assert!(load(&path, &Device::flex()).is_err(), "{name} may be cut");
        fs::remove_file(&file).unwrap();
        let error = load(&path, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains(&name), "{name}: {error}");
        fs::write(&file, &content).unwrap();
        files += 1;
    }
    assert!(files >= 8, "{files}");
    load(&path, &Device::flex()).unwrap();
}

#[test]
fn other_directories_are_refused() {
    let home = tempfile::tempdir().unwrap();
    for path in [home.path().to_owned(), home.path().join("absent")] {
        let error = load(&path, &Device::flex()).unwrap_err().to_string();
        assert!(error.contains("manifest.json") && error.contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_model_that_answers_otherwise_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (_, path) = saved(home.path());
    let toml = path.join("model.toml");
    // Another preprocessing, with a manifest that fits it.
    let text = fs::read_to_string(&toml).unwrap();
    let changed = text.replacen("activation = \"gelu\"", "activation = \"relu\"", 1);
    assert_ne!(text, changed, "{text}");
    fs::write(&toml, changed).unwrap();
    sensorium_state::write_manifest(&path).unwrap();
    let error = load(&path, &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("probe.safetensors") && error.contains("differ"), "{error}");
}
