use rand::RngExt;
use sensorium_contract::Seed;

/// Which of so many folds a key is dealt into: a function of the key and the seed alone, so that what
/// shares a key stays together and adding rows moves none.
///
/// # Panics
/// If there are no folds.
pub fn fold(key: &str, folds: usize, seed: Seed) -> usize {
    seed.named("folds").named(key).rng().random_range(0..folds)
}
