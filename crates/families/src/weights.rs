//! A layout's tensors into a module, and out of it.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Tensor, TensorData},
};
use sensorium_contract::host_f32;
use sensorium_state::NamedTensor;

use crate::{
    FamilyError, Layout, Network,
    layout::{Entry, Piece},
};

/// The module with the layout's tensors, each asked for by its published name.
///
/// # Errors
/// What `values` says. Names and shapes were compared before.
pub(crate) fn load<M: Module>(
    module: M,
    layout: &Layout,
    values: &mut dyn FnMut(&str) -> Result<Vec<f32>, FamilyError>,
) -> Result<M, FamilyError> {
    let entries = layout.entries.iter().map(|entry| (entry.own.as_str(), entry)).collect();
    let mut loader = Loader { path: Vec::new(), entries, values, failed: None };
    let module = module.map(&mut loader);
    match loader.failed {
        None => Ok(module),
        Some(error) => Err(error),
    }
}

/// A network's parameters as published.
pub(crate) fn export(network: &Network, layout: &Layout) -> Vec<NamedTensor> {
    let entries = layout.entries.iter().map(|entry| (entry.own.as_str(), entry)).collect();
    let mut exporter = Exporter { path: Vec::new(), entries, tensors: Vec::new() };
    network.visit(&mut exporter);
    exporter.tensors
}

impl Entry {
    /// The parameter's values from those of its pieces.
    fn join(&self, values: &mut dyn FnMut(&str) -> Result<Vec<f32>, FamilyError>) -> Result<Vec<f32>, FamilyError> {
        let mut all = Vec::new();
        for piece in &self.pieces {
            match &piece.name {
                Some(name) if all.is_empty() && piece.rows.is_none() => all = values(name)?,
                Some(name) => all.extend_from_slice(&values(name)?[piece.range()]),
                None => all.resize(all.len() + piece.range().len(), 0.0),
            }
        }
        let [outputs, inputs] = self.matrix();
        Ok(if self.transposed { transpose(&all, outputs, inputs) } else { all })
    }

    /// The pieces of a parameter's values, after those of other parameters.
    fn split(&self, values: Vec<f32>, tensors: &mut Vec<NamedTensor>) {
        let [outputs, inputs] = self.matrix();
        let values = if self.transposed { transpose(&values, inputs, outputs) } else { values };
        let mut start = 0;
        for piece in &self.pieces {
            let values = &values[start..start + piece.range().len()];
            start += values.len();
            match &piece.name {
                Some(name) if piece.rows.is_some() => {
                    part_of(tensors, name, piece)[piece.range()].copy_from_slice(values)
                }
                Some(name) => {
                    tensors.push(NamedTensor {
                        name: name.clone(),
                        shape: piece.shape.clone(),
                        values: values.to_vec(),
                    });
                }
                None => {}
            }
        }
    }

    /// Rows and columns of all pieces together.
    fn matrix(&self) -> [usize; 2] {
        let rows = self.pieces.iter().map(Piece::height).sum();
        [rows, self.pieces[0].width()]
    }
}

/// The values of a tensor that several parameters fill.
fn part_of<'a>(tensors: &'a mut Vec<NamedTensor>, name: &str, piece: &Piece) -> &'a mut [f32] {
    let at = tensors.iter().position(|tensor| tensor.name == name).unwrap_or_else(|| {
        let (shape, values) = (piece.shape.clone(), vec![0.0; piece.shape.iter().product()]);
        tensors.push(NamedTensor { name: name.to_owned(), shape, values });
        tensors.len() - 1
    });
    &mut tensors[at].values
}

/// `[rows, columns]` → `[columns, rows]`
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut transposed = Vec::with_capacity(values.len());
    for column in 0..columns {
        transposed.extend((0..rows).map(|row| values[row * columns + column]));
    }
    transposed
}

struct Loader<'a> {
    path: Vec<String>,
    entries: BTreeMap<&'a str, &'a Entry>,
    values: &'a mut dyn FnMut(&str) -> Result<Vec<f32>, FamilyError>,
    failed: Option<FamilyError>,
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.failed.is_some() {
            return param;
        }
        let path = self.path.join(".");
        // Every family's layout names all of its module's parameters; a test holds it.
        let entry = self.entries.get(path.as_str()).unwrap_or_else(|| panic!("no layout for `{path}`"));
        match entry.join(self.values) {
            Ok(values) => {
                let data = TensorData::new(values, param.lazy_shape());
                let (device, id) = (param.lazy_device(), param.id);
                param.transform_for_load(Tensor::from_data(data, &device), id)
            }
            Err(error) => {
                self.failed = Some(error);
                param
            }
        }
    }
}

struct Exporter<'a> {
    path: Vec<String>,
    entries: BTreeMap<&'a str, &'a Entry>,
    tensors: Vec<NamedTensor>,
}

impl ModuleVisitor for Exporter<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // The first part names the family.
        let path = self.path[1..].join(".");
        let entry = self.entries.get(path.as_str()).unwrap_or_else(|| panic!("no layout for `{path}`"));
        let values = host_f32(param.base());
        entry.split(values, &mut self.tensors);
    }
}
