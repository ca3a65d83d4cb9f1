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
}

/// A parameter of the given shape, drawn on the host, so that every device starts from the same
/// values. It is drawn when it is first used: one that is loaded never is.
pub fn param<const D: usize>(shape: [usize; D], draw: Draw, seed: Seed, device: &Device) -> Param<Tensor<D>> {
    let drawn = move |device: &Device, require_grad: bool| {
        let values = TensorData::new(draw.values(shape.iter().product(), seed), shape);
        Tensor::from_data(values, device).set_require_grad(require_grad)
    };
    Param::uninitialized(ParamId::new(), drawn, device.clone(), true, shape.into())
}

impl Draw {
    fn values(self, count: usize, seed: Seed) -> Vec<f32> {
        let mut rng = seed.rng();
        let mut value = || match self {
            Self::Constant(value) => value,
            Self::Normal(deviation) => truncated_normal(&mut rng) * deviation,
            Self::Uniform(bound) => rng.random_range(-bound..=bound),
        };
        (0..count).map(|_| value()).collect()
    }
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
