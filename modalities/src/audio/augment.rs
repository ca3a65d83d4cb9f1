use ndarray::{Array2, Axis, Ix2, s};
use rand::RngExt;
use sensorium_contract::{Array, Arrays, Item, Rng};

use super::{config::AudioConfig, prepare::MEL};

/// The item with its spectrogram changed as the configuration allows.
pub(super) fn augment(item: Item, config: &AudioConfig, rng: &mut Rng) -> Item {
    let changes = &config.augment;
    // Decoding makes spectrograms of two axes only.
    let mel = item.arrays.f32(MEL).clone().into_dimensionality::<Ix2>();
    let mut mel = mel.unwrap_or_else(|error| unreachable!("{error}"));
    if let Some(seconds) = changes.crop_seconds {
        mel = crop(&mel, seconds, config, rng);
    }
    if changes.shift_frames > 0 {
        mel = delay(&mel, rng.random_range(0..=changes.shift_frames), config.max_frames());
    }
    if changes.gain > 0.0 {
        mel += rng.random_range(-changes.gain..=changes.gain);
    }
    // The mean, which tells nothing.
    let blank = mel.mean().unwrap_or(0.0);
    for (axis, most) in [(Axis(1), changes.mask_mels), (Axis(0), changes.mask_frames)] {
        let length = mel.len_of(axis);
        let most = most.min(length);
        if most > 0 {
            let count = rng.random_range(0..=most);
            let start = rng.random_range(0..=length - count);
            mel.slice_axis_mut(axis, (start..start + count).into()).fill(blank);
        }
    }
    Item { arrays: Arrays::default().with(MEL, Array::F32(mel.into_dyn())), content: item.content }
}

/// A random stretch of the spectrogram, one frame or more.
fn crop(mel: &Array2<f32>, [least, most]: [f32; 2], config: &AudioConfig, rng: &mut Rng) -> Array2<f32> {
    let frames = rng.random_range(least..=most) * config.rate as f32 / config.hop as f32;
    let length = (frames.round() as usize).clamp(1, mel.nrows());
    let start = rng.random_range(0..=mel.nrows() - length);
    mel.slice(s![start..start + length, ..]).to_owned()
}

/// `frames` of the clip's least energy in front; no more than `longest` frames in all.
fn delay(mel: &Array2<f32>, frames: usize, longest: usize) -> Array2<f32> {
    let silence = mel.iter().copied().fold(f32::INFINITY, f32::min);
    let length = (mel.nrows() + frames).min(longest.max(mel.nrows()));
    let frames = frames.min(length - 1);
    let mut delayed = Array2::from_elem((length, mel.ncols()), silence);
    delayed.slice_mut(s![frames.., ..]).assign(&mel.slice(s![..length - frames, ..]));
    delayed
}

#[cfg(test)]
mod tests {
    use sensorium_contract::Seed;

    use super::*;
    use crate::audio::AudioAugment;

    fn item() -> Item {
        let mel = Array2::from_shape_fn((30, 8), |(frame, mel)| (frame * 8 + mel + 1) as f32);
        Item { arrays: Arrays::default().with(MEL, Array::F32(mel.into_dyn())), content: 3 }
    }

    fn run(augment_: AudioAugment, seed: u64) -> Array2<f32> {
        let config = AudioConfig { seconds: 0.32, mels: 8, augment: augment_, ..Default::default() };
        let item = augment(item(), &config, &mut Seed::new(seed).rng());
        assert_eq!(item.content, 3);
        item.arrays.f32(MEL).clone().into_dimensionality().unwrap()
    }

    #[test]
    fn a_delay_puts_silence_in_front_and_keeps_to_the_longest() {
        let lengths: Vec<usize> = (0..20)
            .map(|seed| {
                let mel = run(AudioAugment { shift_frames: 5, ..Default::default() }, seed);
                let silent = mel.outer_iter().take_while(|row| row.iter().all(|&value| value == 1.0)).count();
                assert_eq!(mel[[silent, 1]], 2.0, "the clip follows the silence");
                mel.nrows()
            })
            .collect();
        assert!(lengths.iter().all(|&length| (30..=32).contains(&length)));
        assert!(lengths.contains(&30) && lengths.contains(&32));
    }

    #[test]
    fn a_crop_is_a_stretch_of_the_sound() {
        let cropped = |seed| run(AudioAugment { crop_seconds: Some([0.1, 0.2]), ..Default::default() }, seed);
        let mels: Vec<Array2<f32>> = (0..60).map(cropped).collect();
        for mel in &mels {
            let first = mel[[0, 0]];
            assert_eq!((first - 1.0) % 8.0, 0.0, "begins with a frame");
            assert!(mel.iter().enumerate().all(|(at, &value)| value == first + at as f32), "frames follow each other");
        }
        let lengths: Vec<usize> = mels.iter().map(Array2::nrows).collect();
        assert!(lengths.iter().all(|length| (10..=20).contains(length)), "{lengths:?}");
        assert!(lengths.contains(&11) && lengths.contains(&19), "{lengths:?}");
        assert!(mels.iter().any(|mel| mel[[0, 0]] > 100.0), "from anywhere");
        let whole = run(AudioAugment { crop_seconds: Some([1.0, 2.0]), ..Default::default() }, 1);
        assert_eq!(whole.nrows(), 30, "a shorter sound stays whole");
    }

    #[test]
    fn one_band_and_one_stretch_are_blanked() {
        let blank = item().arrays.f32(MEL).mean().unwrap();
        let lengths = |changes: &AudioAugment, axis: Axis| -> Vec<usize> {
            let run = |seed| {
                let mel = run(changes.clone(), seed);
                let lanes: Vec<_> = mel.axis_iter(axis).map(|lane| lane.iter().all(|&value| value == blank)).collect();
                let runs = lanes.chunk_by(|a, b| a == b).filter(|run| run[0]);
                assert!(runs.count() <= 1, "one stretch");
                lanes.iter().filter(|&&blank| blank).count()
            };
            (0..40).map(run).collect()
        };
        let bands = lengths(&AudioAugment { mask_mels: 3, ..Default::default() }, Axis(1));
        assert!((0..=3).all(|length| bands.contains(&length)) && bands.iter().all(|&length| length <= 3), "{bands:?}");
        let frames = lengths(&AudioAugment { mask_frames: 2, ..Default::default() }, Axis(0));
        assert!((0..=2).all(|length| frames.contains(&length)) && frames.iter().all(|&length| length <= 2));
    }

    #[test]
    fn a_gain_moves_everything_by_the_same() {
        let mel = run(AudioAugment { gain: 0.5, ..Default::default() }, 1);
        let moved = mel[[0, 0]] - 1.0;
        assert!(moved != 0.0 && moved.abs() <= 0.5);
        assert!((mel[[7, 3]] - 60.0 - moved).abs() < 1e-4);
    }

    #[test]
    fn the_same_seed_gives_the_same_changes() {
        let changes =
            AudioAugment { crop_seconds: Some([0.1, 0.2]), shift_frames: 5, mask_mels: 3, mask_frames: 4, gain: 0.5 };
        assert_eq!(run(changes.clone(), 1), run(changes.clone(), 1));
        assert_ne!(run(changes.clone(), 1), run(changes, 2));
    }
}
