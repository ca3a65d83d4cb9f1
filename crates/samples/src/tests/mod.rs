//! Tests of the crate as a whole.

mod hostile;
mod layouts;
mod loader;
mod order;
mod parquet;
mod shared;
mod writer;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use ndarray::Array1;
use rand::Rng as _;
use sensorium_contract::{
    Array, Arrays, Fault, Head, Item, Masked, Modality, Name, Preparation, Rng, Sample, SampleFault, Value,
};

use crate::{Dataset, Origin, Piece, Source, SourceConfig, SourceError, TarWriter};

/// Opens one source below `base`.
fn open(path: &str, base: &Path) -> Result<Dataset, SourceError> {
    Dataset::open(&[SourceConfig::new(path)], base)
}

/// All samples, sorted by key.
fn all(dataset: &Dataset) -> Vec<Sample> {
    let mut samples: Vec<Sample> = (0..dataset.len()).map(|index| dataset.read(index).unwrap()).collect();
    samples.sort_by(|a, b| a.key.cmp(&b.key));
    samples
}

fn sample(key: &str, fields: &[(&str, Value)]) -> Sample {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Sample { key: key.to_owned(), fields }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn write_tar(path: &Path, samples: &[Sample]) {
    let mut writer = TarWriter::create(path).unwrap();
    samples.iter().for_each(|sample| writer.append(sample).unwrap());
    writer.finish().unwrap();
}

/// Reference data, if this machine has it.
fn shared() -> Option<PathBuf> {
    let fallback = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    let folder = std::env::var_os("SENSORIUM_SHARED").map_or_else(fallback, PathBuf::from);
    if !folder.is_dir() {
        eprintln!("skipped: no reference data at {}", folder.display());
        return None;
    }
    Some(folder)
}

/// Samples `0`, `1` … with the number as field `x`. Some may be damaged, and some pieces large.
#[derive(Default)]
struct Numbers {
    len: usize,
    damaged: Vec<usize>,
    /// A sample that the modality panics at.
    panics: Option<usize>,
    pieces: Vec<Piece>,
}

impl Source for Numbers {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, index: usize) -> Result<Sample, SampleFault> {
        let value = match () {
            () if self.damaged.contains(&index) => text("damaged"),
            () if self.panics == Some(index) => Value::Number(-1.0),
            () => Value::Number(index as f64),
        };
        Ok(sample(&index.to_string(), &[("x", value)]))
    }

    fn place(&self, index: usize) -> String {
        format!("number {index}")
    }

    fn pieces(&self) -> Vec<Piece> {
        self.pieces.clone()
    }

    fn origin(&self) -> Origin {
        Origin { path: "numbers".to_owned(), format: "numbers".to_owned(), files: 0 }
    }
}

fn numbers(len: usize) -> Dataset {
    damaged_numbers(len, &[])
}

fn damaged_numbers(len: usize, damaged: &[usize]) -> Dataset {
    let source = Numbers { len, damaged: damaged.to_vec(), ..Default::default() };
    Dataset::new(vec![(Arc::new(source), None)]).unwrap()
}

/// A modality of one number, which augmentation adds a random one to.
#[derive(Debug)]
struct NumberModality;

impl Modality for NumberModality {
    fn decode(&self, sample: &Sample) -> Result<Option<Item>, Fault> {
        match sample.fields.get("x") {
            None => Ok(None),
            Some(Value::Number(number)) if *number < 0.0 => panic!("the decoder's own error"),
            Some(Value::Number(number)) => {
                let numbers = Array1::from_elem(1, *number as f32).into_dyn();
                Ok(Some(Item { arrays: Arrays::default().with("x", Array::F32(numbers)), content: *number as u64 }))
            }
            Some(other) => Err(Fault::new("x", "not a number", other.kind())),
        }
    }

    fn augment(&self, item: Item, rng: &mut Rng) -> Item {
        let arrays = Arrays::default().with("x", Array::F32(item.arrays.f32("x") + (rng.next_u32() >> 16) as f32));
        Item { arrays, ..item }
    }

    fn collate(&self, items: &[Item]) -> Arrays {
        Arrays::default().with("x", items.iter().map(|item| item.arrays.f32("x").clone()).collect())
    }

    fn mask(&self, arrays: &Arrays, _rngs: &mut [Rng]) -> Masked {
        Masked { arrays: arrays.clone(), targets: Vec::new() }
    }

    fn heads(&self) -> Vec<Head> {
        Vec::new()
    }

    fn max_tokens(&self) -> usize {
        1
    }
}

fn preparation() -> Arc<Preparation> {
    let modality: Arc<dyn Modality> = Arc::new(NumberModality);
    Arc::new(Preparation { modalities: BTreeMap::from([(Name::new("x"), modality)]), ..Preparation::default() })
}
