//! What pictures and sounds a column holds, and at which size they are read.

use ndarray::Array1;
use sensorium_contract::{Name, Value};
use sensorium_modalities::{
    audio::{Audio, AudioAugment, AudioConfig, Standardise},
    image::{ImageAugment, ImageConfig, Resize, Size},
};

/// The largest side that pictures are read at; more is a change of the recipe away.
const LARGEST: u32 = 96;
/// The most pictures of a case that are read; more is a change of the recipe away.
const MOST_PICTURES: usize = 4;

/// Pictures at their size where they are small.
pub(super) fn image(field: &str, examples: &[Value]) -> ImageConfig {
    let mut sides: Vec<[u32; 2]> = examples.iter().filter_map(dimensions).collect();
    sides.sort_unstable_by_key(|[width, height]| width.max(height).to_owned());
    let [width, height] = sides.get(sides.len() / 2).copied().unwrap_or([64, 64]);
    let side = width.max(height).min(LARGEST);
    let patch = match side {
        0..=36 => 4,
        37..=72 => 8,
        _ => 12,
    };
    let size = (side.div_ceil(patch) * patch).max(2 * patch) as usize;
    let several = |value: &Value| if let Value::List(values) = value { values.len() } else { 1 };
    let pictures = examples.iter().map(several).max().unwrap_or(1).clamp(1, MOST_PICTURES);
    let square = sides.iter().filter(|[width, height]| width == height).count() * 2 > sides.len();
    ImageConfig {
        field: field.to_owned(),
        size: Size::Square(size),
        patch: patch as usize,
        resize: if square { Resize::Stretch } else { Resize::Pad },
        background: [0; 3],
        pictures,
        augment: ImageAugment { crop_scale: Some([0.7, 1.0]), shift: size / 16, brightness: 0.1, ..Default::default() },
        ..ImageConfig::default()
    }
}

/// Width and height.
fn dimensions(value: &Value) -> Option<[u32; 2]> {
    let first = if let Value::List(values) = value { values.first()? } else { value };
    let Value::Bytes(bytes) = first else { return None };
    sensorium_modalities::image::dimensions(bytes)
}

/// Sounds at their rate, up to 16 kHz, and their length, up to ten seconds.
pub(super) fn audio(field: &str, examples: &[Value]) -> AudioConfig {
    let mut found: Vec<(u32, f32)> = examples.iter().filter_map(rate_and_seconds).collect();
    found.sort_unstable_by(|a, b| a.1.total_cmp(&b.1));
    let rate = found.iter().map(|(rate, _)| *rate).max().unwrap_or(16_000).clamp(4000, 16_000);
    let longest = found.get(found.len().saturating_sub(1) * 19 / 20).map_or(10.0, |(_, seconds)| *seconds);
    let window = rate as usize / 40;
    let config = AudioConfig {
        field: field.to_owned(),
        rate,
        seconds: (longest * 10.0).ceil().clamp(5.0, 100.0) / 10.0,
        window,
        hop: window / 2,
        fft: window.next_power_of_two(),
        mels: 64,
        patch_frames: 8,
        mask_ratio: 0.5,
        augment: AudioAugment { shift_frames: 20, mask_mels: 8, mask_frames: 16, ..AudioAugment::default() },
        standardise: Standardise::None,
        ..AudioConfig::default()
    };
    AudioConfig { standardise: levels(&config, examples), ..config }
}

/// All sounds by the same mean and deviation, which are the examples': how loud and how even a sound is tells what it
/// is. Each by its own where there is none to be read.
fn levels(plain: &AudioConfig, examples: &[Value]) -> Standardise {
    let Ok(audio) = Audio::new(&Name::new("audio"), plain.clone()) else { return Standardise::Clip };
    let mel = |value: &Value| if let Value::Bytes(bytes) = value { audio.mel(bytes).ok() } else { None };
    let values: Vec<f64> = examples.iter().filter_map(mel).flatten().map(f64::from).collect();
    let values = Array1::from(values);
    let rounded = |value: f64| (1000.0 * value).round() as f32 / 1000.0;
    match (values.mean().map(rounded), rounded(values.std(0.0))) {
        (Some(mean), std) if std > 0.0 => Standardise::Fixed { mean, std },
        _ => Standardise::Clip,
    }
}

/// From the head of a WAV file: bytes a second give its length.
fn rate_and_seconds(value: &Value) -> Option<(u32, f32)> {
    let Value::Bytes(bytes) = value else { return None };
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (rate, a_second) = (number(24)?, number(28)?);
    (bytes.starts_with(b"RIFF") && rate > 0 && a_second > 0).then(|| (rate, bytes.len() as f32 / a_second as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of a tone as a WAV file of 16 bits at 8 kHz.
    fn tone(loudness: f32) -> Value {
        let samples = (0..8000).map(|at| (at as f32 * 0.3).sin() * loudness * 32_767.0);
        let data: Vec<u8> = samples.flat_map(|sample| (sample as i16).to_le_bytes()).collect();
        let words = |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
        let [size, length] = [36 + data.len() as u32, data.len() as u32];
        let head = [&b"RIFF"[..], &words(&[size]), b"WAVEfmt ", &words(&[16, 1 << 16 | 1, 8000, 16_000, 16 << 16 | 2])];
        Value::Bytes([&head.concat()[..], b"data", &words(&[length]), &data].concat().into())
    }

    #[test]
    fn sounds_keep_their_loudness_and_are_standardised_together() {
        let examples = [tone(0.9), tone(0.1), tone(0.01)];
        let config = audio("sound", &examples);
        assert!(matches!(config.standardise, Standardise::Fixed { .. }), "{:?}", config.standardise);
        assert_eq!((config.rate, config.seconds), (8000, 1.1));
        let audio = Audio::new(&Name::new("audio"), config).unwrap();
        let mels = examples.map(|example| match example {
            Value::Bytes(bytes) => audio.mel(&bytes).unwrap(),
            other => panic!("{other:?}"),
        });
        let means = mels.each_ref().map(|mel| mel.mean().unwrap());
        assert!(means[0] > means[1] && means[1] > means[2], "{means:?}");
        let all: Array1<f32> = mels.into_iter().flatten().collect();
        assert!(all.mean().unwrap().abs() < 0.01 && (all.std(0.0) - 1.0).abs() < 0.01);
    }

    #[test]
    fn without_a_sound_that_can_be_read_each_is_standardised_by_its_own() {
        assert_eq!(audio("sound", &[]).standardise, Standardise::Clip);
        let noise = Value::Bytes(b"no sound at all".as_slice().into());
        assert_eq!(audio("sound", &[noise]).standardise, Standardise::Clip);
    }
}
