//! What goes into a forward pass and what comes out.

use std::collections::BTreeMap;

use burn::tensor::{Bool, Device, Int, Tensor};
use ndarray::{Array2, ArrayD, IxDyn};
use sensorium_backbone::{Embedding, Transformer};
use sensorium_contract::{Array, host_f32, tensor_bool, tensor_f32, tensor_i64};
use sensorium_objectives::IGNORED;

use crate::{FamilyError, parts::LanguageHead};

/// Raw tensors, named as the reference implementation names them.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    arrays: &'a BTreeMap<String, Array>,
    device: Device,
    wanted: Wanted,
}

/// What the answers are for, so that nothing else is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// All that the reference implementation answers.
    All,
    /// Vectors alone: no scores of words, and no answers at hidden tokens.
    Vectors,
    /// Scores of words where `labels` names one.
    Labelled,
}

impl<'a> Inputs<'a> {
    /// Inputs for a network whose parameters are on this device.
    pub fn new(arrays: &'a BTreeMap<String, Array>, device: &Device) -> Self {
        Self { arrays, device: device.clone().inner(), wanted: Wanted::All }
    }

    /// The same for a network of which vectors are wanted and nothing else.
    #[must_use]
    pub fn for_vectors(self) -> Self {
        Self { wanted: Wanted::Vectors, ..self }
    }

    /// The same for a network whose scores of words are wanted where `labels` names one, and nowhere else.
    #[must_use]
    pub fn for_labels(self) -> Self {
        Self { wanted: Wanted::Labelled, ..self }
    }

    /// Whether vectors are wanted and nothing else.
    pub(crate) fn are_for_vectors(&self) -> bool {
        self.wanted == Wanted::Vectors
    }

    /// Tokens through a trunk, `[rows, tokens, width]` → the same.
    pub(crate) fn through(&self, trunk: &Transformer, x: Tensor<3>, mask: Option<&Tensor<2, Bool>>) -> Tensor<3> {
        match self.wanted {
            Wanted::Vectors => trunk.run_real(x, mask),
            Wanted::All | Wanted::Labelled => trunk.run(x, mask, None),
        }
    }

    /// A head's scores of words, `[rows, tokens, vocabulary]`, or of labelled tokens alone `[1, labelled, vocabulary]`;
    /// nothing if there is no head or none are wanted.
    pub(crate) fn scores(
        &self,
        head: Option<&LanguageHead>,
        x: &Tensor<3>,
        words: &Embedding,
    ) -> Result<Option<Tensor<3>>, FamilyError> {
        let Some(head) = head else { return Ok(None) };
        let x = match self.wanted {
            Wanted::Vectors => return Ok(None),
            Wanted::All => x.clone(),
            Wanted::Labelled => {
                let [rows, tokens, width] = x.dims();
                let labels = self.integers("labels")?;
                let places = (0_i64..).zip(&labels).filter(|(_, label)| **label != IGNORED).map(|(place, _)| place);
                let places: Vec<i64> = places.collect();
                if labels.shape() != [rows, tokens] || places.is_empty() {
                    // What is wrong with them is said where they are compared.
                    return Ok(Some(head.forward(x.clone(), words)));
                }
                let places = Tensor::from_data(&places[..], &x.device().inner());
                x.clone().reshape([rows * tokens, width]).select(0, places).unsqueeze_dim(0) // [1, labelled, width]
            }
        };
        Ok(Some(head.forward(x, words)))
    }

    /// Where tensors are made.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether there is an input of this name.
    pub fn has(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }

    fn get(&self, name: &str) -> Result<&'a Array, FamilyError> {
        let names = || self.arrays.keys().cloned().collect::<Vec<_>>().join(", ");
        let missing = || FamilyError::input(name, format!("it is missing; there are {}", names()));
        let array = self.arrays.get(name).ok_or_else(missing)?;
        match array.shape().contains(&0) {
            true => Err(FamilyError::input(name, format!("it is empty, of shape {:?}", array.shape()))),
            false => Ok(array),
        }
    }

    /// Ids `[rows, tokens]`, each below `values`.
    ///
    /// # Errors
    /// If they are missing or of another kind, shape or range.
    pub fn ids(&self, name: &str, values: usize) -> Result<Array2<i64>, FamilyError> {
        let ids = self.integers(name)?;
        let shape = ids.shape().to_vec();
        check_range(name, ids.iter(), values)?;
        ids.into_dimensionality()
            .map_err(|_| FamilyError::input(name, format!("expected the shape [rows, tokens], found {shape:?}")))
    }

    /// Ids of another kind, of the shape of the words; zeros where they are not given.
    ///
    /// # Errors
    /// As [`Inputs::ids`].
    pub fn ids_or_zeros(&self, name: &str, shape: [usize; 2], values: usize) -> Result<Array2<i64>, FamilyError> {
        if !self.has(name) {
            return Ok(Array2::zeros(shape));
        }
        let ids = self.ids(name, values)?;
        let found = <[usize; 2]>::from(ids.dim());
        match found == shape {
            true => Ok(ids),
            false => Err(FamilyError::input(name, format!("expected shape {shape:?}, found {found:?}"))),
        }
    }

    /// Integers of any shape.
    ///
    /// # Errors
    /// If they are missing or of another kind.
    pub fn integers(&self, name: &str) -> Result<ArrayD<i64>, FamilyError> {
        match self.get(name)? {
            Array::I64(ids) => Ok(ids.clone()),
            other => Err(FamilyError::input(name, format!("expected integers, found {}", kind(other)))),
        }
    }

    /// Floats of `D` dimensions.
    ///
    /// # Errors
    /// If they are missing or of another kind, number of dimensions or not finite.
    pub fn floats<const D: usize>(&self, name: &str) -> Result<Tensor<D>, FamilyError> {
        match self.get(name)? {
            Array::F32(values) if values.ndim() == D && values.iter().all(|value| value.is_finite()) => {
                Ok(tensor_f32(values, &self.device))
            }
            Array::F32(values) if values.ndim() == D => {
                Err(FamilyError::input(name, "it holds values that are not finite"))
            }
            other => {
                let problem =
                    format!("expected floats of {D} dimensions, found {} of shape {:?}", kind(other), other.shape());
                Err(FamilyError::input(name, problem))
            }
        }
    }

    /// Floats `[rows, tokens]` on the host.
    ///
    /// # Errors
    /// If they are missing or of another kind or shape, or not finite.
    pub fn host_floats(&self, name: &str, shape: [usize; 2]) -> Result<Array2<f32>, FamilyError> {
        match self.get(name)? {
            Array::F32(values) if values.shape() == shape && values.iter().all(|value| value.is_finite()) => {
                Ok(Array2::from_shape_fn(shape, |(row, token)| values[[row, token]]))
            }
            other => {
                let problem = format!(
                    "expected finite floats of shape {shape:?}, found {} of shape {:?}",
                    kind(other),
                    other.shape()
                );
                Err(FamilyError::input(name, problem))
            }
        }
    }

    /// What is real, `[rows, tokens]`: an attention mask of 0 and 1 of any type. Nothing if it is not given, or
    /// hides nothing.
    ///
    /// # Errors
    /// If it has another shape.
    pub fn mask(&self, name: &str, [rows, tokens]: [usize; 2]) -> Result<Option<Tensor<2, Bool>>, FamilyError> {
        let real = self.truths(name, &[rows, tokens])?.filter(|real| !real.iter().all(|&real| real));
        Ok(real.map(|real| tensor_bool(&real, &self.device)))
    }

    /// Where an array of 0 and 1 of any type is not 0. Nothing if it is not given.
    ///
    /// # Errors
    /// If it has another shape.
    pub fn truths(&self, name: &str, shape: &[usize]) -> Result<Option<ArrayD<bool>>, FamilyError> {
        let Some(array) = self.arrays.get(name) else { return Ok(None) };
        if array.shape() != shape {
            return Err(FamilyError::input(name, format!("expected shape {shape:?}, found {:?}", array.shape())));
        }
        Ok(Some(match array {
            Array::F32(values) => values.mapv(|value| value != 0.0),
            Array::I64(values) => values.mapv(|value| value != 0),
            Array::Bool(values) => values.clone(),
        }))
    }

    /// Host ids as a tensor.
    pub fn tensor(&self, ids: &Array2<i64>) -> Tensor<2, Int> {
        tensor_i64(&ids.clone().into_dyn(), &self.device)
    }
}

/// Positions, if a table has all of them.
///
/// # Errors
/// Names the input that has too many tokens.
pub(crate) fn within(
    name: &str,
    positions: Array2<i64>,
    table: Option<&Embedding>,
) -> Result<Array2<i64>, FamilyError> {
    let most = table.map_or(usize::MAX, Embedding::values);
    match positions.iter().max() {
        Some(&last) if last as usize >= most => {
            Err(FamilyError::input(name, format!("it has tokens at position {last}, the model has {most} positions")))
        }
        _ => Ok(positions),
    }
}

/// An error if an id is not below the number of values.
pub(crate) fn check_range<'a>(
    name: &str,
    mut ids: impl Iterator<Item = &'a i64>,
    values: usize,
) -> Result<(), FamilyError> {
    match ids.find(|&&id| id < 0 || id as usize >= values) {
        None => Ok(()),
        Some(id) => Err(FamilyError::input(name, format!("expected ids from 0 to {}, found {id}", values as i64 - 1))),
    }
}

fn kind(array: &Array) -> &'static str {
    match array {
        Array::F32(_) => "floats",
        Array::I64(_) => "integers",
        Array::Bool(_) => "truth values",
    }
}

/// 0, 1, 2 … for each row.
pub(crate) fn counting([rows, tokens]: [usize; 2]) -> Array2<i64> {
    Array2::from_shape_fn([rows, tokens], |(_, token)| token as i64)
}

/// What a network answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Floats in row-major order, and their shape.
    Floats(Tensor<1>, Vec<usize>),
    /// Integers.
    Integers(ArrayD<i64>),
}

/// The answers of a forward pass, named as the reference implementation names them.
#[derive(Clone, Debug, Default)]
pub struct Answers(pub BTreeMap<&'static str, Answer>);

impl Answers {
    /// One more answer.
    pub fn with<const D: usize>(mut self, name: &'static str, values: Tensor<D>) -> Self {
        let shape = values.dims().to_vec();
        let count = shape.iter().product::<usize>();
        self.0.insert(name, Answer::Floats(values.reshape([count]), shape));
        self
    }

    /// One more answer without dimensions.
    pub fn with_scalar(mut self, name: &'static str, value: Tensor<1>) -> Self {
        self.0.insert(name, Answer::Floats(value, Vec::new()));
        self
    }

    /// One more answer, of integers.
    pub fn with_integers(mut self, name: &'static str, values: ArrayD<i64>) -> Self {
        self.0.insert(name, Answer::Integers(values));
        self
    }

    /// One more answer, if there is one.
    pub fn with_some<const D: usize>(self, name: &'static str, values: Option<Tensor<D>>) -> Self {
        match values {
            Some(values) => self.with(name, values),
            None => self,
        }
    }

    /// The floats of this name with `D` dimensions, with their graph. One without dimensions has one here.
    pub fn floats<const D: usize>(&self, name: &str) -> Option<Tensor<D>> {
        match self.0.get(name)? {
            Answer::Floats(values, shape) if shape.is_empty() => Some(values.clone().reshape([1; D])),
            Answer::Floats(values, shape) => Some(values.clone().reshape(<[usize; D]>::try_from(&shape[..]).ok()?)),
            Answer::Integers(_) => None,
        }
    }

    /// All answers on the host.
    pub fn arrays(self) -> BTreeMap<String, Array> {
        let array = |answer| match answer {
            Answer::Integers(values) => Array::I64(values),
            Answer::Floats(values, shape) => {
                let values = host_f32(values);
                // The shape is that of the tensor that the values are from.
                let array = ArrayD::from_shape_vec(IxDyn(&shape), values);
                Array::F32(array.unwrap_or_else(|error| panic!("{error}: {shape:?}")))
            }
        };
        self.0.into_iter().map(|(name, answer)| (name.to_owned(), array(answer))).collect()
    }
}
