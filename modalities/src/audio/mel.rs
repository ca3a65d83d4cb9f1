use std::{fmt, sync::Arc};

use ndarray::Array2;
use realfft::{RealFftPlanner, RealToComplex, num_complex::Complex32};

use super::config::{AudioConfig, Frames, Log, MelNorm, MelScale, Padding};

/// The least energy that is told from none.
const FLOOR: f32 = 1e-10;
/// The least energy that Kaldi tells from none.
const KALDI_FLOOR: f32 = f32::EPSILON;
/// What a sample loses of the one before it.
const PRE_EMPHASIS: f32 = 0.97;
/// Decades below the loudest that `whisper` and `db` keep.
const RANGE: f32 = 8.0;

/// Short-time power spectra gathered into mel bands.
#[derive(Clone)]
pub struct MelSpectrogram {
    transform: Arc<dyn RealToComplex<f32>>,
    /// Hann window, `[fft]`, zero where it is shorter than the transform.
    window: Vec<f32>,
    bands: Vec<Band>,
    config: AudioConfig,
}

/// One row of the filter bank without the zeros at its ends.
#[derive(Clone, Debug, PartialEq)]
struct Band {
    start: usize,
    weights: Vec<f32>,
}

impl fmt::Debug for MelSpectrogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MelSpectrogram").field("bands", &self.bands.len()).finish_non_exhaustive()
    }
}

impl MelSpectrogram {
    /// For a valid configuration.
    pub fn new(config: &AudioConfig) -> Self {
        Self {
            transform: RealFftPlanner::new().plan_fft_forward(config.fft),
            window: hann(config),
            bands: filter_bank(config),
            config: config.clone(),
        }
    }

    /// Bands that lie between two frequencies of the transform and so gather nothing.
    pub fn empty_bands(&self) -> usize {
        self.bands.iter().filter(|band| band.weights.is_empty()).count()
    }

    /// The compressed spectrogram of samples at the configured rate, `[frames, mels]`.
    pub fn log_mel(&self, samples: &[f32]) -> Array2<f32> {
        let mut mel = self.mel(samples);
        compress(&mut mel, self.config.log, self.config.frames.floor());
        mel
    }

    /// `[frames, mels]` of energies.
    fn mel(&self, samples: &[f32]) -> Array2<f32> {
        let (fft, hop) = (self.config.fft, self.config.hop);
        let frames = self.config.frames(samples.len());
        let padded = pad(samples, self.config.padding, fft, (frames - 1) * hop + fft);
        let mut input = self.transform.make_input_vec();
        let mut spectrum = self.transform.make_output_vec();
        let mut scratch = self.transform.make_scratch_vec();
        let mut power = vec![0.0; spectrum.len()];
        let mut mel = Array2::zeros((frames, self.bands.len()));
        for (frame, mut row) in mel.outer_iter_mut().enumerate() {
            let samples = &padded[frame * hop..frame * hop + fft];
            input.copy_from_slice(samples);
            if self.config.frames == Frames::Kaldi {
                emphasise(&mut input[..self.config.window]);
            }
            input.iter_mut().zip(&self.window).for_each(|(sample, window)| *sample *= window);
            // It can fail only for buffers of another length than those it made.
            let done = self.transform.process_with_scratch(&mut input, &mut spectrum, &mut scratch);
            debug_assert!(done.is_ok());
            power.iter_mut().zip(&spectrum).for_each(|(to, value): (&mut f32, &Complex32)| *to = value.norm_sqr());
            row.iter_mut().zip(&self.bands).for_each(|(to, band)| *to = band.energy(&power));
        }
        mel
    }
}

impl Band {
    fn energy(&self, power: &[f32]) -> f32 {
        self.weights.iter().zip(&power[self.start..]).map(|(weight, power)| weight * power).sum()
    }
}

impl Frames {
    /// The least energy.
    fn floor(self) -> f32 {
        match self {
            Self::Plain => FLOOR,
            Self::Kaldi => KALDI_FLOOR,
        }
    }
}

/// A Hann window in `fft` samples: a periodic one in their middle, or, as Kaldi has it, a symmetric one at their start.
fn hann(config: &AudioConfig) -> Vec<f32> {
    let (length, fft) = (config.window, config.fft);
    let (before, period) = match config.frames {
        Frames::Plain => ((fft - length) / 2, length),
        Frames::Kaldi => (0, (length - 1).max(1)),
    };
    let value = |i: usize| 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / period as f64).cos();
    let mut window = vec![0.0; fft];
    window[before..before + length].iter_mut().enumerate().for_each(|(i, to)| *to = value(i) as f32);
    window
}

/// Takes the mean out of a frame, then from each sample a share of the one before it.
fn emphasise(frame: &mut [f32]) {
    let mean = frame.iter().map(|&sample| f64::from(sample)).sum::<f64>() / frame.len() as f64;
    frame.iter_mut().for_each(|sample| *sample -= mean as f32);
    for i in (1..frame.len()).rev() {
        frame[i] -= PRE_EMPHASIS * frame[i - 1];
    }
    frame[0] *= 1.0 - PRE_EMPHASIS;
}

/// The samples with what stands before and after them, `length` in all.
fn pad(samples: &[f32], padding: Padding, fft: usize, length: usize) -> Vec<f32> {
    let before = if padding == Padding::None { 0 } else { fft / 2 };
    let mut padded = vec![0.0; length];
    let kept = samples.len().min(length - before);
    padded[before..before + kept].copy_from_slice(&samples[..kept]);
    if padding == Padding::Reflect {
        (0..before).for_each(|i| padded[i] = samples[mirrored(i as i64 - before as i64, samples.len())]);
        (before + kept..length).for_each(|i| padded[i] = samples[mirrored((i - before) as i64, samples.len())]);
    }
    padded
}

/// The place within `0..length` that a place outside mirrors, without repeating the ends.
fn mirrored(place: i64, length: usize) -> usize {
    let period = (2 * (length as i64 - 1)).max(1);
    let place = place.rem_euclid(period);
    place.min(period - place) as usize % length
}

/// Triangles between neighbouring points of the mel scale.
fn filter_bank(config: &AudioConfig) -> Vec<Band> {
    let (low, high) = (config.mel_scale.mels(config.low.into()), config.mel_scale.mels(config.highest().into()));
    let point = |i: usize| config.mel_scale.hertz(low + (high - low) * i as f64 / (config.mels + 1) as f64);
    let points: Vec<f64> = (0..config.mels + 2).map(point).collect();
    let bins = config.fft / 2 + 1;
    let hertz = |bin: usize| bin as f64 * f64::from(config.rate) / config.fft as f64;
    // Triangles are straight over this.
    let axis = |hertz: f64| match config.frames {
        Frames::Plain => hertz,
        Frames::Kaldi => config.mel_scale.mels(hertz),
    };
    let band = |p: &[f64]| {
        let area = match config.mel_norm {
            MelNorm::Slaney => 2.0 / (p[2] - p[0]),
            MelNorm::None => 1.0,
        };
        let [left, middle, right] = [axis(p[0]), axis(p[1]), axis(p[2])];
        let weight = |bin: usize| {
            let place = axis(hertz(bin));
            ((place - left) / (middle - left)).min((right - place) / (right - middle)).max(0.0)
        };
        let start = (0..bins).find(|&bin| weight(bin) > 0.0).unwrap_or(0);
        let weights = (start..bins).map(weight).take_while(|&weight| weight > 0.0);
        Band { start, weights: weights.map(|weight| (weight * area) as f32).collect() }
    };
    points.windows(3).map(band).collect()
}

impl MelScale {
    fn mels(self, hertz: f64) -> f64 {
        match self {
            Self::Htk => 2595.0 * (1.0 + hertz / 700.0).log10(),
            Self::Slaney if hertz < 1000.0 => hertz * 3.0 / 200.0,
            Self::Slaney => 15.0 + (hertz / 1000.0).ln() * 27.0 / 6.4f64.ln(),
        }
    }

    fn hertz(self, mels: f64) -> f64 {
        match self {
            Self::Htk => 700.0 * (10f64.powf(mels / 2595.0) - 1.0),
            Self::Slaney if mels < 15.0 => mels * 200.0 / 3.0,
            Self::Slaney => 1000.0 * (6.4f64.ln() / 27.0 * (mels - 15.0)).exp(),
        }
    }
}

fn compress(mel: &mut Array2<f32>, log: Log, floor: f32) {
    match log {
        Log::None => {}
        Log::Ln => mel.mapv_inplace(|energy| energy.max(floor).ln()),
        Log::Whisper | Log::Db => {
            mel.mapv_inplace(|energy| energy.max(floor).log10());
            let least = mel.iter().copied().fold(f32::NEG_INFINITY, f32::max) - RANGE;
            match log {
                Log::Whisper => mel.mapv_inplace(|value| (value.max(least) + 4.0) / 4.0),
                _ => mel.mapv_inplace(|value| value.max(least) * 10.0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_invert() {
        for scale in [MelScale::Htk, MelScale::Slaney] {
            for hertz in [0.0, 440.0, 999.0, 1000.0, 5000.0] {
                assert!((scale.hertz(scale.mels(hertz)) - hertz).abs() < 1e-6, "{scale:?} {hertz}");
            }
        }
        assert!((MelScale::Htk.mels(1000.0) - 1000.0).abs() < 0.1);
    }

    #[test]
    fn mirroring_does_not_repeat_the_ends() {
        assert_eq!([-2, -1, 0, 3, 4, 5, 7].map(|place| mirrored(place, 4)), [2, 1, 0, 3, 2, 1, 1]);
        assert_eq!([-3, 0, 5].map(|place| mirrored(place, 1)), [0, 0, 0]);
    }

    #[test]
    fn a_tone_lights_its_band() {
        let config = AudioConfig::default();
        let spectrogram = MelSpectrogram::new(&config);
        assert_eq!(spectrogram.empty_bands(), 0);
        let tone: Vec<f32> = (0..8000).map(|i| (std::f32::consts::TAU * 2000.0 * i as f32 / 16_000.0).sin()).collect();
        let mel = spectrogram.log_mel(&tone);
        assert_eq!(mel.dim(), (50, 80));
        let row = mel.row(25);
        let loudest = (0..80).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
        let point = |i: usize| MelScale::Slaney.hertz(MelScale::Slaney.mels(8000.0) * i as f64 / 81.0);
        assert!(point(loudest) < 2000.0 && 2000.0 < point(loudest + 2), "{loudest}");
    }

    #[test]
    fn very_short_and_silent_sounds_have_spectrograms() {
        let spectrogram = MelSpectrogram::new(&AudioConfig::default());
        for samples in [1, 2, 159, 161, 401] {
            assert!(spectrogram.log_mel(&vec![0.3; samples]).iter().all(|value| value.is_finite()));
            assert!(spectrogram.log_mel(&vec![0.0; samples]).iter().all(|value| value.is_finite()));
        }
    }
}
