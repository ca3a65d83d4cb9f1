use std::{borrow::Cow, collections::BTreeMap};

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use ndarray::{ArrayD, Axis, IxDyn};

/// A host array of one of the three kinds that cross to a device.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    /// Features, pixels, samples.
    F32(ArrayD<f32>),
    /// Token ids, categories.
    I64(ArrayD<i64>),
    /// Masks.
    Bool(ArrayD<bool>),
}

impl Array {
    /// The array's shape.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(a) => a.shape(),
            Self::I64(a) => a.shape(),
            Self::Bool(a) => a.shape(),
        }
    }

    /// Bytes that the elements take.
    pub fn bytes(&self) -> usize {
        match self {
            Self::F32(a) => a.len() * 4,
            Self::I64(a) => a.len() * 8,
            Self::Bool(a) => a.len(),
        }
    }

    /// Arrays of one kind, one after the other along their first axis.
    ///
    /// # Panics
    /// If there are none, or kinds or shapes differ: they are parts of one batch.
    pub fn concat(arrays: &[&Self]) -> Self {
        fn joined<'a, T: Clone + 'a>(parts: impl Iterator<Item = Option<&'a ArrayD<T>>>) -> ArrayD<T> {
            let parts: Option<Vec<_>> = parts.map(|part| part.map(|part| part.view())).collect();
            let joined = parts.and_then(|parts| ndarray::concatenate(Axis(0), &parts).ok());
            joined.unwrap_or_else(|| panic!("arrays of different kinds or shapes"))
        }
        match arrays.first() {
            Some(Self::F32(_)) => {
                Self::F32(joined(arrays.iter().map(|a| if let Self::F32(a) = a { Some(a) } else { None })))
            }
            Some(Self::I64(_)) => {
                Self::I64(joined(arrays.iter().map(|a| if let Self::I64(a) = a { Some(a) } else { None })))
            }
            Some(Self::Bool(_)) => {
                Self::Bool(joined(arrays.iter().map(|a| if let Self::Bool(a) = a { Some(a) } else { None })))
            }
            None => panic!("no arrays"),
        }
    }

    /// The given entries of the first axis, in the given order.
    pub fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::F32(a) => Self::F32(a.select(Axis(0), rows)),
            Self::I64(a) => Self::I64(a.select(Axis(0), rows)),
            Self::Bool(a) => Self::Bool(a.select(Axis(0), rows)),
        }
    }
}

/// Named host arrays: of one sample (an item), or of a batch (each with a first axis `rows`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arrays(BTreeMap<Cow<'static, str>, Array>);

impl Arrays {
    /// The set with one more array, or with one replaced.
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, array: Array) -> Self {
        self.0.insert(name.into(), array);
        self
    }

    /// The array of this name.
    ///
    /// # Panics
    /// If there is none of this name and kind. Names are private between a modality's own
    /// `collate`, `mask` and encoder, so this is an error of the program, never of the data.
    pub fn f32(&self, name: &str) -> &ArrayD<f32> {
        match self.0.get(name) {
            Some(Array::F32(array)) => array,
            other => panic!("no f32 array `{name}`: {:?}", other.map(Array::shape)),
        }
    }

    /// As [`Arrays::f32`], of integers.
    ///
    /// # Panics
    /// As [`Arrays::f32`].
    pub fn i64(&self, name: &str) -> &ArrayD<i64> {
        match self.0.get(name) {
            Some(Array::I64(array)) => array,
            other => panic!("no i64 array `{name}`: {:?}", other.map(Array::shape)),
        }
    }

    /// As [`Arrays::f32`], of truth values.
    ///
    /// # Panics
    /// As [`Arrays::f32`].
    pub fn bool(&self, name: &str) -> &ArrayD<bool> {
        match self.0.get(name) {
            Some(Array::Bool(array)) => array,
            other => panic!("no bool array `{name}`: {:?}", other.map(Array::shape)),
        }
    }

    /// Whether there is an array of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The arrays in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.0.iter().map(|(name, array)| (&**name, array))
    }

    /// The given rows of each array.
    pub fn select(&self, rows: &[usize]) -> Self {
        Self(self.0.iter().map(|(name, array)| (name.clone(), array.select(rows))).collect())
    }

    /// Bytes that the elements take.
    pub fn bytes(&self) -> usize {
        self.0.values().map(Array::bytes).sum()
    }
}

fn data<T: burn::tensor::Element>(array: &ArrayD<T>) -> TensorData {
    let shape = array.shape().to_vec();
    TensorData::new(array.iter().copied().collect::<Vec<T>>(), shape)
}

/// A host array as a tensor of the same shape.
pub fn tensor_f32<const D: usize>(array: &ArrayD<f32>, device: &Device) -> Tensor<D> {
    match array.as_slice() {
        Some(slice) => Tensor::from_data(TensorData::new(slice.to_vec(), array.shape().to_vec()), device),
        None => Tensor::from_data(data(array), device),
    }
}

/// A host array as a tensor of the same shape.
pub fn tensor_i64<const D: usize>(array: &ArrayD<i64>, device: &Device) -> Tensor<D, Int> {
    Tensor::from_data(data(array), device)
}

/// A host array as a tensor of the same shape.
pub fn tensor_bool<const D: usize>(array: &ArrayD<bool>, device: &Device) -> Tensor<D, Bool> {
    Tensor::from_data(data(array), device)
}

/// A tensor's values in row-major order, on the host; converted where the device computes in another precision.
pub fn host_f32<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    // A device that cannot give its values back has none to go on with.
    tensor.into_data().try_into_vec_as().unwrap_or_else(|error| panic!("{error}"))
}

/// Stacks arrays of one shape along a new first axis.
impl FromIterator<ArrayD<f32>> for Array {
    fn from_iter<I: IntoIterator<Item = ArrayD<f32>>>(arrays: I) -> Self {
        let mut shape = vec![0];
        let mut values = Vec::new();
        for array in arrays {
            shape.truncate(1);
            shape.extend_from_slice(array.shape());
            shape[0] += 1;
            values.extend(array.iter());
        }
        // The product of the shape is the number of values unless shapes differ, which `collate` excludes.
        Self::F32(ArrayD::from_shape_vec(IxDyn(&shape), values).unwrap_or_else(|error| panic!("{error}: {shape:?}")))
    }
}
