use sensorium_contract::Pool;
use serde::{Deserialize, Serialize};

/// What a recipe says about an audio modality.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AudioConfig {
    /// The sample's field, which holds a WAV file's bytes.
    pub field: String,
    /// Samples a second that every sound is resampled to.
    pub rate: u32,
    /// The longest sound; a longer one loses its end.
    pub seconds: f32,
    /// Length of a (periodic Hann) window in samples.
    pub window: usize,
    /// Samples from one frame to the next.
    pub hop: usize,
    /// Length of the Fourier transform in samples, at least that of the window.
    pub fft: usize,
    /// Bands of the spectrogram.
    pub mels: usize,
    /// How bands are spread over frequencies.
    pub mel_scale: MelScale,
    /// How bands are weighted.
    pub mel_norm: MelNorm,
    /// Where the lowest band begins, in Hz.
    pub low: f32,
    /// Where the highest band ends, in Hz; half the rate if it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<f32>,
    /// What stands before and after the sound, so that frames are centred on their time.
    pub padding: Padding,
    /// How frames become energies.
    #[serde(skip_serializing_if = "Frames::is_plain")]
    pub frames: Frames,
    /// How a sound that is shorter than `seconds` is brought to that length.
    #[serde(skip_serializing_if = "Fill::is_none")]
    pub fill: Fill,
    /// How energies are compressed.
    pub log: Log,
    /// How the compressed energies are centred and scaled.
    pub standardise: Standardise,
    /// Frames in a patch.
    pub patch_frames: usize,
    /// Bands in a patch, a divisor of `mels`; all of them if it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_mels: Option<usize>,
    /// How the tokens become one vector: `class` adds a class token in front, `mean` and `statistics` need none.
    pub pool: Pool,
    /// Share of the patches that masked modelling hides.
    pub mask_ratio: f32,
    /// Random changes while training; all off by default.
    pub augment: AudioAugment,
}

impl Default for AudioConfig {
    fn default() -> Self {
        Self {
            field: "audio".to_owned(),
            rate: 16_000,
            seconds: 10.0,
            window: 400,
            hop: 160,
            fft: 400,
            mels: 80,
            mel_scale: MelScale::Slaney,
            mel_norm: MelNorm::Slaney,
            low: 0.0,
            high: None,
            padding: Padding::Reflect,
            frames: Frames::Plain,
            fill: Fill::None,
            log: Log::Whisper,
            standardise: Standardise::Clip,
            patch_frames: 4,
            patch_mels: None,
            pool: Pool::Mean,
            mask_ratio: 0.6,
            augment: AudioAugment::default(),
        }
    }
}

/// A scale of pitch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MelScale {
    /// Logarithmic throughout: `2595 · log10(1 + f / 700)`.
    Htk,
    /// Linear below 1 kHz, logarithmic above (Slaney's Auditory Toolbox; librosa, Whisper).
    Slaney,
}

/// How much energy a band gathers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MelNorm {
    /// Every band's triangle has the same area.
    Slaney,
    /// Every band's triangle has the height 1.
    None,
}

/// What stands before and after a sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// The sound itself, mirrored (Whisper).
    Reflect,
    /// Silence (librosa).
    Zero,
    /// Nothing: the first frame begins with the sound, the last one ends within it.
    None,
}

/// How frames become energies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Frames {
    /// A window and a transform; bands are triangles over frequencies (librosa, Whisper).
    Plain,
    /// As Kaldi's `compute-fbank-feats` (AST): a frame loses its mean, each sample 0.97 of the one before it; the
    /// window is symmetric; bands are triangles over mels; energies are at least 2⁻²³.
    Kaldi,
}

/// How a short sound is brought to the length of the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// Not at all.
    None,
    /// Silence follows (Whisper).
    Silence,
    /// Frames follow whose compressed energies are 0 (AST).
    Zeros,
}

impl Frames {
    fn is_plain(&self) -> bool {
        *self == Self::Plain
    }
}

impl Fill {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// How energies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Log {
    /// As Whisper: `(log10(max(e, 1e-10)) + 4) / 4`, and no more than 80 dB below the clip's loudest.
    Whisper,
    /// As librosa's `power_to_db`: `10 · log10(max(e, 1e-10))`, no more than 80 dB below the loudest.
    Db,
    /// `ln(max(e, 1e-10))`
    Ln,
    /// Not at all.
    None,
}

/// How compressed energies are centred and scaled: `"clip"`, `"none"` or
/// `{ fixed = { mean = -4.3, std = 4.6 } }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Standardise {
    /// To mean 0 and deviation 1 over each clip, which takes loudness out.
    Clip,
    /// Not at all.
    None,
    /// By the same numbers for every clip, as AST does with those of its data.
    Fixed {
        /// Subtracted.
        mean: f32,
        /// Divides what is left.
        std: f32,
    },
}

/// Random changes to a spectrogram while training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AudioAugment {
    /// Take a random stretch of so many seconds, from least to most; a shorter sound stays whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop_seconds: Option<[f32; 2]>,
    /// Put up to so many silent frames before the sound.
    pub shift_frames: usize,
    /// Blank one band of up to so many mels (SpecAugment, Park et al. 2019).
    pub mask_mels: usize,
    /// Blank one stretch of up to so many frames.
    pub mask_frames: usize,
    /// Add a constant of up to so much in either direction: loudness, in units of the spectrogram's values.
    pub gain: f32,
}

/// An audio configuration that no data could make right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("audio key `{key}`: expected {expected}, found {found}")]
pub struct AudioError {
    /// The key of [`AudioConfig`].
    pub key: &'static str,
    /// What it may be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl AudioConfig {
    /// Where the highest band ends, in Hz.
    pub fn highest(&self) -> f32 {
        self.high.unwrap_or(self.rate as f32 / 2.0)
    }

    /// The most samples of a sound.
    pub fn max_samples(&self) -> usize {
        (f64::from(self.seconds) * f64::from(self.rate)).round() as usize
    }

    /// Frames of a sound of so many samples. With padding there is one at each hop from the first sample on.
    pub fn frames(&self, samples: usize) -> usize {
        match self.padding {
            Padding::None => samples.saturating_sub(self.frame()) / self.hop + 1,
            Padding::Reflect | Padding::Zero => samples.div_ceil(self.hop),
        }
    }

    /// Samples that a frame without padding needs.
    fn frame(&self) -> usize {
        match self.frames {
            Frames::Plain => self.fft,
            Frames::Kaldi => self.window,
        }
    }

    /// The most frames of a sound.
    pub fn max_frames(&self) -> usize {
        self.frames(self.max_samples())
    }

    /// Mels in a patch.
    pub fn patch_bands(&self) -> usize {
        self.patch_mels.unwrap_or(self.mels)
    }

    /// Patches that lie above each other.
    pub fn bands(&self) -> usize {
        self.mels / self.patch_bands()
    }

    /// The most patches that lie beside each other.
    pub fn max_steps(&self) -> usize {
        self.max_frames().div_ceil(self.patch_frames)
    }

    /// Numbers in one patch: frames, then mels.
    pub fn patch_values(&self) -> usize {
        self.patch_frames * self.patch_bands()
    }

    /// Tokens in front of the patches: 1 with a class token.
    pub(crate) fn offset(&self) -> usize {
        usize::from(self.pool == Pool::Class)
    }

    /// Whether the values can work together.
    ///
    /// # Errors
    /// Names the first key that cannot.
    pub fn validate(&self) -> Result<(), AudioError> {
        check("rate", (1000..=384_000).contains(&self.rate), "1,000 to 384,000 Hz", self.rate)?;
        let longest = 3600.0;
        check("seconds", self.seconds > 0.0 && self.seconds <= longest, "more than 0, at most 3,600", self.seconds)?;
        check("window", self.window > 0, "at least 1 sample", self.window)?;
        check("hop", self.hop > 0, "at least 1 sample", self.hop)?;
        let sound = self.fft >= self.window.max(2) && self.fft <= 1 << 16;
        check("fft", sound, format!("at least the window, {}, and at most 65,536", self.window), self.fft)?;
        check("seconds", self.max_samples() > 0, "at least one sample", self.seconds)?;
        check("mels", (1..=self.fft / 2 + 1).contains(&self.mels), "1 to half of the fft", self.mels)?;
        check("low", (0.0..self.highest()).contains(&self.low), "0 Hz to less than `high`", self.low)?;
        let half = self.rate as f32 / 2.0;
        check("high", self.highest() <= half, format!("at most half of the rate, {half} Hz"), self.highest())?;
        check("patch_frames", self.patch_frames > 0, "at least 1 frame", self.patch_frames)?;
        let divides = self.patch_bands() > 0 && self.mels.is_multiple_of(self.patch_bands());
        check("patch_mels", divides, format!("a divisor of `mels`, {}", self.mels), self.patch_bands())?;
        if let Standardise::Fixed { mean, std } = self.standardise {
            let sound = mean.is_finite() && std.is_finite() && std > 0.0;
            check("standardise", sound, "a finite mean, a deviation above 0", format!("mean {mean}, std {std}"))?;
        }
        check("pool", self.pool != Pool::Last, "`class`, `mean` or `statistics`", "`last`")?;
        check("mask_ratio", (0.0..=1.0).contains(&self.mask_ratio), "a share between 0 and 1", self.mask_ratio)?;
        if let Some([least, most]) = self.augment.crop_seconds {
            let sound = 0.0 < least && least <= most && most.is_finite();
            check("augment.crop_seconds", sound, "0 < least <= most", format!("[{least}, {most}]"))?;
        }
        check("augment.mask_mels", self.augment.mask_mels <= self.mels, "at most `mels`", self.augment.mask_mels)?;
        let gain = self.augment.gain;
        check("augment.gain", gain.is_finite() && gain >= 0.0, "a number of 0 or more", gain)
    }
}

fn check(
    key: &'static str,
    sound: bool,
    expected: impl Into<String>,
    found: impl std::fmt::Display,
) -> Result<(), AudioError> {
    match sound {
        true => Ok(()),
        false => Err(AudioError { key, expected: expected.into(), found: found.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_configuration_names_its_key() {
        let key = |change: fn(&mut AudioConfig)| {
            let mut config = AudioConfig::default();
            change(&mut config);
            config.validate().err().map(|error| error.key)
        };
        assert_eq!(key(|_| ()), None);
        assert_eq!(key(|c| c.rate = 0), Some("rate"));
        assert_eq!(key(|c| c.seconds = f32::NAN), Some("seconds"));
        assert_eq!(key(|c| c.hop = 0), Some("hop"));
        assert_eq!(key(|c| c.fft = 256), Some("fft"));
        assert_eq!(key(|c| c.low = 9000.0), Some("low"));
        assert_eq!(key(|c| c.high = Some(9000.0)), Some("high"));
        assert_eq!(key(|c| c.patch_frames = 0), Some("patch_frames"));
        assert_eq!(key(|c| c.patch_mels = Some(7)), Some("patch_mels"));
        assert_eq!(key(|c| c.standardise = Standardise::Fixed { mean: 0.0, std: 0.0 }), Some("standardise"));
        assert_eq!(key(|c| c.pool = Pool::Last), Some("pool"));
        assert_eq!(key(|c| c.augment.crop_seconds = Some([2.0, 1.0])), Some("augment.crop_seconds"));
        assert_eq!(key(|c| c.augment.gain = -1.0), Some("augment.gain"));
    }

    #[test]
    fn configurations_are_read_strictly() {
        let config = |text: &str| serde_json::from_str::<AudioConfig>(text);
        let fixed = config(r#"{"standardise": {"fixed": {"mean": -4.0, "std": 4.5}}, "log": "ln"}"#).unwrap();
        assert_eq!(fixed.standardise, Standardise::Fixed { mean: -4.0, std: 4.5 });
        assert_eq!(config(r#"{"standardise": "none", "mel_scale": "htk"}"#).unwrap().mel_scale, MelScale::Htk);
        assert!(config(r#"{"mel": 40}"#).is_err());
    }

    #[test]
    fn frames_follow_the_hop() {
        let config = AudioConfig::default();
        assert_eq!([1, 160, 161, 16_000].map(|samples| config.frames(samples)), [1, 1, 2, 100]);
        let bare = AudioConfig { padding: Padding::None, ..config };
        assert_eq!([1, 400, 559, 560].map(|samples| bare.frames(samples)), [1, 1, 1, 2]);
    }
}
