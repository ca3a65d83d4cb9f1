//! Agreement with librosa and Whisper, on `tests/reference/audio_features.safetensors` (made by the script
//! beside it), and what the shared clips become.

use ndarray::Array2;
use safetensors::SafeTensors;
use sensorium_contract::{Modality, Name, Sample, Value};

use super::{Audio, AudioConfig, MelSpectrogram, Padding, wav};
use crate::reference::{fixture, floats, integers, metadata, shared};

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    samples: String,
    config: AudioConfig,
}

#[test]
fn spectrograms_agree_with_librosa_and_whisper() {
    let bytes = fixture("audio_features.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&metadata(&bytes)["cases"]).unwrap();
    assert_eq!(cases.len(), 8);
    for Case { name, samples, config } in cases {
        config.validate().unwrap();
        let samples = floats(&tensors, &samples);
        let shape = tensors.tensor(&format!("{name}.mel")).unwrap().shape().to_vec();
        let expected = floats(&tensors, &format!("{name}.mel"));
        let expected = Array2::from_shape_vec((shape[0], shape[1]), expected).unwrap();
        let found = MelSpectrogram::new(&config).log_mel(&samples);
        // Where the length is a multiple of the hop, librosa adds a frame centred on the end.
        assert!(expected.nrows().abs_diff(found.nrows()) <= 1, "{name}: {:?} {:?}", found.dim(), expected.dim());
        let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let mut worst = 0.0f32;
        for (found, expected) in found.outer_iter().zip(expected.outer_iter()) {
            found.iter().zip(expected).for_each(|(found, expected)| worst = worst.max((found - expected).abs()));
        }
        println!("{name}: {:.1e} of the largest", worst / largest);
        assert!(worst <= 1e-4 * largest, "{name}: {worst} of {largest}");
    }
}

#[test]
fn a_real_clip_agrees_with_librosa() {
    let bytes = fixture("audio_features.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let Some(clip) = shared(&metadata(&bytes)["clip"]) else { return };
    let sound = wav::decode("audio", &std::fs::read(clip).unwrap(), 60.0).unwrap();
    let config = AudioConfig { rate: sound.rate, window: 256, fft: 256, hop: 80, mels: 40, ..Default::default() };
    let config = AudioConfig { padding: Padding::Zero, log: super::Log::None, ..config };
    let mel = MelSpectrogram::new(&config).log_mel(&sound.samples);
    let largest = floats(&tensors, "clip.largest")[0];
    let places = integers(&tensors, "clip.places");
    for (place, expected) in places.chunks(2).zip(floats(&tensors, "clip.energies")) {
        let found = mel[[place[0] as usize, place[1] as usize]];
        assert!((found - expected).abs() <= 1e-4 * largest, "{place:?}: {found} {expected}");
    }
}

#[test]
fn every_shared_sound_decodes() {
    let Some(folder) = shared("stamps/fr") else { return };
    let audio = Audio::new(&Name::new("audio"), AudioConfig { seconds: 2.0, ..Default::default() }).unwrap();
    let mut clips = Vec::new();
    for folder in [folder, shared("stamps/snd").unwrap(), shared("sounds/audio").unwrap()] {
        let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
        clips.extend(files);
    }
    clips.extend(crate::reference::emoji("wav", usize::MAX));
    let count = clips.len();
    let start = std::time::Instant::now();
    for bytes in clips {
        let sample = Sample { key: String::new(), fields: [("audio".to_owned(), Value::Bytes(bytes.into()))].into() };
        let item = audio.decode(&sample).unwrap().unwrap();
        assert!(item.arrays.f32("mel").iter().all(|value| value.is_finite()));
    }
    println!("{count} clips, {:.2} ms each", start.elapsed().as_secs_f64() * 1e3 / count as f64);
    assert!(count > 700, "{count}");
}
