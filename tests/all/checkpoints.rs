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

/// A case as a checkpoint with one more file beside it.
fn with_file(case: &str, name: &str, content: &str) -> Option<tempfile::TempDir> {
    let from = shared().join("parity").join(case);
    if !from.exists() {
        println!("skipped: the reference cases are not here (SENSORIUM_SHARED)");
        return None;
    }
    let home = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(from.join(file), home.path().join(file)).unwrap();
    }
    fs::write(home.path().join(name), content).unwrap();
    Some(home)
}

/// Half a second of 16 kHz, 16 bits.
fn wav() -> Vec<u8> {
    let samples = (0..8000_i32).flat_map(|i| (((i * i / 97) % 2000) as i16).to_le_bytes());
    let mut bytes =
        b"RIFF\xa4\x3e\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\x80\x3e\0\0".to_vec();
    bytes.extend(samples);
    bytes
}

#[test]
fn a_sound_is_written_down() {
    // 32 frames, as many as the case's encoder reads.
    let settings = r#"{"feature_size": 20, "chunk_length": 0.32}"#;
    let Some(home) = with_file("whisper", "preprocessor_config.json", settings) else { return };
    let sound = home.path().join("sound.wav");
    fs::write(&sound, wav()).unwrap();
    let mut arguments = vec!["generate", text(home.path()), "--audio", text(&sound), "--tokens", "5", "--ignore-end"];
    let said = succeed(&arguments);
    assert_eq!(said.trim().split(',').filter(|id| id.parse::<u32>().is_ok()).count(), 5, "{said}");
    let first = said.split(',').next().unwrap();
    fs::write(
        home.path().join("generation_config.json"),
        format!(r#"{{"decoder_start_token_id": 3, "begin_suppress_tokens": [{first}]}}"#),
    )
    .unwrap();
    assert_ne!(succeed(&arguments).split(',').next().unwrap(), first, "it may not come first");
    arguments.extend(["--language", "fr"]);
    assert!(fail(&arguments, 1).contains("language: `fr` is not known"));
    assert!(fail(&["generate", text(home.path()), "--text", "a"], 1).contains("give --audio"));
}

#[test]
fn a_picture_is_completed() {
    let colours: Vec<String> =
        (0..97).map(|id| format!("[{}, {}, 0]", id as f32 / 48.5 - 1.0, 1.0 - id as f32 / 48.5)).collect();
    let settings = format!(r#"{{"size": {{"height": 4, "width": 6}}, "clusters": [{}]}}"#, colours.join(","));
    let Some(home) = with_file("imagegpt", "preprocessor_config.json", &settings) else { return };
    let picture = shared().join("stamps/img/0000.png");
    let out = home.path().join("out.png");
    let arguments = ["generate", text(home.path()), "--image", text(&picture), "--out", text(&out)];
    let said = succeed(&arguments);
    assert!(said.contains("4 x 6") || said.contains("6 x 4"), "{said}");
    assert!(fs::read(&out).unwrap().starts_with(b"\x89PNG"));
    assert!(
        fail(&["generate", text(home.path()), "--audio", text(&picture)], 1)
            .contains("only models of the family Whisper")
    );
    assert!(fail(&arguments[..4], 2).contains("--out"));
}

#[test]
fn sixteen_bits_answer_alike() {
    for case in cases().into_iter().take(1) {
        let home = tempfile::tempdir().unwrap();
        let [inputs, exact, rounded] =
            ["in.safetensors", "exact.safetensors", "rounded.safetensors"].map(|name| home.path().join(name));
        let io = read_arrays(&case.join("io.safetensors")).unwrap();
        let given = io.iter().filter_map(|(name, array)| Some((name.strip_prefix("in.")?.to_owned(), array.clone())));
        write_arrays(&inputs, &given.collect(), &Default::default()).unwrap();
        let forward = |out: &Path, dtype| {
            succeed(&["forward", text(&case), "--inputs", text(&inputs), "--out", text(out), "--dtype", dtype]);
            read_arrays(out).unwrap()
        };
        let (exact, rounded) = (forward(&exact, "f32"), forward(&rounded, "bf16"));
        for (name, exact) in exact {
            let (Array::F32(exact), Array::F32(rounded)) = (exact, &rounded[&name]) else { continue };
            let largest = exact.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let difference = exact.iter().zip(rounded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(difference > 0.0 && difference < 0.05 * largest, "{name} differs by {difference} of {largest}");
        }
    }
    let message = fail(&["forward", "absent", "--inputs", "a", "--out", "b", "--dtype", "int8"], 2);
    assert!(message.contains("bf16"), "{message}");
}
