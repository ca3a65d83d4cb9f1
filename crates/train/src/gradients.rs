use std::collections::HashMap;

use burn::{
    module::{Module, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
    tensor::Tensor,
};
use sensorium_kernels::squared_norm;

/// Gradients of a module's parameters, each as one row of numbers `[elements]`, without a graph.
#[derive(Debug, Default)]
pub struct FlatGradients {
    by_parameter: HashMap<ParamId, Tensor<1>>,
    /// Each gradient's parameter path and sum of squares, in the module's order.
    squares: Vec<(String, f64)>,
}

impl FlatGradients {
    /// Takes the gradients out of `gradients`. Parameters without one are absent.
    pub fn take<M: Module>(module: &M, gradients: GradientsParams) -> Self {
        let mut taker = Taker { gradients, path: Vec::new(), taken: Vec::new() };
        module.visit(&mut taker);
        let squares = squares(&taker.taken);
        let names = taker.taken.iter().map(|(name, ..)| name.clone());
        let squares = names.zip(squares).collect();
        let by_parameter = taker.taken.into_iter().map(|(_, id, gradient)| (id, gradient)).collect();
        Self { by_parameter, squares }
    }

    /// The Euclidean norm of all gradients together.
    pub fn norm(&self) -> f64 {
        self.squares.iter().map(|(_, square)| square).sum::<f64>().sqrt()
    }

    /// The first parameter whose gradient is not finite.
    pub fn first_non_finite(&self) -> Option<&str> {
        self.squares.iter().find(|(_, square)| !square.is_finite()).map(|(name, _)| name.as_str())
    }

    pub(crate) fn remove(&mut self, id: ParamId) -> Option<Tensor<1>> {
        self.by_parameter.remove(&id)
    }
}

/// Read in one transfer, whatever the number of parameters.
fn squares(taken: &[(String, ParamId, Tensor<1>)]) -> Vec<f64> {
    let squares: Vec<Tensor<1>> = taken.iter().map(|(_, _, gradient)| squared_norm(gradient)).collect();
    match squares.is_empty() {
        true => Vec::new(),
        false => Tensor::cat(squares, 0).into_data().iter::<f64>().collect(),
    }
}

struct Taker {
    gradients: GradientsParams,
    path: Vec<String>,
    taken: Vec<(String, ParamId, Tensor<1>)>,
}

impl ModuleVisitor for Taker {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            let elements = gradient.shape().num_elements();
            self.taken.push((self.path.join("."), param.id, gradient.inner().reshape([elements])));
        }
    }
}
