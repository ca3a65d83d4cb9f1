use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Tensor, TensorData},
};
use sensorium_contract::host_f32;

use crate::{ShapeMismatch, StateError};

/// The value of one parameter on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Path in the module: `trunk.blocks.0.attention.qkv.weight`.
    pub name: String,
    /// The parameter's shape.
    pub shape: Vec<usize>,
    /// Elements in row-major order.
    pub values: Vec<f32>,
}

/// The float parameters of a module, named by their paths, in the order in which the module has
/// them.
pub fn export<M: Module>(module: &M) -> Vec<NamedTensor> {
    let mut visitor = Exporter { path: Path::default(), tensors: Vec::new() };
    module.visit(&mut visitor);
    visitor.tensors
}

/// The number of float parameters (elements) of a module.
pub fn parameter_count<M: Module>(module: &M) -> usize {
    module.num_params()
}

/// The module with the given values. Parameters keep their identity, device, element type and
/// whether they require gradients.
///
/// # Errors
/// [`StateError::Parameters`] names every parameter without a tensor, every tensor without a
/// parameter and every shape that differs.
pub fn import<M: Module>(module: M, tensors: &BTreeMap<String, NamedTensor>) -> Result<M, StateError> {
    let mut check =
        Checker { path: Path::default(), tensors, known: Vec::new(), missing: Vec::new(), shapes: Vec::new() };
    module.visit(&mut check);
    let Checker { known, missing, shapes, .. } = check;
    let known: std::collections::BTreeSet<&String> = known.iter().collect();
    let surplus: Vec<String> = tensors.keys().filter(|name| !known.contains(name)).cloned().collect();
    match missing.is_empty() && shapes.is_empty() && surplus.is_empty() {
        true => Ok(module.map(&mut Importer { path: Path::default(), tensors })),
        false => Err(StateError::Parameters { missing, surplus, shapes }),
    }
}

/// Where a traversal of a module stands.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn name(&self) -> String {
        self.0.join(".")
    }
}

struct Exporter {
    path: Path,
    tensors: Vec<NamedTensor>,
}

impl ModuleVisitor for Exporter {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.0.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.0.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.lazy_shape().to_vec();
        let values = host_f32(param.base());
        self.tensors.push(NamedTensor { name: self.path.name(), shape, values });
    }
}

struct Checker<'a> {
    path: Path,
    tensors: &'a BTreeMap<String, NamedTensor>,
    known: Vec<String>,
    missing: Vec<String>,
    shapes: Vec<ShapeMismatch>,
}

impl ModuleVisitor for Checker<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.0.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.0.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.name();
        let expected = param.lazy_shape().to_vec();
        match self.tensors.get(&name) {
            None => self.missing.push(name.clone()),
            Some(tensor) if tensor.shape != expected => {
                self.shapes.push(ShapeMismatch { name: name.clone(), expected, found: tensor.shape.clone() })
            }
            Some(_) => {}
        }
        self.known.push(name);
    }
}

struct Importer<'a> {
    path: Path,
    tensors: &'a BTreeMap<String, NamedTensor>,
}

impl ModuleMapper for Importer<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.0.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.0.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // The check before has seen a tensor for every parameter.
        let Some(tensor) = self.tensors.get(&self.path.name()) else { return param };
        let data = TensorData::new(tensor.values.clone(), tensor.shape.clone());
        let device = param.lazy_device();
        let id = param.id;
        param.transform_for_load(Tensor::from_data(data, &device), id)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[derive(Module, Debug)]
    struct Layer {
        weight: Param<Tensor<2>>,
        bias: Option<Param<Tensor<1>>>,
    }

    #[derive(Module, Debug)]
    struct Net {
        blocks: Vec<Layer>,
        scale: Param<Tensor<1>>,
    }

    fn net(device: &Device, start: f32) -> Net {
        let weight = |k: f32| Param::from_data(TensorData::from([[start + k, 1.0], [2.0, 3.0], [4.0, 5.0]]), device);
        let first =
            Layer { weight: weight(0.0), bias: Some(Param::from_data(TensorData::from([0.5f32, start]), device)) };
        let second = Layer { weight: weight(1.0), bias: None };
        Net { blocks: vec![first, second], scale: Param::from_data(TensorData::from([start]), device) }
    }

    fn by_name(tensors: Vec<NamedTensor>) -> BTreeMap<String, NamedTensor> {
        tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect()
    }

    #[test]
    fn paths_name_parameters() {
        let tensors = export(&net(&Device::flex(), 9.0));
        let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names, ["blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "scale"]);
        assert_eq!(tensors[2].shape, [3, 2]);
        assert_eq!(tensors[2].values, [10.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn import_restores_values_and_keeps_everything_else() {
        let device = Device::flex().autodiff();
        let source = export(&net(&device, 9.0));
        let target = net(&device, -1.0);
        let target = Net { scale: target.scale.clone().set_require_grad(false), ..target };
        let ids = [target.blocks[0].weight.id, target.scale.id];
        let loaded = import(target, &by_name(source.clone())).unwrap();
        assert_eq!(export(&loaded), source);
        assert_eq!([loaded.blocks[0].weight.id, loaded.scale.id], ids);
        assert!(loaded.blocks[0].weight.val().is_autodiff() && loaded.blocks[0].weight.is_require_grad());
        assert!(!loaded.scale.val().is_require_grad());
        let gradients = loaded.blocks[1].weight.val().sum().backward();
        assert!(loaded.blocks[1].weight.val().grad(&gradients).is_some());

        let plain = import(net(&Device::flex(), 0.0), &by_name(source)).unwrap();
        assert!(!plain.blocks[0].weight.val().is_autodiff());
    }

    #[test]
    fn everything_that_does_not_fit_is_named() {
        let mut tensors = by_name(export(&net(&Device::flex(), 9.0)));
        tensors.remove("scale");
        let odd = NamedTensor { name: "head".into(), shape: vec![1], values: vec![0.0] };
        tensors.insert("head".into(), odd);
        let bias = NamedTensor { name: "blocks.0.bias".into(), shape: vec![3], values: vec![0.0; 3] };
        tensors.insert("blocks.0.bias".into(), bias);
        let message = import(net(&Device::flex(), 0.0), &tensors).unwrap_err().to_string();
        assert_eq!(
            message,
            "the tensors do not fit the model: missing scale; unknown head; \
             shapes `blocks.0.bias` (expected [2], found [3]);"
        );
    }
}
