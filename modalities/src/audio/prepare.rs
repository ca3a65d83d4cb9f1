use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::{Array2, Array3, ArrayView2, Axis, Ix2, concatenate, s};
use sensorium_contract::{Array, Arrays, Fault, Head, Item, Masked, Modality, Name, Rng, Sample, Value};

use super::{
    augment::augment,
    config::{AudioConfig, AudioError, Fill, Standardise},
    mel::MelSpectrogram,
    resample::Rates,
    targets,
    wav::decode,
};
use crate::patches::{MASK, PATCHES, content};

/// Array of an item: the standardised spectrogram, `[frames, mels]`.
pub(super) const MEL: &str = "mel";
/// Keeps a clip that is the same throughout from being divided by zero.
const LEAST_DEVIATION: f32 = 1e-5;

/// The host side of an audio modality.
#[derive(Debug)]
pub struct Audio {
    name: Name,
    config: AudioConfig,
    rates: Rates,
    spectrogram: MelSpectrogram,
    decoded: AtomicU64,
    cut: AtomicU64,
}

impl Audio {
    /// An audio modality that the recipe calls `name`.
    ///
    /// # Errors
    /// If the configuration cannot work, as [`AudioConfig::validate`] says.
    pub fn new(name: &Name, config: AudioConfig) -> Result<Self, AudioError> {
        config.validate()?;
        Ok(Self {
            name: name.clone(),
            rates: Rates::new(config.rate),
            spectrogram: MelSpectrogram::new(&config),
            config,
            decoded: AtomicU64::new(0),
            cut: AtomicU64::new(0),
        })
    }

    /// What the recipe says.
    pub fn config(&self) -> &AudioConfig {
        &self.config
    }

    /// The samples of a WAV file at the configured rate, no more than the longest sound has.
    ///
    /// # Errors
    /// If it cannot be decoded.
    pub fn samples(&self, bytes: &[u8]) -> Result<Vec<f32>, Fault> {
        let field = &self.config.field;
        let sound = decode(field, bytes, self.config.seconds.into())?;
        self.decoded.fetch_add(1, Ordering::Relaxed);
        self.cut.fetch_add(sound.cut.into(), Ordering::Relaxed);
        let samples = self.rates.convert(sound.samples, sound.rate);
        let mut samples = samples.map_err(|error| Fault::new(field, "sound cannot be resampled", error))?;
        samples.truncate(self.config.max_samples());
        Ok(samples)
    }

    /// The standardised spectrogram of a WAV file, `[frames, mels]`.
    ///
    /// # Errors
    /// If it cannot be decoded.
    pub fn mel(&self, bytes: &[u8]) -> Result<Array2<f32>, Fault> {
        let mut samples = self.samples(bytes)?;
        if self.config.fill == Fill::Silence {
            samples.resize(self.config.max_samples(), 0.0);
        }
        let mut mel = self.spectrogram.log_mel(&samples);
        if self.config.fill == Fill::Zeros {
            let missing = self.config.max_frames().saturating_sub(mel.nrows());
            mel = concatenate![Axis(0), mel, Array2::zeros((missing, mel.ncols()))];
        }
        self.config.standardise.apply(&mut mel);
        Ok(mel)
    }
}

impl Modality for Audio {
    fn decode(&self, sample: &Sample) -> Result<Option<Item>, Fault> {
        let bytes = match sample.fields.get(&self.config.field) {
            None => return Ok(None),
            Some(Value::Bytes(bytes)) => bytes,
            Some(other) => {
                let detail = format!("a WAV file's bytes expected, found {}", other.kind());
                return Err(Fault::new(&self.config.field, "field is no sound", detail));
            }
        };
        let mel = Array::F32(self.mel(bytes)?.into_dyn());
        Ok(Some(Item { arrays: Arrays::default().with(MEL, mel), content: content(bytes) }))
    }

    fn augment(&self, item: Item, rng: &mut Rng) -> Item {
        match self.config.augment == Default::default() {
            true => item,
            false => augment(item, &self.config, rng),
        }
    }

    fn collate(&self, items: &[Item]) -> Arrays {
        let mels: Vec<ArrayView2<f32>> = items.iter().map(mel_of).collect();
        let bands = self.config.bands();
        let steps: Vec<usize> = mels.iter().map(|mel| mel.nrows().div_ceil(self.config.patch_frames)).collect();
        let most = steps.iter().copied().max().unwrap_or(0);
        let mut patches = Array3::zeros((items.len(), most * bands, self.config.patch_values()));
        for (mel, mut row) in mels.iter().zip(patches.outer_iter_mut()) {
            for (place, mut patch) in row.outer_iter_mut().enumerate() {
                self.copy_patch(mel, [place / bands, place % bands], patch.as_slice_mut().unwrap_or_default());
            }
        }
        let arrays = Arrays::default().with(PATCHES, Array::F32(patches.into_dyn()));
        if steps.iter().all(|&steps| steps == most) {
            return arrays;
        }
        let mask = Array2::from_shape_fn((items.len(), most * bands), |(row, place)| place < steps[row] * bands);
        arrays.with(MASK, Array::Bool(mask.into_dyn()))
    }

    fn mask(&self, arrays: &Arrays, rngs: &mut [Rng]) -> Masked {
        targets::mask(&self.name, &self.config, arrays, rngs)
    }

    fn heads(&self) -> Vec<Head> {
        targets::heads(&self.config)
    }

    fn max_tokens(&self) -> usize {
        self.config.max_steps() * self.config.bands() + self.config.offset()
    }

    fn tokens(&self, item: &Item) -> usize {
        let steps = mel_of(item).nrows().div_ceil(self.config.patch_frames);
        steps * self.config.bands() + self.config.offset()
    }

    fn remarks(&self) -> Vec<String> {
        let (decoded, cut) = (self.decoded.load(Ordering::Relaxed), self.cut.load(Ordering::Relaxed));
        let (empty, mels) = (self.spectrogram.empty_bands(), self.config.mels);
        let cut = (cut > 0).then(|| format!("{cut} of {decoded} sounds cut to {} s", self.config.seconds));
        let empty =
            (empty > 0).then(|| format!("{empty} of {mels} mel bands lie between two frequencies and stay empty"));
        cut.into_iter().chain(empty).collect()
    }
}

impl Audio {
    /// Copies the patch at `[step, band]` of a spectrogram: frames, then mels. Frames after the sound's end are 0.
    fn copy_patch(&self, mel: &ArrayView2<f32>, [step, band]: [usize; 2], patch: &mut [f32]) {
        let (frames, mels) = (self.config.patch_frames, self.config.patch_bands());
        let first = (step * frames).min(mel.nrows());
        let last = (first + frames).min(mel.nrows());
        let source = mel.slice(s![first..last, band * mels..(band + 1) * mels]);
        source.iter().zip(patch).for_each(|(value, to)| *to = *value);
    }
}

fn mel_of(item: &Item) -> ArrayView2<'_, f32> {
    // Decoding makes spectrograms of two axes only.
    item.arrays.f32(MEL).view().into_dimensionality::<Ix2>().unwrap_or_else(|error| unreachable!("{error}"))
}

impl Standardise {
    fn apply(self, mel: &mut Array2<f32>) {
        let (mean, std) = match self {
            Self::None => return,
            Self::Fixed { mean, std } => (mean, std),
            Self::Clip => {
                let mean = mel.mean().unwrap_or(0.0);
                (mean, mel.std(0.0).max(LEAST_DEVIATION))
            }
        };
        mel.mapv_inplace(|value| (value - mean) / std);
    }
}

#[cfg(test)]
mod tests {
    use hound::SampleFormat;

    use super::*;
    use crate::audio::wav::tests::{tone, wav};

    fn sample(value: Value) -> Sample {
        Sample { key: "a".to_owned(), fields: [("audio".to_owned(), value)].into() }
    }

    fn audio(config: AudioConfig) -> Audio {
        Audio::new(&Name::new("audio"), config).unwrap()
    }

    fn clip(audio: &Audio, rate: u32, frames: usize) -> Item {
        let bytes = wav(1, rate, 16, SampleFormat::Int, &tone(frames));
        audio.decode(&sample(Value::Bytes(bytes.into()))).unwrap().unwrap()
    }

    #[test]
    fn a_missing_field_is_absent_and_another_kind_a_fault() {
        let audio = audio(AudioConfig::default());
        assert_eq!(audio.decode(&Sample::default()).unwrap(), None);
        assert!(audio.decode(&sample(Value::Number(1.0))).unwrap_err().detail.contains("a number"));
        assert!(audio.decode(&sample(Value::Bytes([].into()))).is_err());
    }

    #[test]
    fn clips_are_standardised_cut_and_counted() {
        let audio = audio(AudioConfig { seconds: 0.5, ..Default::default() });
        let item = clip(&audio, 8000, 9000);
        let mel = mel_of(&item);
        assert_eq!(mel.dim(), (50, 80));
        assert!(mel.mean().unwrap().abs() < 1e-4 && (mel.std(0.0) - 1.0).abs() < 1e-3);
        assert_eq!(audio.remarks(), ["1 of 1 sounds cut to 0.5 s"]);
    }

    #[test]
    fn patches_hold_their_frames_and_bands() {
        let config = AudioConfig { mels: 8, patch_mels: Some(4), patch_frames: 3, ..Default::default() };
        let audio = audio(config);
        let item = |frames: usize| {
            let mel = Array2::from_shape_fn((frames, 8), |(frame, mel)| (frame * 10 + mel) as f32);
            Item { arrays: Arrays::default().with(MEL, Array::F32(mel.into_dyn())), content: 0 }
        };
        let arrays = audio.collate(&[item(4), item(9)]);
        let patches = arrays.f32(PATCHES);
        assert_eq!(patches.shape(), [2, 6, 12]);
        let patch = |row: usize, place: usize| patches.slice(s![row, place, ..]).to_vec();
        assert_eq!(patch(1, 3), [34., 35., 36., 37., 44., 45., 46., 47., 54., 55., 56., 57.]);
        assert_eq!(patch(0, 2), [30., 31., 32., 33., 0., 0., 0., 0., 0., 0., 0., 0.]);
        let mask = arrays.bool(MASK);
        assert_eq!(mask.iter().map(|&real| u8::from(real)).collect::<Vec<_>>(), [1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1]);
        assert!(!audio.collate(&[item(4), item(5)]).contains(MASK), "nothing is padded");
    }

    #[test]
    fn the_longest_clip_has_the_most_tokens() {
        for pool in [sensorium_contract::Pool::Mean, sensorium_contract::Pool::Class] {
            let config = AudioConfig { seconds: 0.33, patch_mels: Some(16), pool, ..Default::default() };
            let offset = config.offset();
            let audio = audio(config);
            let arrays = audio.collate(&[clip(&audio, 44_100, 44_100)]);
            assert_eq!(arrays.f32(PATCHES).shape()[1] + offset, audio.max_tokens());
        }
    }
}
