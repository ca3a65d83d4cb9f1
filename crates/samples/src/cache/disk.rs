use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{PoisonError, RwLock},
};

use ndarray::{ArrayD, IxDyn};
use sensorium_contract::{Array, Arrays, Decoded, Item, Name};

use super::Ready;

/// The numbers of decoded samples in a file without a name, which goes with the process; what
/// describes them stays in memory.
#[derive(Debug)]
pub(crate) struct DiskCache {
    budget: u64,
    file: File,
    kept: RwLock<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Where the next sample begins.
    end: u64,
    samples: HashMap<usize, Place>,
}

/// Where a sample lies, and all of it but its numbers.
#[derive(Clone, Debug)]
struct Place {
    start: u64,
    key: String,
    items: Vec<(Name, u64, Vec<Outline>)>,
}

/// An array without its numbers.
#[derive(Clone, Debug)]
struct Outline {
    name: String,
    kind: Kind,
    shape: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    F32,
    I64,
    Bool,
}

impl DiskCache {
    /// A file in the system's temporary folder.
    pub fn new(budget: u64) -> io::Result<Self> {
        Ok(Self { budget, file: tempfile::tempfile()?, kept: RwLock::default() })
    }

    /// A sample that was kept and can be read.
    pub fn get(&self, index: usize) -> Option<Ready> {
        let place = self.kept.read().unwrap_or_else(PoisonError::into_inner).samples.get(&index).cloned()?;
        let outlines = || place.items.iter().flat_map(|(_, _, arrays)| arrays);
        let mut bytes = vec![0; outlines().map(Outline::bytes).sum()];
        self.file.read_exact_at(&mut bytes, place.start).ok()?;
        let mut rest = &bytes[..];
        let mut decoded = Decoded::new();
        for (name, content, outlines) in place.items {
            let mut arrays = Arrays::default();
            for outline in outlines {
                let (own, after) = rest.split_at(outline.bytes());
                rest = after;
                arrays = arrays.with(outline.name.clone(), outline.fill(own)?);
            }
            decoded.insert(name, Item { arrays, content });
        }
        Some(Ready { key: place.key, decoded })
    }

    /// Keeps a sample if it fits. Where the disk takes no more, nothing more is kept.
    pub fn offer(&self, index: usize, ready: &Ready) {
        let length: usize = ready.decoded.values().map(|item| item.arrays.bytes()).sum();
        let Some(start) = self.reserve(length as u64) else { return };
        let arrays = ready.decoded.values().flat_map(|item| item.arrays.iter());
        let bytes = arrays.map(|(_, array)| numbers(array)).collect::<Vec<_>>().concat();
        let written = self.file.write_all_at(&bytes, start);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        match written {
            Ok(()) => {
                kept.samples.insert(index, Place { start, key: ready.key.clone(), items: outlines(&ready.decoded) });
            }
            Err(_) => kept.end = self.budget,
        }
    }

    fn reserve(&self, bytes: u64) -> Option<u64> {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        let start = kept.end;
        let end = start.checked_add(bytes).filter(|end| *end <= self.budget)?;
        kept.end = end;
        Some(start)
    }
}

fn outlines(decoded: &Decoded) -> Vec<(Name, u64, Vec<Outline>)> {
    let outline = |(name, array): (&str, &Array)| Outline {
        name: name.to_owned(),
        kind: match array {
            Array::F32(_) => Kind::F32,
            Array::I64(_) => Kind::I64,
            Array::Bool(_) => Kind::Bool,
        },
        shape: array.shape().to_vec(),
    };
    let items = decoded.iter();
    items.map(|(name, item)| (name.clone(), item.content, item.arrays.iter().map(outline).collect())).collect()
}

/// The bytes of an array's numbers, in the machine's own order.
fn numbers(array: &Array) -> Vec<u8> {
    match array {
        Array::F32(values) => bytemuck::cast_slice(&contiguous(values)).to_vec(),
        Array::I64(values) => bytemuck::cast_slice(&contiguous(values)).to_vec(),
        Array::Bool(values) => values.iter().map(|value| u8::from(*value)).collect(),
    }
}

fn contiguous<T: Clone>(values: &ArrayD<T>) -> std::borrow::Cow<'_, [T]> {
    match values.as_slice() {
        Some(values) => values.into(),
        None => values.iter().cloned().collect::<Vec<_>>().into(),
    }
}

impl Outline {
    fn bytes(&self) -> usize {
        let each = match self.kind {
            Kind::F32 => 4,
            Kind::I64 => 8,
            Kind::Bool => 1,
        };
        each * self.shape.iter().product::<usize>()
    }

    /// The array with these numbers, whose count is the shape's.
    fn fill(&self, numbers: &[u8]) -> Option<Array> {
        let shape = IxDyn(&self.shape);
        let array = match self.kind {
            Kind::F32 => Array::F32(ArrayD::from_shape_vec(shape, bytemuck::pod_collect_to_vec(numbers)).ok()?),
            Kind::I64 => Array::I64(ArrayD::from_shape_vec(shape, bytemuck::pod_collect_to_vec(numbers)).ok()?),
            Kind::Bool => {
                let values = numbers.iter().map(|value| *value != 0).collect();
                Array::Bool(ArrayD::from_shape_vec(shape, values).ok()?)
            }
        };
        Some(array)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::arr2;

    use super::*;

    fn ready(key: &str, arrays: Arrays) -> Ready {
        let item = |content| Item { arrays: arrays.clone(), content };
        Ready { key: key.to_owned(), decoded: [(Name::new("a"), item(1)), (Name::new("b"), item(2))].into() }
    }

    #[test]
    fn samples_come_back_as_they_were() {
        let columns_first = arr2(&[[1.0_f32, f32::NAN], [-0.0, 3.5]]).reversed_axes().into_dyn();
        let arrays = Arrays::default()
            .with("pixels", Array::F32(columns_first.clone()))
            .with("ids", Array::I64(arr2(&[[i64::MIN, 7, 9]]).into_dyn()))
            .with("mask", Array::Bool(arr2(&[[true], [false], [true]]).into_dyn()))
            .with("none", Array::F32(ArrayD::zeros(IxDyn(&[0, 4]))));
        let cache = DiskCache::new(1 << 20).unwrap();
        cache.offer(8, &ready("before", Arrays::default()));
        cache.offer(3, &ready("key", arrays.clone()));
        let found = cache.get(3).unwrap();
        assert_eq!((found.key.as_str(), found.decoded[&Name::new("b")].content), ("key", 2));
        for item in found.decoded.values() {
            let bits = |values: &ArrayD<f32>| values.mapv(f32::to_bits);
            assert_eq!(bits(item.arrays.f32("pixels")), bits(&columns_first));
            for name in ["ids", "mask", "none"] {
                let array = |arrays: &Arrays| arrays.iter().find(|(own, _)| *own == name).unwrap().1.clone();
                assert_eq!(array(&item.arrays), array(&arrays), "{name}");
            }
        }
        assert!(cache.get(8).unwrap().decoded[&Name::new("a")].arrays.iter().next().is_none());
        assert!(cache.get(4).is_none());
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        let sample = |length| ready("key", Arrays::default().with("x", Array::F32(ArrayD::ones(IxDyn(&[length])))));
        // Each has its array twice.
        let cache = DiskCache::new(100).unwrap();
        for (index, length) in [5, 8, 7, 1].into_iter().enumerate() {
            cache.offer(index, &sample(length));
        }
        let kept: Vec<usize> = (0..4).filter(|index| cache.get(*index).is_some()).collect();
        assert_eq!(kept, [0, 2]);
        assert_eq!(cache.get(2).unwrap(), sample(7));
    }
}
