use burn::tensor::{
    Tensor,
    module::interpolate,
    ops::{InterpolateMode, InterpolateOptions},
};

/// Rows and columns of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Patches from top to bottom.
    pub rows: usize,
    /// Patches from left to right.
    pub columns: usize,
}

impl Grid {
    /// Patches in all.
    pub fn patches(self) -> usize {
        self.rows * self.columns
    }
}

/// Learned positions of one grid for another grid, by bicubic interpolation between patch centres (as
/// `interpolate_pos_encoding` of transformers). Vectors of tokens in front of the patches stay.
///
/// # Shapes
/// `positions` `[tokens in front + from.patches(), width]` → `[tokens in front + to.patches(), width]`
///
/// # Panics
/// If `positions` holds fewer vectors than `from` has patches.
pub fn resize_positions(positions: Tensor<2>, from: Grid, to: Grid) -> Tensor<2> {
    if from == to {
        return positions;
    }
    let [tokens, width] = positions.dims();
    let front = tokens - from.patches();
    let patches = positions.clone().slice([front..tokens]).transpose(); // [width, patches]
    let patches = patches.reshape([1, width, from.rows, from.columns]);
    let options = InterpolateOptions::new(InterpolateMode::Bicubic)
        .with_align_corners(false)
        .with_output_size([to.rows, to.columns]);
    let patches = interpolate(patches, options); // [1, width, rows, columns]
    let patches = patches.reshape([width, to.patches()]).transpose(); // [patches, width]
    match front {
        0 => patches,
        _ => Tensor::cat(vec![positions.slice([0..front]), patches], 0),
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn values(tensor: Tensor<2>) -> Vec<f32> {
        tensor.into_data().try_to_vec::<f32>().unwrap()
    }

    fn table(tokens: usize, width: usize) -> Tensor<2> {
        let values: Vec<f32> = (0..tokens * width).map(|i| (i as f32 * 0.7).sin()).collect();
        Tensor::from_data(TensorData::new(values, [tokens, width]), &Device::flex())
    }

    #[test]
    fn the_same_grid_keeps_the_positions() {
        let grid = Grid { rows: 3, columns: 2 };
        assert_eq!(values(resize_positions(table(7, 4), grid, grid)), values(table(7, 4)));
    }

    #[test]
    fn a_finer_grid_interpolates_as_pytorch() {
        // torch.nn.functional.interpolate([0, 1, 4, 2], size=8, mode="bicubic", align_corners=False): cubic
        // convolution with a = -0.75 and repeated edges.
        let line = Tensor::from_data(TensorData::new(vec![9.0f32, 0.0, 1.0, 4.0, 2.0], [5, 1]), &Device::flex());
        let finer = resize_positions(line, Grid { rows: 1, columns: 4 }, Grid { rows: 1, columns: 8 });
        let weights = |at: f64| {
            let a = -0.75;
            let near = |x: f64| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
            let far = |x: f64| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
            [far(at + 1.0), near(at), near(1.0 - at), far(2.0 - at)]
        };
        let known = [0.0, 1.0, 4.0, 2.0];
        let expected: Vec<f64> = (0..8)
            .map(|i| {
                let at = (f64::from(i) + 0.5) / 2.0 - 0.5;
                let tap =
                    |(k, weight): (usize, f64)| weight * known[(at.floor() as i64 - 1 + k as i64).clamp(0, 3) as usize];
                weights(at - at.floor()).into_iter().enumerate().map(tap).sum()
            })
            .collect();
        let finer = values(finer);
        assert_eq!(finer[0], 9.0, "the token in front stays");
        for (finer, expected) in finer[1..].iter().zip(&expected) {
            assert!((f64::from(*finer) - expected).abs() < 1e-5, "{finer} {expected}");
        }
    }
}
