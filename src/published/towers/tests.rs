//! A checkpoint's towers give the vectors that the checkpoint gives.

use std::{fs, io::Cursor};

use image::{ImageFormat, RgbImage};
use sensorium_contract::{Array, Embedder, Preparation, Sample, Value};
use sensorium_objectives::{ContrastiveConfig, PairwiseSigmoidConfig};
use sensorium_state::{read_arrays, write_arrays};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::Published;

/// A reference case with a tokenizer whose texts begin and end with these ids, and with these settings of pictures.
fn checkpoint(case: &str, [first, last]: [usize; 2], words: usize, pictures: &serde_json::Value) -> Option<TempDir> {
    let shared = match std::env::var_os("SENSORIUM_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
    };
    let from = shared.join("parity").join(case);
    if !from.exists() {
        println!("skipped: the reference cases are not here (SENSORIUM_SHARED)");
        return None;
    }
    let home = TempDir::new().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(from.join(file), home.path().join(file)).unwrap();
    }
    let name = |id: usize| match id {
        _ if id == first => "[CLS]".to_owned(),
        _ if id == last => "[SEP]".to_owned(),
        _ => format!("w{id}"),
    };
    let vocabulary: serde_json::Map<String, serde_json::Value> = (0..words).map(|id| (name(id), id.into())).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": { "type": "BertProcessing", "cls": ["[CLS]", first], "sep": ["[SEP]", last] },
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "w3" },
    });
    fs::write(home.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(home.path().join("preprocessor_config.json"), pictures.to_string()).unwrap();
    Some(home)
}

/// Texts of different lengths, one beyond every context, and pictures of different shapes.
fn samples() -> Vec<Sample> {
    let long = "w8 w11 ".repeat(40);
    let texts = ["w5 w9 w17", "w6", " w20 w21 w22 w5 w6 w7 unheard w9", long.as_str()];
    let sizes = [(32, 32), (50, 37), (33, 61), (20, 24)];
    let sample = |(number, (text, (width, height))): (usize, (&str, (u32, u32)))| {
        let picture = RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 7 + number as u32 * 40) as u8, (y * 5) as u8, (x * y) as u8])
        });
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, ImageFormat::Png).unwrap();
        let fields = [("text", Value::Text(text.to_owned())), ("image", Value::Bytes(file.into_inner().into()))];
        Sample { key: number.to_string(), fields: fields.map(|(name, value)| (name.to_owned(), value)).into() }
    };
    texts.into_iter().zip(sizes).enumerate().map(sample).collect()
}

fn vectors(model: &dyn Embedder, preparation: &Preparation) -> BTreeMap<String, Vec<f32>> {
    let decode = |sample: Sample| (sample.key.clone(), preparation.decode(&sample).unwrap());
    let batch = preparation.collate(samples().into_iter().map(decode).collect());
    let found = model.embed(&batch).into_iter();
    found.map(|(name, found)| (name.to_string(), found.vectors.into_iter().collect())).collect()
}

/// Both models' vectors differ by rounding alone.
fn assert_same(directory: &Path, kinds: &[&str]) {
    let published = Published::open(directory, &Device::default()).unwrap();
    let own = of_towers(directory, &Device::default()).unwrap();
    let expected = vectors(&published, published.preparation());
    let found = vectors(&own, own.preparation());
    assert_eq!(found.keys().collect::<Vec<_>>(), kinds);
    for (kind, found) in found {
        assert_eq!(found.len(), expected[&kind].len());
        let far = found.iter().zip(&expected[&kind]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{kind}: {far:.1e}");
        assert!(far < 1e-5, "{}: {kind} differs by {far}", directory.display());
    }
}

#[test]
fn texts_have_the_vectors_of_the_checkpoint() {
    for (case, ends, words) in [
        ("bert", [2, 1], 98),
        // Fewer words than the model knows.
        ("bert", [2, 1], 90),
        ("distilbert", [2, 1], 98),
        ("roberta", [0, 2], 98),
        ("esm", [0, 2], 32),
        // Relative positions.
        ("t5", [2, 1], 98),
        ("t5-v1_1", [2, 1], 98),
        // Of these the last token.
        ("gpt2", [2, 1], 98),
        ("openai-gpt", [2, 1], 98),
        ("llama", [2, 1], 98),
    ] {
        let Some(home) = checkpoint(case, ends, words, &json!({})) else { return };
        assert_same(home.path(), &["text"]);
        let pooling = home.path().join("1_Pooling");
        fs::create_dir(&pooling).unwrap();
        fs::write(pooling.join("config.json"), r#"{"pooling_mode_cls_token": true}"#).unwrap();
        assert_same(home.path(), &["text"]);
    }
}

#[test]
fn pictures_have_the_vectors_of_the_checkpoint() {
    let larger = json!({ "size": { "shortest_edge": 40 }, "crop_size": 32, "do_center_crop": true });
    for (case, settings, kinds) in [
        ("vit", json!({}), ["image"].as_slice()),
        ("dinov2", larger.clone(), ["image"].as_slice()),
        // Of another size than the checkpoint's positions, and cut from a stretched picture.
        ("dinov2", json!({ "size": { "height": 40, "width": 30 }, "crop_size": 24 }), ["image"].as_slice()),
        ("clip", json!({}), ["image", "text"].as_slice()),
        ("clip", larger.clone(), ["image", "text"].as_slice()),
        // Texts filled up to 24 tokens that are read, and a probe that reads the patches.
        ("siglip", larger.clone(), ["image", "text"].as_slice()),
        ("flava", larger.clone(), ["image", "text"].as_slice()),
        ("vit_mae", larger, ["image"].as_slice()),
    ] {
        let Some(home) = checkpoint(case, [96, 97], 98, &settings) else { return };
        assert_same(home.path(), kinds);
    }
}

#[test]
fn a_pooler_gives_the_vectors_of_pictures() {
    let Some(home) = checkpoint("vit", [2, 1], 98, &json!({})) else { return };
    let weights = home.path().join("model.safetensors");
    let mut tensors = read_arrays(&weights).unwrap();
    let values = |shape: &[usize]| {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|at| ((at * 37 % 101) as f32 - 50.0) / 100.0).collect();
        Array::F32(ndarray::ArrayD::from_shape_vec(shape.to_vec(), values).unwrap())
    };
    tensors.insert("vit.pooler.dense.weight".to_owned(), values(&[32, 32]));
    tensors.insert("vit.pooler.dense.bias".to_owned(), values(&[32]));
    write_arrays(&weights, &tensors, &BTreeMap::new()).unwrap();
    assert_same(home.path(), &["image"]);
}

#[test]
fn contrast_goes_on_from_what_was_learned() {
    let number = |home: &Path, name: &str| match read_arrays(&home.join("model.safetensors")).unwrap().remove(name) {
        Some(Array::F32(values)) => values.into_iter().next().unwrap(),
        _ => panic!("no `{name}`"),
    };
    let begun = |home: &Path, mut objective: ObjectiveConfig| {
        let config = |json| serde_json::from_value(json).unwrap();
        let mut modalities: BTreeMap<Name, ModalityConfig> = BTreeMap::from([
            (Name::new("image"), config(json!({ "kind": "image" }))),
            (Name::new("caption"), config(json!({ "kind": "text" }))),
        ]);
        let mut model: ModelConfig =
            serde_json::from_value(json!({ "topology": "towers", "towers": { "image": {}, "caption": {} } })).unwrap();
        let start = start_from(home).unwrap();
        start.begin(&mut modalities, &mut model, std::slice::from_mut(&mut objective)).unwrap();
        objective
    };
    let Some(home) = checkpoint("clip", [96, 97], 98, &json!({})) else { return };
    let learned = begun(home.path(), ObjectiveConfig::Contrastive(ContrastiveConfig::default()));
    let ObjectiveConfig::Contrastive(learned) = learned else { unreachable!() };
    assert_eq!(learned.temperature, (-number(home.path(), "logit_scale")).exp());
    let Some(home) = checkpoint("siglip", [96, 97], 98, &json!({})) else { return };
    let learned = begun(home.path(), ObjectiveConfig::PairwiseSigmoid(PairwiseSigmoidConfig::default()));
    let ObjectiveConfig::PairwiseSigmoid(learned) = learned else { unreachable!() };
    let expected = [number(home.path(), "logit_scale").exp(), number(home.path(), "logit_bias")];
    assert_eq!([learned.scale, learned.bias], expected);
    // Another kind of contrast begins as the recipe says.
    let own = begun(home.path(), ObjectiveConfig::Contrastive(ContrastiveConfig::default()));
    assert_eq!(own, ObjectiveConfig::Contrastive(ContrastiveConfig::default()));
}

#[test]
fn what_cannot_be_trained_is_said() {
    let Some(home) = checkpoint("bart", [2, 1], 98, &json!({})) else { return };
    let message = of_towers(home.path(), &Device::default()).unwrap_err().to_string();
    assert!(message.contains("family Bart") && message.contains("Bert, Roberta"), "{message}");
    let Some(home) = checkpoint("clip", [96, 97], 98, &json!({})) else { return };
    fs::remove_file(home.path().join("tokenizer.json")).unwrap();
    assert_same(home.path(), &["image"]);
    let Some(home) = checkpoint("bert", [2, 1], 120, &json!({})) else { return };
    let message = of_towers(home.path(), &Device::default()).unwrap_err().to_string();
    assert!(message.contains("120 tokens") && message.contains("reads 98"), "{message}");
}
