use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use sensorium_contract::{Sample, SampleFault, Value};

use crate::source::{Origin, Piece};

/// Most samples that a description looks at.
const LOOKED_AT: usize = 1000;
/// Most pieces that they are from: each may have to be decompressed.
const PIECES: usize = 4;

/// What a source holds.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceDescription {
    /// What the samples come from.
    pub origin: Origin,
    /// Number of samples.
    pub samples: usize,
    /// Number of samples that were looked at for what follows.
    pub looked_at: usize,
    /// Damaged samples among those.
    pub faults: Vec<SampleFault>,
    /// Fields that were found.
    pub fields: BTreeMap<String, FieldDescription>,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldDescription {
    /// Kinds of values, as [`Value::kind`] calls them.
    pub kinds: BTreeSet<&'static str>,
    /// The share of samples that lack it.
    pub missing: f64,
}

impl fmt::Display for SourceDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { path, format, files } = &self.origin;
        write!(f, "{path}: {format}, {files} file{}, {} samples", if *files == 1 { "" } else { "s" }, self.samples)?;
        for (name, field) in &self.fields {
            let kinds: Vec<&str> = field.kinds.iter().copied().collect();
            write!(f, "\n  {name}: {}", kinds.join(" or "))?;
            if field.missing > 0.0 {
                write!(f, ", {:.1} % missing", field.missing * 100.0)?;
            }
        }
        match self.faults.first() {
            Some(first) => write!(f, "\n  {} of {} damaged, the first: {first}", self.faults.len(), self.looked_at),
            None => Ok(()),
        }
    }
}

/// Reads samples evenly from all over a source, or from a few of its pieces.
pub(crate) fn describe(
    origin: Origin,
    samples: usize,
    pieces: &[Piece],
    read: impl Fn(usize) -> Result<Sample, SampleFault>,
) -> SourceDescription {
    let places = places(samples, pieces);
    let mut faults = Vec::new();
    let mut found: BTreeMap<String, (BTreeSet<&'static str>, usize)> = BTreeMap::new();
    for &place in &places {
        match read(place) {
            Err(fault) => faults.push(fault),
            Ok(sample) => sample.fields.iter().for_each(|(name, value)| add(&mut found, name, value)),
        }
    }
    let sound = (places.len() - faults.len()).max(1) as f64;
    let field = |(name, (kinds, count)): (String, (_, usize))| {
        (name, FieldDescription { kinds, missing: 1.0 - count as f64 / sound })
    };
    let fields = found.into_iter().map(field).collect();
    SourceDescription { origin, samples, looked_at: places.len(), faults, fields }
}

fn add(found: &mut BTreeMap<String, (BTreeSet<&'static str>, usize)>, name: &str, value: &Value) {
    if !found.contains_key(name) {
        found.insert(name.to_owned(), Default::default());
    }
    if let Some((kinds, count)) = found.get_mut(name) {
        kinds.insert(value.kind());
        *count += 1;
    }
}

/// Ascending.
fn places(samples: usize, pieces: &[Piece]) -> Vec<usize> {
    let evenly = |count: usize, of: usize| (0..count).map(move |number| number * of / count);
    if pieces.len() <= PIECES {
        return evenly(samples.min(LOOKED_AT), samples).collect();
    }
    let mut places = Vec::new();
    let mut starts = Vec::with_capacity(pieces.len());
    let mut start = 0;
    for piece in pieces {
        starts.push(start);
        start += piece.samples;
    }
    for piece in evenly(PIECES, pieces.len()) {
        let of = pieces[piece].samples;
        places.extend(evenly(of.min(LOOKED_AT / PIECES), of).map(|place| starts[piece] + place));
    }
    places
}
