use burn::tensor::{Device, Tensor, TensorData};

/// The sharpness of Keys' cubic (1981) as PyTorch has it.
const SHARPNESS: f32 = -0.75;

/// Learned positions `[1, rows · columns, width]` on one grid, read at the places of another,
/// `[1, new rows · new columns, width]`: bicubic, the edge repeated.
pub(crate) fn resample(positions: Tensor<3>, from: [usize; 2], to: [usize; 2]) -> Tensor<3> {
    let [_, _, width] = positions.dims();
    let device = positions.device().inner();
    let [down, across] = [0, 1].map(|axis| weights(from[axis], to[axis], &device));
    let x = positions.reshape([from[0], from[1] * width]);
    let x = down.matmul(x).reshape([to[0], from[1], width]); // [new rows, columns, width]
    let x = x.swap_dims(0, 1).reshape([from[1], to[0] * width]);
    let x = across.matmul(x).reshape([to[1], to[0], width]); // [new columns, new rows, width]
    x.swap_dims(0, 1).reshape([1, to[0] * to[1], width])
}

/// How much of each old place a new place has, `[new, old]`.
fn weights(old: usize, new: usize, device: &Device) -> Tensor<2> {
    let mut weights = vec![0.0; new * old];
    let step = old as f32 / new as f32;
    for (at, row) in weights.chunks_exact_mut(old).enumerate() {
        let place = step * (at as f32 + 0.5) - 0.5;
        let first = place.floor();
        for (offset, weight) in (-1..=2).zip(cubic(place - first)) {
            let place = (first as isize + offset).clamp(0, old as isize - 1);
            row[place as usize] += weight;
        }
    }
    Tensor::from_data(TensorData::new(weights, [new, old]), device)
}

/// The weights of the places at −1, 0, 1 and 2 for what lies at `t` between 0 and 1.
fn cubic(t: f32) -> [f32; 4] {
    let near = |x: f32| ((SHARPNESS + 2.0) * x - (SHARPNESS + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((SHARPNESS * x - 5.0 * SHARPNESS) * x + 8.0 * SHARPNESS) * x - 4.0 * SHARPNESS;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_grid_changes_nothing_and_constants_stay() {
        let device = Device::flex();
        let values: Vec<f32> = (0..24).map(|value| (value as f32 * 0.7).sin()).collect();
        let positions = Tensor::<3>::from_data(TensorData::new(values.clone(), [1, 12, 2]), &device);
        let same = resample(positions, [3, 4], [3, 4]).into_data().iter::<f32>().collect::<Vec<_>>();
        assert!(same.iter().zip(&values).all(|(a, b)| (a - b).abs() < 1e-6));
        let ones = resample(Tensor::ones([1, 9, 1], &device), [3, 3], [5, 2]);
        assert!(ones.into_data().iter::<f32>().all(|value| (value - 1.0).abs() < 1e-6));
    }

    /// Twice as many places: each lies a quarter from an old one, by which the cubic gives −27/256, 225/256, 67/256
    /// and −9/256.
    #[test]
    fn places_between_have_the_weights_of_the_cubic() {
        let row = Tensor::<3>::from_data(TensorData::new(vec![0.0_f32, 1.0, 2.0, 3.0], [1, 4, 1]), &Device::flex());
        let found: Vec<f32> = resample(row, [1, 4], [1, 8]).into_data().iter().collect();
        let expected = [-27.0, 49.0, 171.0, 332.0, 436.0, 597.0, 719.0, 795.0].map(|value: f32| value / 256.0);
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
    }
}
