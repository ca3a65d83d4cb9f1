use burn::tensor::{Bool, Device, Tensor, TensorData};

/// Numbers in −1 ..= 1, a function of the seed.
pub(super) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

pub(super) fn device() -> Device {
    Device::flex().autodiff()
}

pub(super) fn tensor<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let values = numbers(shape.iter().product(), seed);
    Tensor::from_data(TensorData::new(values, shape.to_vec()), &device())
}

/// A mask that is real where `real(row, token)`.
pub(super) fn mask(rows: usize, tokens: usize, real: impl Fn(usize, usize) -> bool) -> Tensor<2, Bool> {
    let values: Vec<bool> = (0..rows * tokens).map(|place| real(place / tokens, place % tokens)).collect();
    Tensor::from_data(TensorData::new(values, vec![rows, tokens]), &device())
}

pub(super) fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    match x.into_data().try_to_vec() {
        Ok(values) => values,
        Err(error) => panic!("{error:?}"),
    }
}

/// The largest difference is within `tolerance` of the largest number.
pub(super) fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0f32, |most, x| most.max(x.abs())).max(1e-3);
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(difference <= tolerance * scale, "{what} [{place}]: {found} instead of {expected} (scale {scale})");
    }
}
