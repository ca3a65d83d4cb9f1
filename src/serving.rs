//! What the server needs to know of a model and of an index.

use std::{collections::HashMap, path::Path, slice};

use ndarray::ArrayView1;
use sensorium_contract::{Name, Sample};
use sensorium_retrieve::{Index, Origin};
use sensorium_samples::Dataset;
use sensorium_serve::{Collection, Hit, Input, Kind};
use sensorium_state::checksum;

use crate::{AnyModel, Error, Reading, stored::samples_of};

impl AnyModel {
    /// The modalities, and how requests to a server fill them.
    pub fn inputs(&self) -> Vec<Input> {
        let kind = |reading: &Reading| match reading.kind {
            "text" => Kind::Text,
            "image" => Kind::Image,
            "audio" => Kind::Audio,
            _ => Kind::Row,
        };
        let input = |(name, reading): (Name, Reading)| Input { name, kind: kind(&reading), field: reading.field };
        self.readings().into_iter().map(input).collect()
    }
}

/// An index, and the samples that its vectors were made of.
pub struct IndexedItems {
    index: Index,
    samples: Result<Stored, String>,
}

/// Samples by key.
struct Stored {
    dataset: Dataset,
    places: HashMap<String, usize>,
}

impl IndexedItems {
    /// Opens an index and, where they still are, the samples that it says it was made of.
    ///
    /// # Errors
    /// If the index is damaged, or was made with another model.
    pub fn open(directory: &Path, model: &Path) -> Result<Self, Error> {
        let index = Index::open(directory)?;
        let samples = match index.origin() {
            Some(origin) if origin.model != checksum(model)? => {
                return Err(Error::OtherModel { index: directory.to_owned(), model: model.to_owned() });
            }
            Some(origin) => Stored::open(origin).map_err(|error| error.to_string()),
            None => Err("the index does not say what it was made of".to_owned()),
        };
        Ok(Self { index, samples })
    }

    /// Why items can be found, but not shown.
    pub fn problem(&self) -> Option<&str> {
        self.samples.as_ref().err().map(String::as_str)
    }
}

impl Stored {
    fn open(origin: &Origin) -> Result<Self, Error> {
        let dataset = samples_of(origin)?;
        let mut places = HashMap::new();
        for place in 0..dataset.len() {
            if let Ok(key) = dataset.key(place) {
                places.entry(key).or_insert(place);
            }
        }
        Ok(Self { dataset, places })
    }

    fn read(&self, key: &str) -> Result<Sample, String> {
        let place = self.places.get(key).ok_or_else(|| "the samples hold this key no more".to_owned())?;
        self.dataset.read(*place).map_err(|fault| fault.to_string())
    }
}

impl Collection for IndexedItems {
    fn width(&self) -> usize {
        self.index.description().width
    }

    fn modalities(&self) -> Vec<(Name, usize)> {
        self.index.description().modalities.iter().map(|(name, shelf)| (name.clone(), shelf.rows)).collect()
    }

    fn nearest(&self, vector: &[f32], to: &Name, k: usize) -> Result<Vec<Hit>, String> {
        let found = self.index.search(ArrayView1::from(vector), slice::from_ref(to), k, false);
        let found = found.map_err(|error| error.to_string())?;
        Ok(found.into_iter().map(|hit| Hit { key: hit.key, score: hit.score }).collect())
    }

    fn some(&self, count: usize) -> Vec<String> {
        let Ok(Stored { dataset, .. }) = &self.samples else { return Vec::new() };
        let count = count.min(dataset.len());
        (0..count).filter_map(|number| dataset.key(number * dataset.len() / count).ok()).collect()
    }

    fn modalities_of(&self, key: &str) -> Vec<Name> {
        self.index.items(key).into_iter().map(|item| item.modality).collect()
    }

    fn read(&self, key: &str) -> Result<Sample, String> {
        self.samples.as_ref().map_err(Clone::clone)?.read(key)
    }
}
