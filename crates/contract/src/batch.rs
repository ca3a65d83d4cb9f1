use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use rand::RngExt;

use crate::{Arrays, Fault, Modality, Name, Sample, Seed};

/// One modality of one sample, ready for a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Arrays without a batch axis.
    pub arrays: Arrays,
    /// Equal for equal raw content: the same caption, the same picture. Two samples that share it
    /// are never each other's negatives.
    pub content: u64,
}

/// The modalities, and the targets, that a sample has.
pub type Decoded = BTreeMap<Name, Item>;

/// One modality of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The samples that have the modality, ascending.
    pub rows: Vec<usize>,
    /// Arrays with a first axis as long as `rows`.
    pub arrays: Arrays,
    /// [`Item::content`] of each row.
    pub content: Vec<u64>,
}

/// Samples ready for a model, on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// One key a sample.
    pub keys: Vec<String>,
    /// What there is of each modality and target; one that no sample has is absent.
    pub parts: BTreeMap<Name, Part>,
}

impl Batch {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The samples in which any of the given modalities is present, ascending.
    pub fn rows_with_any(&self, names: &[Name]) -> Vec<usize> {
        let parts = names.iter().filter_map(|name| self.parts.get(name));
        parts.flat_map(|part| part.rows.iter().copied()).collect::<BTreeSet<usize>>().into_iter().collect()
    }

    /// The batch without the parts of these names.
    pub fn without(&self, names: &[Name]) -> Self {
        let parts = self.parts.iter().filter(|(name, _)| !names.contains(name));
        Self { keys: self.keys.clone(), parts: parts.map(|(name, part)| (name.clone(), part.clone())).collect() }
    }

    /// The samples in which all of the given modalities are present, ascending.
    pub fn rows_with(&self, names: &[Name]) -> Vec<usize> {
        let has = |row: &usize, name| self.parts.get(name).is_some_and(|part| part.rows.binary_search(row).is_ok());
        (0..self.len()).filter(|row| names.iter().all(|name| has(row, name))).collect()
    }

    /// The arrays of one modality for the given samples, all of which must have it.
    ///
    /// # Panics
    /// If one does not: callers take rows from [`Batch::rows_with`].
    pub fn arrays(&self, name: &Name, rows: &[usize]) -> Arrays {
        let part = &self.parts[name];
        if part.rows == rows {
            return part.arrays.clone();
        }
        part.arrays.select(&part.places(rows))
    }

    /// The content hashes of one modality for the given samples, all of which must have it.
    ///
    /// # Panics
    /// If one does not: callers take rows from [`Batch::rows_with`].
    pub fn content(&self, name: &Name, rows: &[usize]) -> Vec<u64> {
        let part = &self.parts[name];
        part.places(rows).into_iter().map(|place| part.content[place]).collect()
    }
}

impl Part {
    fn places(&self, rows: &[usize]) -> Vec<usize> {
        let place = |row: &usize| match self.rows.binary_search(row) {
            Ok(place) => place,
            Err(_) => panic!("row {row} lacks the modality"),
        };
        rows.iter().map(place).collect()
    }
}

/// What a sample should be told by: a label. It travels with the batch as a part of its own, which
/// no encoder reads.
pub trait Target: Send + Sync + fmt::Debug {
    /// The truth of one sample; nothing if it is not known.
    ///
    /// # Errors
    /// A value that the target does not know.
    fn decode(&self, sample: &Sample) -> Result<Option<Item>, Fault>;

    /// The arrays of several samples, each with a first axis `rows`.
    fn collate(&self, items: &[Item]) -> Arrays;
}

/// How samples become batches: the modalities of a recipe, with everything that they learned from
/// data (tokenizer, column schema).
#[derive(Clone, Debug, Default)]
pub struct Preparation {
    /// Modalities by name.
    pub modalities: BTreeMap<Name, Arc<dyn Modality>>,
    /// What is predicted, by names that no modality has.
    pub targets: BTreeMap<Name, Arc<dyn Target>>,
    /// The chance of each modality of a sample to be left out while training, but for one that
    /// always stays.
    pub dropout: f32,
}

impl Preparation {
    /// The modalities of a sample.
    pub fn decode(&self, sample: &Sample) -> Result<Decoded, Fault> {
        let mut decoded = Decoded::new();
        for (name, modality) in &self.modalities {
            if let Some(item) = modality.decode(sample)? {
                decoded.insert(name.clone(), item);
            }
        }
        for (name, target) in &self.targets {
            if let Some(item) = target.decode(sample)? {
                decoded.insert(name.clone(), item);
            }
        }
        Ok(decoded)
    }

    /// Random changes that keep the meaning. `seed` is that of the sample in this step.
    pub fn augment(&self, decoded: Decoded, seed: Seed) -> Decoded {
        let augment = |(name, item): (Name, Item)| {
            let item = match self.modalities.get(&name) {
                Some(modality) => modality.augment(item, &mut seed.named(&name).rng()),
                None => item,
            };
            (name, item)
        };
        self.drop_modalities(decoded, seed).into_iter().map(augment).collect()
    }

    fn drop_modalities(&self, mut decoded: Decoded, seed: Seed) -> Decoded {
        let mut names: Vec<Name> = decoded.keys().filter(|name| self.modalities.contains_key(*name)).cloned().collect();
        if self.dropout == 0.0 || names.len() < 2 {
            return decoded;
        }
        let mut rng = seed.named("modality dropout").rng();
        names.remove(rng.random_range(0..names.len()));
        for name in names {
            if rng.random::<f32>() < self.dropout {
                decoded.remove(&name);
            }
        }
        decoded
    }

    /// A batch of decoded samples.
    pub fn collate(&self, samples: Vec<(String, Decoded)>) -> Batch {
        let (keys, mut decoded): (Vec<_>, Vec<_>) = samples.into_iter().unzip();
        let mut parts = BTreeMap::new();
        let mut gather = |name: &Name, collate: &dyn Fn(&[Item]) -> Arrays| {
            let take = |(row, decoded): (usize, &mut Decoded)| decoded.remove(name).map(|item| (row, item));
            let (rows, items): (Vec<usize>, Vec<Item>) = decoded.iter_mut().enumerate().filter_map(take).unzip();
            if !rows.is_empty() {
                let content = items.iter().map(|item| item.content).collect();
                parts.insert(name.clone(), Part { rows, arrays: collate(&items), content });
            }
        };
        for (name, modality) in &self.modalities {
            gather(name, &|items| modality.collate(items));
        }
        for (name, target) in &self.targets {
            gather(name, &|items| target.collate(items));
        }
        Batch { keys, parts }
    }
}
