use burn::{
    module::{Param, ParamId},
    tensor::{Device, Tensor, TensorData},
};
use rand::RngExt;
use sensorium_contract::Seed;

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Draw {
    /// The same value everywhere.
    Constant(f32),
    /// Normal with mean 0 and this standard deviation, cut at two deviations (as `trunc_normal_`
    /// of timm and ViT's reference).
    Normal(f32),
    /// Uniform between minus and plus this bound.
    Uniform(f32),
    /// A position's sines and then cosines, for a matrix `[positions, width]`: wavelengths from 2π to 20,000π
    /// (Vaswani et al. 2017, section 3.5; laid out as in Whisper). Neighbours begin alike, and visible beside
    /// tokens of deviation 1.
    Sinusoids,
}

/// A parameter of the given shape, drawn on the host, so that every device starts from the same
/// values. It is drawn when it is first used: one that is loaded never is.
pub fn param<const D: usize>(shape: [usize; D], draw: Draw, seed: Seed, device: &Device) -> Param<Tensor<D>> {
    let drawn = move |device: &Device, require_grad: bool| {
        let values = TensorData::new(draw.values(&shape, seed), shape);
        Tensor::from_data(values, device).set_require_grad(require_grad)
    };
    Param::uninitialized(ParamId::new(), drawn, device.clone(), true, shape.into())
}

impl Draw {
    fn values(self, shape: &[usize], seed: Seed) -> Vec<f32> {
        let (count, width) = (shape.iter().product(), shape.last().copied().unwrap_or(1));
        let mut rng = seed.rng();
        let mut value = |index: usize| match self {
            Self::Constant(value) => value,
            Self::Normal(deviation) => truncated_normal(&mut rng) * deviation,
            Self::Uniform(bound) => rng.random_range(-bound..=bound),
            Self::Sinusoids => sinusoid(index / width, index % width, width),
        };
        (0..count).map(&mut value).collect()
    }
}

/// The value of column `column` at a position.
fn sinusoid(position: usize, column: usize, width: usize) -> f32 {
    let half = width.div_ceil(2);
    let steps = (half - 1).max(1) as f32;
    let angle = position as f32 * 10_000_f32.powf(-((column % half) as f32) / steps);
    if column < half { angle.sin() } else { angle.cos() }
}

/// Box–Muller, redrawn beyond two deviations.
fn truncated_normal(rng: &mut sensorium_contract::Rng) -> f32 {
    loop {
        let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
        let value = radius * (std::f32::consts::TAU * rng.random::<f32>()).cos();
        if value.abs() <= 2.0 {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinusoids_tell_positions_apart_the_more_the_farther_they_are() {
        let (positions, width) = (50, 64);
        let values = Draw::Sinusoids.values(&[positions, width], Seed::new(1));
        let row = |position: usize| &values[position * width..][..width];
        assert!(row(0).iter().enumerate().all(|(column, value)| *value == if column < width / 2 { 0.0 } else { 1.0 }));
        assert!((row(3)[0] - 3.0_f32.sin()).abs() < 1e-6, "the first wavelength is 2π");
        let alike = |a: usize, b: usize| row(a).iter().zip(row(b)).map(|(a, b)| a * b).sum::<f32>();
        for position in 0..positions - 3 {
            assert!(alike(position, position) > alike(position, position + 1));
            assert!(alike(position, position + 1) > alike(position, position + 3));
        }
    }
}
