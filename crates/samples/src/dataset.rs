use std::{path::Path, sync::Arc};

use rand::Rng as _;
use sensorium_contract::{Sample, SampleFault, Seed};

use crate::{
    config::SourceConfig,
    describe::{SourceDescription, describe},
    error::SourceError,
    places::{locate, starts},
    source::{Piece, Source, open},
};

/// The samples of one or several sources, numbered through. Cloning is cheap.
#[derive(Clone)]
pub struct Dataset {
    parts: Arc<[Part]>,
    /// Number of samples before each part, and in all.
    starts: Arc<[usize]>,
}

/// A source, or some of its samples.
#[derive(Clone)]
struct Part {
    source: Arc<dyn Source>,
    weight: Option<f64>,
    /// Ascending; nothing if all samples belong.
    chosen: Option<Vec<usize>>,
}

impl Part {
    fn len(&self) -> usize {
        self.chosen.as_ref().map_or_else(|| self.source.len(), Vec::len)
    }

    fn index(&self, place: usize) -> usize {
        self.chosen.as_ref().map_or(place, |chosen| chosen[place])
    }

    fn pieces(&self) -> Vec<Piece> {
        let mut pieces = self.source.pieces();
        if let Some(chosen) = &self.chosen {
            let (mut end, mut before) = (0, 0);
            for piece in &mut pieces {
                end += piece.samples;
                let until = chosen.partition_point(|&index| index < end);
                piece.samples = until - before;
                before = until;
            }
            pieces.retain(|piece| piece.samples > 0);
        }
        pieces
    }
}

impl std::fmt::Debug for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let origins: Vec<_> = self.parts.iter().map(|part| (part.source.origin(), part.len())).collect();
        f.debug_tuple("Dataset").field(&origins).finish()
    }
}

impl Dataset {
    /// Opens the sources, with relative paths starting at `base`. Every file is read through once,
    /// in parallel, to find where each sample begins.
    pub fn open(sources: &[SourceConfig], base: &Path) -> Result<Self, SourceError> {
        let weighted = sources.iter().filter(|source| source.weight.is_some()).count();
        for source in sources {
            let wrong = |reason: String| SourceError::Config { path: source.path.clone(), key: "weight", reason };
            match source.weight {
                Some(weight) if !(weight > 0.0 && weight.is_finite()) => {
                    return Err(wrong(format!("must be above 0, is {weight}")));
                }
                None if weighted > 0 => return Err(wrong("missing, while other sources have one".to_owned())),
                _ => {}
            }
        }
        let open = |config: &SourceConfig| Ok((Arc::from(open(config, base)?), config.weight));
        Self::new(sources.iter().map(open).collect::<Result<_, SourceError>>()?)
    }

    /// Sources that are already open, with their weights: either all have one or none.
    pub fn new(sources: Vec<(Arc<dyn Source>, Option<f64>)>) -> Result<Self, SourceError> {
        let part = |(source, weight)| Part { source, weight, chosen: None };
        Self::of(sources.into_iter().map(part).collect(), "the data")
    }

    fn of(mut parts: Vec<Part>, what: &str) -> Result<Self, SourceError> {
        parts.retain(|part| part.len() > 0);
        if parts.is_empty() {
            return Err(SourceError::Empty { path: what.to_owned() });
        }
        let starts = starts(parts.iter().map(Part::len));
        Ok(Self { parts: parts.into(), starts: starts.into() })
    }

    /// Number of samples, at least one.
    #[expect(clippy::len_without_is_empty, reason = "data without samples cannot be opened")]
    pub fn len(&self) -> usize {
        self.starts[self.parts.len()]
    }

    /// One sample; `index` is less than [`Dataset::len`].
    pub fn read(&self, index: usize) -> Result<Sample, SampleFault> {
        let (part, place) = locate(&self.starts, index);
        let part = &self.parts[part];
        part.source.read(part.index(place))
    }

    /// One sample, with files that cells of a table name left as their paths.
    pub fn glance(&self, index: usize) -> Result<Sample, SampleFault> {
        let (part, place) = locate(&self.starts, index);
        let part = &self.parts[part];
        part.source.glance(part.index(place))
    }

    /// The samples of these numbers, which ascend.
    ///
    /// # Errors
    /// If there are none.
    pub fn choose(&self, numbers: &[usize]) -> Result<Self, SourceError> {
        let choose = |(part, &start): (&Part, &usize)| {
            let own = numbers.partition_point(|&n| n < start)..numbers.partition_point(|&n| n < start + part.len());
            let chosen = numbers[own].iter().map(|&number| part.index(number - start)).collect();
            Part { source: part.source.clone(), weight: part.weight, chosen: Some(chosen) }
        };
        Self::of(self.parts.iter().zip(&*self.starts).map(choose).collect(), "the chosen samples")
    }

    /// The samples of several sets, each of which is drawn with its weight.
    ///
    /// # Errors
    /// If there are none.
    pub fn mixed(sets: &[(Self, f64)]) -> Result<Self, SourceError> {
        let parts = |(set, weight): &(Self, f64)| {
            let all = set.len() as f64;
            let part = |part: &Part| Part { weight: Some(weight * part.len() as f64 / all), ..part.clone() };
            set.parts.iter().map(part).collect::<Vec<_>>()
        };
        Self::of(sets.iter().flat_map(parts).collect(), "the mixed samples")
    }

    /// One sample's key, without reading the sample where that is possible.
    pub fn key(&self, index: usize) -> Result<String, SampleFault> {
        let (part, place) = locate(&self.starts, index);
        let part = &self.parts[part];
        part.source.key(part.index(place))
    }

    /// The file that a sample is read from, and its place there, for people.
    pub fn place(&self, index: usize) -> String {
        let (part, place) = locate(&self.starts, index);
        let part = &self.parts[part];
        part.source.place(part.index(place))
    }

    /// What each source holds, from up to 1,000 samples of it.
    pub fn description(&self) -> Vec<SourceDescription> {
        let describe = |part: &Part| {
            describe(part.source.origin(), part.len(), &part.pieces(), |place| part.source.read(part.index(place)))
        };
        self.parts.iter().map(describe).collect()
    }

    /// Training and validation data. Whether a sample is held out is a function of its key and the
    /// seed alone: samples of one key stay together whatever source they are in, and adding data
    /// moves no sample. About `share` of the keys are held out.
    ///
    /// # Errors
    /// If either side would be empty.
    pub fn split_by_key(&self, share: f64, seed: Seed) -> Result<(Self, Self), SourceError> {
        let seed = seed.named("split");
        let held_out = |part: &Part, place: usize| {
            // A sample whose key cannot be read is damaged; training will count it.
            let hash = part.source.key_hash(part.index(place));
            hash.is_ok_and(|hash| (seed.number(hash).rng().next_u64() as f64) < share * u64::MAX as f64)
        };
        let side = |wanted: bool| {
            let choose = |part: &Part| {
                let places = (0..part.len()).filter(|&place| held_out(part, place) == wanted);
                let chosen = Some(places.map(|place| part.index(place)).collect());
                Part { source: part.source.clone(), weight: part.weight, chosen }
            };
            let what = if wanted { "held-out data" } else { "training data" };
            Self::of(self.parts.iter().map(choose).collect(), &format!("{what} (of {} samples)", self.len()))
        };
        Ok((side(false)?, side(true)?))
    }

    /// Per source: where its samples begin, its weight, and its pieces.
    pub(crate) fn layout(&self) -> impl Iterator<Item = PartLayout> {
        self.parts.iter().zip(&*self.starts).map(|(part, &start)| PartLayout {
            start,
            len: part.len(),
            weight: part.weight,
            pieces: part.pieces(),
        })
    }
}

/// What the order of samples depends on.
pub(crate) struct PartLayout {
    pub start: usize,
    pub len: usize,
    pub weight: Option<f64>,
    /// None if samples can be read in any order equally well.
    pub pieces: Vec<Piece>,
}
