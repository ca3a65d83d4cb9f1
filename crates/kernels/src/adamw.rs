use burn::tensor::Tensor;

use crate::{coverage::Operation, flex};

/// Settings of one AdamW step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamwOptions {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay; multiplied by the step size, as in PyTorch.
    pub decay: f64,
    /// Factor of the gradient, for clipping by a global norm.
    pub gradient_scale: f64,
    /// Number of this step, from 1; for the bias corrections.
    pub step: usize,
}

/// Running means of the gradient and of its square, of the parameter's shape.
#[derive(Clone, Debug)]
pub struct AdamwMoments<const D: usize> {
    /// Of the gradient.
    pub first: Tensor<D>,
    /// Of the squared gradient.
    pub second: Tensor<D>,
}

/// What a step gives.
#[derive(Clone, Debug)]
pub struct AdamwStep<const D: usize> {
    /// The changed parameter.
    pub parameter: Tensor<D>,
    /// The changed moments.
    pub moments: AdamwMoments<D>,
}

/// One step of AdamW (Loshchilov and Hutter 2019) on one parameter, without autodiff: all tensors
/// are to be on an inner device. `moments` is nothing before the first step.
///
/// Tensors that nobody else holds are written in place.
pub fn adamw_step<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moments: Option<AdamwMoments<D>>,
    options: AdamwOptions,
) -> AdamwStep<D> {
    let (parameter, gradient, moments) = match flex::adamw_step(parameter, gradient, moments, options) {
        Ok(step) => {
            Operation::Adamw.count_fused();
            return step;
        }
        Err(tensors) => tensors,
    };
    Operation::Adamw.count_composed();
    composed(parameter, gradient, moments, options)
}

pub(crate) fn composed<const D: usize>(
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moments: Option<AdamwMoments<D>>,
    options: AdamwOptions,
) -> AdamwStep<D> {
    let AdamwOptions { learning_rate, beta1, beta2, epsilon, decay, gradient_scale, step } = options;
    let gradient = gradient.mul_scalar(gradient_scale);
    let moments =
        moments.unwrap_or_else(|| AdamwMoments { first: gradient.zeros_like(), second: gradient.zeros_like() });
    let first = moments.first.mul_scalar(beta1) + gradient.clone().mul_scalar(1.0 - beta1);
    let second = moments.second.mul_scalar(beta2) + gradient.square().mul_scalar(1.0 - beta2);
    let corrected_root = second.clone().div_scalar(1.0 - beta2.powi(step as i32)).sqrt().add_scalar(epsilon);
    let rate = learning_rate / (1.0 - beta1.powi(step as i32));
    let parameter =
        parameter.mul_scalar(1.0 - learning_rate * decay) - (first.clone() / corrected_root).mul_scalar(rate);
    AdamwStep { parameter, moments: AdamwMoments { first, second } }
}

/// The sum of the squares of all elements, `[1]`.
pub fn squared_norm<const D: usize>(x: &Tensor<D>) -> Tensor<1> {
    if let Some(sum) = flex::squared_norm(x) {
        Operation::SquaredNorm.count_fused();
        return sum;
    }
    Operation::SquaredNorm.count_composed();
    x.clone().square().sum()
}
