//! Sounds as published models want them: `preprocessor_config.json` of Whisper, AST and wav2vec 2.0.

use ndarray::{Array1, Axis};
use sensorium_contract::{Array, Fault, Name, Value};
use serde::Deserialize;
use serde_json::Value as Json;

use super::{Audio, AudioConfig, Fill, Frames, Log, MelNorm, MelScale, Padding, Standardise};
use crate::{
    patches::content,
    published::{Reader, bytes},
};

/// The field that sounds are read from.
const FIELD: &str = "audio";
/// Keeps silence from being divided by zero, as the transformers library does.
const LEAST_VARIANCE: f32 = 1e-7;
/// Longest sound without a limit of its own, in seconds.
const LONGEST: f32 = 600.0;

/// A published model's feature extractor.
#[derive(Debug)]
pub struct Sounds {
    audio: Audio,
    features: Features,
}

/// What a network reads of a sound.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Features {
    /// Mel bands over frames, `[mels, frames]`.
    Bands,
    /// Frames of mel bands, `[frames, mels]`.
    Frames,
    /// The samples, `[samples]`, to mean 0 and variance 1 if so asked.
    Samples { normal: bool },
}

/// `WhisperFeatureExtractor`
#[derive(Deserialize)]
#[serde(default)]
struct Whisper {
    feature_size: usize,
    sampling_rate: u32,
    hop_length: usize,
    chunk_length: f32,
    n_fft: usize,
    dither: f32,
    do_normalize: bool,
}

impl Default for Whisper {
    fn default() -> Self {
        Self {
            feature_size: 80,
            sampling_rate: 16_000,
            hop_length: 160,
            chunk_length: 30.0,
            n_fft: 400,
            dither: 0.0,
            do_normalize: false,
        }
    }
}

/// `ASTFeatureExtractor`
#[derive(Deserialize)]
#[serde(default)]
struct Ast {
    sampling_rate: u32,
    num_mel_bins: usize,
    max_length: usize,
    do_normalize: bool,
    mean: f32,
    std: f32,
}

impl Default for Ast {
    fn default() -> Self {
        let (mean, std) = (-4.267_739_3, 4.568_997_4);
        Self { sampling_rate: 16_000, num_mel_bins: 128, max_length: 1024, do_normalize: true, mean, std }
    }
}

/// `Wav2Vec2FeatureExtractor`
#[derive(Deserialize)]
#[serde(default)]
struct Wav2Vec2 {
    sampling_rate: u32,
    do_normalize: bool,
}

impl Default for Wav2Vec2 {
    fn default() -> Self {
        Self { sampling_rate: 16_000, do_normalize: true }
    }
}

impl Sounds {
    /// Whisper's: 30 seconds, shorter sounds filled with silence, `[mels, frames]`.
    ///
    /// # Errors
    /// Names the key that cannot be used.
    pub fn whisper(config: &Json) -> Result<Self, String> {
        let Whisper { feature_size, sampling_rate, hop_length, chunk_length, n_fft, dither, do_normalize } =
            parsed(config)?;
        if do_normalize || dither != 0.0 {
            return Err("`do_normalize`, `dither`: only false and 0 are known here".to_owned());
        }
        let audio = AudioConfig {
            rate: sampling_rate,
            seconds: chunk_length,
            window: n_fft,
            hop: hop_length,
            fft: n_fft,
            mels: feature_size,
            high: Some((sampling_rate as f32 / 2.0).min(8000.0)),
            fill: Fill::Silence,
            standardise: Standardise::None,
            ..AudioConfig::default()
        };
        Self::new(audio, Features::Bands)
    }

    /// AST's: Kaldi's filter banks of so many frames, `[frames, mels]`.
    ///
    /// # Errors
    /// Names the key that cannot be used.
    pub fn ast(config: &Json) -> Result<Self, String> {
        let Ast { sampling_rate, num_mel_bins, max_length, do_normalize, mean, std } = parsed(config)?;
        if sampling_rate == 0 || max_length == 0 {
            return Err("`sampling_rate` and `max_length` must be above 0".to_owned());
        }
        let (window, hop) = (sampling_rate as usize / 40, sampling_rate as usize / 100);
        let samples = max_length.saturating_sub(1).saturating_mul(hop).saturating_add(window);
        let audio = AudioConfig {
            rate: sampling_rate,
            seconds: samples as f32 / sampling_rate as f32,
            window,
            hop,
            fft: window.next_power_of_two(),
            mels: num_mel_bins,
            mel_scale: MelScale::Htk,
            mel_norm: MelNorm::None,
            low: 20.0,
            padding: Padding::None,
            frames: Frames::Kaldi,
            fill: Fill::Zeros,
            log: Log::Ln,
            // Half as wide as the deviation says, as its authors trained it.
            standardise: if do_normalize { Standardise::Fixed { mean, std: 2.0 * std } } else { Standardise::None },
            ..AudioConfig::default()
        };
        Self::new(audio, Features::Frames)
    }

    /// wav2vec 2.0's: the samples themselves.
    ///
    /// # Errors
    /// Names the key that cannot be used.
    pub fn wav2vec2(config: &Json) -> Result<Self, String> {
        let Wav2Vec2 { sampling_rate, do_normalize } = parsed(config)?;
        let audio = AudioConfig { rate: sampling_rate, seconds: LONGEST, ..AudioConfig::default() };
        Self::new(audio, Features::Samples { normal: do_normalize })
    }

    fn new(config: AudioConfig, features: Features) -> Result<Self, String> {
        let config = AudioConfig { field: FIELD.to_owned(), ..config };
        let audio = Audio::new(&Name::new(FIELD), config).map_err(|error| error.to_string())?;
        Ok(Self { audio, features })
    }

    /// What the network reads of a WAV file.
    ///
    /// # Errors
    /// If it cannot be decoded.
    pub fn features(&self, wav: &[u8]) -> Result<Array, Fault> {
        let array = match self.features {
            Features::Bands => self.audio.mel(wav)?.reversed_axes().as_standard_layout().into_owned().into_dyn(),
            Features::Frames => self.audio.mel(wav)?.into_dyn(),
            Features::Samples { normal } => {
                let mut samples = Array1::from(self.audio.samples(wav)?);
                if normal {
                    normalise(&mut samples);
                }
                samples.into_dyn()
            }
        };
        Ok(Array::F32(array))
    }

    /// The shape of a sound's features; of samples, that of a second.
    pub fn shape(&self) -> Vec<usize> {
        let config = self.audio.config();
        match self.features {
            Features::Bands => vec![config.mels, config.max_frames()],
            Features::Frames => vec![config.max_frames(), config.mels],
            Features::Samples { .. } => vec![config.rate as usize],
        }
    }
}

impl Reader for Sounds {
    fn read(&self, field: &str, value: &Value) -> Result<Option<(Array, u64)>, Fault> {
        let bytes = bytes(field, value, "field is no sound")?;
        Ok(Some((self.features(bytes)?, content(bytes))))
    }

    fn max_tokens(&self) -> usize {
        self.audio.config().max_samples()
    }

    fn remarks(&self) -> Vec<String> {
        sensorium_contract::Modality::remarks(&self.audio)
    }
}

fn parsed<T: for<'a> Deserialize<'a>>(config: &Json) -> Result<T, String> {
    T::deserialize(config).map_err(|error| error.to_string())
}

/// To mean 0 and variance 1.
fn normalise(samples: &mut Array1<f32>) {
    let count = samples.len_of(Axis(0)).max(1) as f64;
    let mean = samples.iter().map(|&sample| f64::from(sample)).sum::<f64>() / count;
    let variance = samples.iter().map(|&sample| (f64::from(sample) - mean).powi(2)).sum::<f64>() / count;
    let deviation = (variance as f32 + LEAST_VARIANCE).sqrt();
    samples.mapv_inplace(|sample| (sample - mean as f32) / deviation);
}

#[cfg(test)]
mod tests {
    use hound::SampleFormat;
    use safetensors::SafeTensors;
    use serde_json::json;

    use super::*;
    use crate::{
        audio::wav::tests::wav,
        reference::{fixture, floats, integers, metadata, shared},
    };

    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        file: String,
        kind: String,
        shape: Vec<usize>,
    }

    fn extractor(config: &Json) -> Sounds {
        match config["feature_extractor_type"].as_str() {
            Some("WhisperFeatureExtractor") => Sounds::whisper(config).unwrap(),
            Some("ASTFeatureExtractor") => Sounds::ast(config).unwrap(),
            _ => Sounds::wav2vec2(config).unwrap(),
        }
    }

    #[test]
    fn extractors_agree_with_the_library() {
        let bytes = fixture("preprocessing.safetensors");
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let metadata = metadata(&bytes);
        let settings: Json = serde_json::from_str(&metadata["settings"]).unwrap();
        let cases: Vec<Case> = serde_json::from_str(&metadata["sounds"]).unwrap();
        assert!(cases.len() >= 7);
        for Case { name, file, kind, shape } in cases {
            let samples = format!("{file}.samples");
            let content = match tensors.names().contains(&&*samples) {
                true => {
                    let samples: Vec<f32> = integers(&tensors, &samples).iter().map(|&v| v as f32 / 32768.0).collect();
                    wav(1, 16_000, 16, SampleFormat::Int, &samples)
                }
                false => match shared(&file) {
                    Some(path) => std::fs::read(path).unwrap(),
                    None => continue,
                },
            };
            let sounds = extractor(&settings[&kind]);
            let Array::F32(found) = sounds.features(&content).unwrap() else { panic!("{name}: floats") };
            assert_eq!(found.shape(), shape, "{name}");
            let found: Vec<f32> = found.iter().copied().collect();
            let largest = floats(&tensors, &format!("{name}.largest"))[0];
            let expected = floats(&tensors, &format!("{name}.values"));
            let places = integers(&tensors, &format!("{name}.places"));
            let far = |(&place, expected): (&i64, &f32)| (found[place as usize] - expected).abs();
            let worst = places.iter().zip(&expected).map(far).fold(0.0, f32::max);
            println!("{name}: {:.1e} of the largest", worst / largest);
            assert!(worst <= 1e-4 * largest, "{name}: {worst} of {largest}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        assert!(Sounds::whisper(&json!({ "dither": 0.1 })).unwrap_err().contains("`dither`"));
        assert!(Sounds::whisper(&json!({ "feature_size": "many" })).unwrap_err().contains("invalid type"));
        assert!(Sounds::whisper(&json!({ "hop_length": 0 })).unwrap_err().contains("`hop`"));
        assert!(Sounds::ast(&json!({ "max_length": 0 })).unwrap_err().contains("`max_length`"));
        assert!(Sounds::wav2vec2(&json!({ "sampling_rate": 1 })).unwrap_err().contains("`rate`"));
    }
}
