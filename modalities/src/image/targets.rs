use sensorium_contract::{Arrays, Head, Masked, Name, Rng, Values};

use super::config::ImageConfig;
use crate::patches::hide;

/// Keeps a patch of one colour from being divided by zero (He et al. 2022's code).
const LEAST_VARIANCE: f32 = 1e-6;

/// One head: a patch's pixels.
pub(super) fn heads(config: &ImageConfig) -> Vec<Head> {
    vec![Head { name: "patch".to_owned(), values: Values::Numbers(config.patch_values()) }]
}

/// Hides the configured share of each picture's patches. To be predicted are a patch's pixels less their own
/// mean, by their own deviation, which He et al. 2022 found better than plain pixels.
pub(super) fn mask(name: &Name, config: &ImageConfig, arrays: &Arrays, rngs: &mut [Rng]) -> Masked {
    hide(name, arrays, rngs, config.mask_ratio, config.offset(), normalise)
}

/// To mean 0 and (unbiased) variance 1.
fn normalise(patch: &mut [f32]) {
    let count = patch.len() as f32;
    let mean = patch.iter().sum::<f32>() / count;
    let variance = patch.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / (count - 1.0).max(1.0);
    let deviation = (variance + LEAST_VARIANCE).sqrt();
    patch.iter_mut().for_each(|value| *value = (*value - mean) / deviation);
}

#[cfg(test)]
mod tests {
    use ndarray::Array3;
    use sensorium_contract::{Array, Pool, Seed, Truth};

    use super::*;
    use crate::patches::{HIDDEN, PATCHES};

    fn arrays(rows: usize) -> Arrays {
        let patches = Array3::from_shape_fn((rows, 64, 192), |(r, p, v)| ((r * 64 + p) as f32 + v as f32 * 0.3).sin());
        Arrays::default().with(PATCHES, Array::F32(patches.into_dyn()))
    }

    fn masked(config: &ImageConfig, seed: u64) -> Masked {
        let mut rngs: Vec<_> = (0..3).map(|row| Seed::new(seed).number(row).rng()).collect();
        mask(&Name::new("image"), config, &arrays(3), &mut rngs)
    }

    #[test]
    fn every_row_hides_exactly_its_share() {
        let masked = masked(&ImageConfig::default(), 1);
        let hidden = masked.arrays.bool(HIDDEN);
        for row in hidden.outer_iter() {
            assert_eq!(row.iter().filter(|&&h| h).count(), 38); // round(0.6 · 64)
        }
        let [target] = &masked.targets[..] else { panic!("one head") };
        assert_eq!(target.rows.len(), 3 * 38);
        for (&row, &token) in target.rows.iter().zip(&target.tokens) {
            assert!(hidden[[row, token - 1]], "token 0 is the class token");
        }
    }

    #[test]
    fn without_a_class_token_positions_start_at_the_patches() {
        let config = ImageConfig { pool: Pool::Mean, ..Default::default() };
        let masked = masked(&config, 1);
        let hidden = masked.arrays.bool(HIDDEN);
        assert!(masked.targets[0].rows.iter().zip(&masked.targets[0].tokens).all(|(&r, &t)| hidden[[r, t]]));
    }

    #[test]
    fn the_same_seed_hides_the_same_and_rows_differ() {
        let config = ImageConfig::default();
        assert_eq!(masked(&config, 1).arrays, masked(&config, 1).arrays);
        assert_ne!(masked(&config, 1).arrays, masked(&config, 2).arrays);
        let hidden = masked(&config, 1).arrays.bool(HIDDEN).clone();
        assert_ne!(hidden.index_axis(ndarray::Axis(0), 0), hidden.index_axis(ndarray::Axis(0), 1));
    }

    #[test]
    fn targets_are_normalised_patches() {
        let masked = masked(&ImageConfig::default(), 1);
        let Truth::Numbers(numbers) = &masked.targets[0].truth else { panic!("numbers") };
        for patch in numbers.outer_iter() {
            let mean = patch.mean().unwrap();
            let variance = patch.mapv(|v| (v - mean).powi(2)).sum() / 191.0;
            assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-3, "{mean} {variance}");
        }
        let mut flat = [0.5; 12];
        normalise(&mut flat);
        assert_eq!(flat, [0.0; 12]);
    }

    #[test]
    fn nothing_hidden_is_nothing_to_predict() {
        let config = ImageConfig { mask_ratio: 0.0, ..Default::default() };
        assert!(masked(&config, 1).targets.is_empty());
    }
}
