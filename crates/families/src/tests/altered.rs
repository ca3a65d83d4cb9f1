//! Reference cases with another configuration and other tensors, for what no case covers.

use std::collections::BTreeMap;

use burn::tensor::Device;
use sensorium_contract::Array;
use sensorium_state::{read_arrays, write_arrays};
use serde_json::Value;

use super::{case, shared};
use crate::{Checkpoint, FamilyError};

/// A checkpoint that may not open, and the inputs of the case that it was made from.
pub(crate) struct Altered {
    pub checkpoint: Result<Checkpoint, FamilyError>,
    pub inputs: BTreeMap<String, Array>,
}

impl Altered {
    /// Nothing if the reference cases are not here.
    pub fn open(family: &str, config: Value, tensors: impl FnOnce(&mut BTreeMap<String, Array>)) -> Option<Self> {
        let path = shared()?.join("parity").join(family);
        let mut altered: Value = serde_json::from_slice(&std::fs::read(path.join("config.json")).unwrap()).unwrap();
        for (key, value) in config.as_object().unwrap() {
            altered[key] = value.clone();
        }
        let mut arrays = read_arrays(&path.join("model.safetensors")).unwrap();
        tensors(&mut arrays);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config.json"), altered.to_string()).unwrap();
        write_arrays(&directory.path().join("model.safetensors"), &arrays, &BTreeMap::new()).unwrap();
        let checkpoint = Checkpoint::open(directory.path(), &Device::flex());
        let [inputs, _] = case(&path);
        Some(Self { checkpoint, inputs })
    }

    /// An answer to the case's inputs.
    pub fn answer(&self, name: &str) -> Vec<f32> {
        let answers = self.checkpoint.as_ref().unwrap().forward(&self.inputs).unwrap();
        match &answers[name] {
            Array::F32(values) => values.iter().copied().collect(),
            other => panic!("{other:?}"),
        }
    }

    /// How far an answer is from another checkpoint's. A table read as it lies and a layer of its own add the same
    /// products in another order.
    pub fn distance(&self, other: &Self, name: &str) -> f32 {
        let pairs = self.answer(name).into_iter().zip(other.answer(name));
        pairs.map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
    }

    /// Why it does not open.
    pub fn problem(&self) -> String {
        self.checkpoint.as_ref().unwrap_err().to_string()
    }
}
