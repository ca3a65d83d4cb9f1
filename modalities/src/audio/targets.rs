use sensorium_contract::{Arrays, Head, Masked, Name, Rng, Values};

use super::config::AudioConfig;
use crate::patches::hide;

/// One head: a patch's values.
pub(super) fn heads(config: &AudioConfig) -> Vec<Head> {
    vec![Head { name: "patch".to_owned(), values: Values::Numbers(config.patch_values()) }]
}

/// Hides the configured share of each sound's real patches. To be predicted are their standardised energies as
/// they are: loudness and pitch are what a patch of a spectrogram says.
pub(super) fn mask(name: &Name, config: &AudioConfig, arrays: &Arrays, rngs: &mut [Rng]) -> Masked {
    hide(name, arrays, rngs, config.mask_ratio, config.offset(), |_| ())
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Array3};
    use sensorium_contract::{Array, Seed, Truth};

    use super::*;
    use crate::patches::{HIDDEN, MASK, PATCHES};

    fn masked(seed: u64) -> Masked {
        let patches = Array3::from_shape_fn((3, 10, 4), |(row, patch, value)| (row * 100 + patch * 10 + value) as f32);
        let real = Array2::from_shape_fn((3, 10), |(row, patch)| patch < [10, 5, 1][row]);
        let arrays = Arrays::default().with(PATCHES, Array::F32(patches.into_dyn()));
        let arrays = arrays.with(MASK, Array::Bool(real.into_dyn()));
        let mut rngs: Vec<_> = (0..3).map(|row| Seed::new(seed).number(row).rng()).collect();
        mask(&Name::new("audio"), &AudioConfig::default(), &arrays, &mut rngs)
    }

    #[test]
    fn only_real_patches_are_hidden() {
        let masked = masked(1);
        let (hidden, real) = (masked.arrays.bool(HIDDEN), masked.arrays.bool(MASK));
        let counts: Vec<usize> = hidden.outer_iter().map(|row| row.iter().filter(|&&h| h).count()).collect();
        assert_eq!(counts, [6, 3, 1]);
        assert!(hidden.iter().zip(real).all(|(&hidden, &real)| real || !hidden));
    }

    #[test]
    fn the_truth_is_what_the_patch_held() {
        let masked = masked(1);
        let [target] = &masked.targets[..] else { panic!("one head") };
        let Truth::Numbers(numbers) = &target.truth else { panic!("numbers") };
        for ((&row, &token), values) in target.rows.iter().zip(&target.tokens).zip(numbers.outer_iter()) {
            assert_eq!(values[1], (row * 100 + token * 10 + 1) as f32);
        }
    }

    #[test]
    fn the_same_seed_hides_the_same() {
        assert_eq!(masked(1).targets, masked(1).targets);
        assert_ne!(masked(1).targets, masked(2).targets);
    }
}
