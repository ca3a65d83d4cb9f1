//! Published checkpoints through the binary.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sensorium::contract::Array;
use sensorium_state::{NonFinite, read_arrays, read_safetensors, write_arrays};

use crate::{
    program::{fail, succeed},
    recipes::shared,
};

fn cases() -> Vec<PathBuf> {
    let cases = ["parity/bert", "parity-published/llama", "parity/whisper"].map(|case| shared().join(case));
    if !cases[0].exists() {
        println!("skipped: the reference cases are not here (SENSORIUM_SHARED)");
        return Vec::new();
    }
    cases.to_vec()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_checkpoint_goes_in_runs_and_comes_out() {
    for case in cases() {
        let home = tempfile::tempdir().unwrap();
        let [model, inputs, answers, out] =
            ["model", "in.safetensors", "out.safetensors", "published"].map(|name| home.path().join(name));
        let said = succeed(&["import", text(&case), text(&model)]);
        assert!(said.contains("parameters"), "{said}");
        let io = read_arrays(&case.join("io.safetensors")).unwrap();
        let part = |prefix: &str| {
            io.iter().filter_map(|(name, array)| Some((name.strip_prefix(prefix)?.to_owned(), array.clone()))).collect()
        };
        write_arrays(&inputs, &part("in."), &Default::default()).unwrap();
        for from in [&model, &out] {
            if from == &out {
                succeed(&["export", text(&model), text(&out)]);
            }
            succeed(&["forward", text(from), "--inputs", text(&inputs), "--out", text(&answers)]);
            let found = read_arrays(&answers).unwrap();
            for (name, expected) in part("out.") {
                let (Array::F32(expected), Array::F32(found)) = (expected, &found[&name]) else { continue };
                let difference = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(difference <= 1e-4, "{}: {name} differs by {difference}", case.display());
            }
        }
        assert_same_tensors(&model, &out);
        let message = fail(&["import", text(&case), text(&out)], 1);
        assert!(message.contains("is not empty"), "{message}");
    }
}

/// The exported file holds the imported tensors, bit for bit.
fn assert_same_tensors(model: &Path, out: &Path) {
    let read = |folder: &Path| read_safetensors(&folder.join("model.safetensors"), NonFinite::Refuse).unwrap().tensors;
    let (own, exported) = (read(model), read(out));
    assert!(!own.is_empty() && own == exported);
}

#[test]
fn a_changed_model_directory_is_refused() {
    for case in cases().into_iter().take(1) {
        let home = tempfile::tempdir().unwrap();
        let model = home.path().join("model");
        succeed(&["import", text(&case), text(&model)]);
        let weights = model.join("model.safetensors");
        let mut bytes = fs::read(&weights).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&weights, bytes).unwrap();
        let message = fail(&["export", text(&model), text(&home.path().join("out"))], 1);
        assert!(message.contains("model.safetensors") && message.contains("has changed"), "{message}");
        assert!(!home.path().join("out").exists());
    }
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    for case in cases().into_iter().take(1) {
        let home = tempfile::tempdir().unwrap();
        let [model, table, out] = ["model", "table.csv", "E.parquet"].map(|name| home.path().join(name));
        fs::create_dir(&model).unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(case.join(file), model.join(file)).unwrap();
        }
        let words: Vec<String> = (0..200).map(|id| format!("\"word{id}\":{id}")).collect();
        let vocabulary = format!("{{\"[UNK]\":200,\"[CLS]\":201,\"[SEP]\":202,{}}}", words.join(","));
        let tokenizer = format!(
            r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
            "pre_tokenizer":{{"type":"Whitespace"}},"post_processor":null,"decoder":null,
            "model":{{"type":"WordLevel","vocab":{vocabulary},"unk_token":"[UNK]"}}}}"#
        );
        fs::write(model.join("tokenizer.json"), tokenizer).unwrap();
        fs::write(&table, "key,text\na,word3\n").unwrap();
        let message = fail(&["embed", text(&model), text(&table), "--out", text(&out), "--quiet"], 1);
        assert!(message.contains("preprocessing of texts does not fit the model"), "{message}");
        assert!(!out.exists());
    }
}
