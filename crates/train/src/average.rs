use std::collections::HashMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::Tensor,
};

/// An exponential moving average of a module's weights, on the module's device.
///
/// The decay grows from 0.1 as `(1 + t) / (10 + t)` until it reaches the configured one, so that
/// the average leaves its random start behind in short runs too (as TensorFlow's
/// `ExponentialMovingAverage`).
#[derive(Debug)]
pub struct Average {
    decay: f64,
    updates: u64,
    values: HashMap<ParamId, Tensor<1>>,
}

impl Average {
    /// The average of `module` alone, taken as that of so many updates.
    pub fn new<M: Module>(decay: f64, module: &M, updates: u64) -> Self {
        let mut average = Self { decay, updates, values: HashMap::new() };
        module.visit(&mut Filler(&mut average.values));
        average
    }

    /// Begins an update; the new weights follow by [`Average::take_in`].
    pub(crate) fn begin(&mut self) {
        self.updates += 1;
    }

    pub(crate) fn take_in(&mut self, id: ParamId, weights: &Tensor<1>) {
        let t = self.updates as f64;
        let decay = self.decay.min((1.0 + t) / (10.0 + t));
        if let Some(value) = self.values.remove(&id) {
            let change = (weights.clone() - value.clone()).mul_scalar(1.0 - decay);
            self.values.insert(id, value + change);
        }
    }

    /// The module with the averaged weights, without autodiff.
    pub fn module<M: Module>(&self, module: &M) -> M {
        module.valid().map(&mut Placer(&self.values))
    }
}

fn flat<const D: usize>(param: &Param<Tensor<D>>) -> Tensor<1> {
    let tensor = param.base().inner();
    let elements = tensor.shape().num_elements();
    tensor.reshape([elements])
}

struct Filler<'a>(&'a mut HashMap<ParamId, Tensor<1>>);

impl ModuleVisitor for Filler<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.insert(param.id, flat(param));
    }
}

struct Placer<'a>(&'a HashMap<ParamId, Tensor<1>>);

impl ModuleMapper for Placer<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.lazy_shape();
        match self.0.get(&param.id) {
            Some(value) => param.map(|_| value.clone().reshape(shape)),
            None => param,
        }
    }
}
