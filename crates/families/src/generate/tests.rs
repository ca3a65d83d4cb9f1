//! Greedy continuations of the reference cases.

use std::{collections::BTreeMap, fs, path::Path};

use burn::tensor::Device;
use ndarray::{Array2, Axis};
use sensorium_contract::Array;
use serde::Deserialize;

use super::*;
use crate::{
    Checkpoint,
    tests::{case, shared},
};

/// What a case says of one row.
#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    prompt: Vec<i64>,
    decoder_start: Option<i64>,
    continuation: Vec<i64>,
}

#[derive(Deserialize)]
struct Continuations {
    rows: Vec<Row>,
}

/// One row of some inputs.
fn of_row(inputs: &BTreeMap<String, Array>, row: usize) -> BTreeMap<String, Array> {
    inputs.iter().map(|(name, array)| (name.clone(), array.select(&[row]))).collect()
}

/// Greedy, no id twice.
fn greedy(tokens: usize, cache: bool) -> Sampling {
    Sampling { tokens, no_repeat_ngram: 1, cache, ..Sampling::default() }
}

#[test]
fn continuations_agree_with_the_reference() {
    let Some(shared) = shared() else { return };
    for entry in fs::read_dir(shared.join("parity-generate")).unwrap() {
        let file = entry.unwrap().path();
        let expected: Continuations = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let folder = shared.join("parity").join(file.file_stem().unwrap());
        let checkpoint = Checkpoint::open(&folder, &Device::flex()).unwrap();
        let [inputs, _] = case(&folder);
        for (number, row) in expected.rows.iter().enumerate() {
            let inputs = of_row(&inputs, number);
            let start = row.decoder_start.map_or(row.prompt.clone(), |start| vec![start]);
            let (steps, what) = (row.continuation.len(), format!("{}, row {number}", file.display()));
            let network = checkpoint.network.generates().unwrap();
            let device = checkpoint.network.device();
            for cache in [true, false] {
                let mut told = Vec::new();
                let inputs = Inputs::new(&inputs, &device);
                let ids = generate(network, &inputs, &start, &greedy(steps, cache), &mut |id| told.push(id)).unwrap();
                assert_eq!(ids, row.continuation, "{what}, cache {cache}");
                assert_eq!(ids, told);
            }
        }
    }
}

/// Several rows at once, and several ids a step, answer as one pass over all of them.
#[test]
fn steps_agree_with_one_pass() {
    let Some(shared) = shared() else { return };
    for name in ["openai-gpt", "gpt2", "llama", "t5", "t5-v1_1", "bart", "whisper", "imagegpt"] {
        let folder = shared.join("parity").join(name);
        let checkpoint = Checkpoint::open(&folder, &Device::flex()).unwrap();
        let [mut inputs, _] = case(&folder);
        let key = if inputs.contains_key("decoder_input_ids") { "decoder_input_ids" } else { "input_ids" };
        if key == "input_ids" {
            inputs.remove("attention_mask");
        }
        let logits = checkpoint.answers(&inputs).unwrap().floats::<3>("logits").unwrap();
        let Array::I64(ids) = &inputs[key] else { panic!("{name}") };
        let ids = ids.clone().into_dimensionality().unwrap();
        let network = checkpoint.network.generates().unwrap();
        let mut reading = network.start(&Inputs::new(&inputs, &checkpoint.network.device())).unwrap();
        let mut read = 0;
        for tokens in [3, 1, 1] {
            let new = ids.slice_axis(Axis(1), (read..read + tokens).into()).to_owned();
            read += tokens;
            let found = network.step(&mut reading, &new).unwrap();
            let expected = of_one(logits.clone().narrow(1, read - 1, 1));
            let difference = (found - expected).abs().max().into_data().iter::<f32>().next().unwrap();
            assert!(difference < 1e-4, "{name}: {difference} after {read}");
        }
        assert_eq!(reading.tokens(), 5);
    }
}

/// Ids that cannot be read are errors, not panics.
#[test]
fn wrong_steps_are_refused() {
    let Some(shared) = shared() else { return };
    for name in ["openai-gpt", "gpt2", "llama", "t5", "bart", "whisper", "imagegpt"] {
        let folder: &Path = &shared.join("parity").join(name);
        let checkpoint = Checkpoint::open(folder, &Device::flex()).unwrap();
        let [inputs, _] = case(folder);
        let network = checkpoint.network.generates().unwrap();
        let mut reading = network.start(&Inputs::new(&inputs, &checkpoint.network.device())).unwrap();
        let mut step = |ids: Array2<i64>| network.step(&mut reading, &ids);
        assert!(step(Array2::zeros([2, 2])).is_ok(), "{name}");
        assert!(step(Array2::zeros([3, 1])).unwrap_err().to_string().contains("[2, tokens]"), "{name}");
        assert!(step(Array2::zeros([2, 0])).is_err(), "{name}");
        assert!(step(Array2::from_elem([2, 1], 98)).unwrap_err().to_string().contains("0 to 97"), "{name}");
        if !["llama", "t5"].contains(&name) {
            assert!(step(Array2::zeros([2, 100])).unwrap_err().to_string().contains("positions"), "{name}");
        }
    }
}
