use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

use ndarray::{ArrayD, IxDyn};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sensorium_contract::Array;
use serde_json::{Map, Value, json};

use crate::{NamedTensor, StateError, commit_with};

/// What reading does with a value that is not a number or not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonFinite {
    /// Takes it as it is.
    Allow,
    /// Refuses the file and names the tensor.
    Refuse,
}

/// The content of a safetensors file whose tensors are all of a float type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensors {
    /// By name. Half-precision values are widened, which changes none.
    pub tensors: BTreeMap<String, NamedTensor>,
    /// The file's `__metadata__`.
    pub metadata: BTreeMap<String, String>,
}

/// Writes float tensors with metadata. The same tensors give the same bytes, and the file is there
/// whole or not at all.
///
/// # Errors
/// [`StateError::DuplicateTensor`], or those of [`crate::commit`].
pub fn write_safetensors(
    path: &Path,
    tensors: &[NamedTensor],
    metadata: &BTreeMap<String, String>,
) -> Result<(), StateError> {
    let entries = tensors.iter().map(|tensor| Entry {
        name: &tensor.name,
        shape: &tensor.shape,
        dtype: Dtype::F32,
        bytes: tensor.values.len() * 4,
        write: Box::new(|out| write_numbers(out, tensor.values.iter().map(|value| value.to_le_bytes()))),
    });
    write_entries(path, entries.collect(), metadata)
}

/// As [`write_safetensors`], of host arrays of any kind.
///
/// # Errors
/// As [`write_safetensors`].
pub fn write_arrays(
    path: &Path,
    arrays: &BTreeMap<String, Array>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), StateError> {
    let entries = arrays.iter().map(|(name, array)| Entry {
        name,
        shape: array.shape(),
        dtype: match array {
            Array::F32(_) => Dtype::F32,
            Array::I64(_) => Dtype::I64,
            Array::Bool(_) => Dtype::BOOL,
        },
        bytes: array.bytes(),
        write: Box::new(|out| match array {
            Array::F32(values) => write_numbers(out, values.iter().map(|value| value.to_le_bytes())),
            Array::I64(values) => write_numbers(out, values.iter().map(|value| value.to_le_bytes())),
            Array::Bool(values) => write_numbers(out, values.iter().map(|&value| [u8::from(value)])),
        }),
    });
    write_entries(path, entries.collect(), metadata)
}

/// A tensor of any type whose bytes are brought when they are written.
pub struct RawTensor<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// Its shape.
    pub shape: &'a [usize],
    /// The type of its elements.
    pub dtype: Dtype,
    /// Number of bytes.
    pub bytes: usize,
    /// The bytes.
    pub read: Box<dyn Fn() -> io::Result<Vec<u8>> + 'a>,
}

/// As [`write_safetensors`], of tensors of any type, one at a time in memory.
///
/// # Errors
/// As [`write_safetensors`].
pub fn write_raw(
    path: &Path,
    tensors: &[RawTensor<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<(), StateError> {
    let entries = tensors.iter().map(|tensor| Entry {
        name: tensor.name,
        shape: tensor.shape,
        dtype: tensor.dtype,
        bytes: tensor.bytes,
        write: Box::new(|out| out.write_all(&(tensor.read)()?)),
    });
    write_entries(path, entries.collect(), metadata)
}

/// Reads a file of float tensors.
///
/// # Errors
/// [`StateError::Safetensors`] if the file is not in the format (its header may take 100 MB),
/// [`StateError::Dtype`] if a tensor is not of a float type, [`StateError::NonFinite`] if asked
/// for, [`StateError::Io`].
pub fn read_safetensors(path: &Path, non_finite: NonFinite) -> Result<Tensors, StateError> {
    let buffer = fs::read(path).map_err(|error| StateError::io("read", path, error))?;
    let (file, metadata) = parse(path, &buffer)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let values = floats(&view).ok_or_else(|| dtype_error(path, &name, "floats", &view))?;
        if non_finite == NonFinite::Refuse {
            refuse_non_finite(path, &name, &values)?;
        }
        tensors.insert(name.clone(), NamedTensor { name, shape: view.shape().to_vec(), values });
    }
    Ok(Tensors { tensors, metadata })
}

/// Reads a file of floats, integers and truth values.
///
/// # Errors
/// As [`read_safetensors`].
pub fn read_arrays(path: &Path) -> Result<BTreeMap<String, Array>, StateError> {
    let buffer = fs::read(path).map_err(|error| StateError::io("read", path, error))?;
    let (file, _) = parse(path, &buffer)?;
    let mut arrays = BTreeMap::new();
    for (name, view) in file.tensors() {
        let array = array(&view).ok_or_else(|| dtype_error(path, &name, "floats, integers or truth values", &view))?;
        arrays.insert(name, array);
    }
    Ok(arrays)
}

type Write1<'a> = Box<dyn Fn(&mut dyn Write) -> io::Result<()> + 'a>;

/// A tensor as it goes into a file.
struct Entry<'a> {
    name: &'a str,
    shape: &'a [usize],
    dtype: Dtype,
    bytes: usize,
    write: Write1<'a>,
}

/// The library's own writer orders metadata at random, so that equal models would have unequal
/// checksums.
fn write_entries(
    path: &Path,
    mut entries: Vec<Entry<'_>>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), StateError> {
    // Large elements before small ones, so that each tensor is aligned.
    entries.sort_by(|a, b| b.dtype.bitsize().cmp(&a.dtype.bitsize()).then(a.name.cmp(b.name)));
    let mut names = BTreeSet::new();
    if let Some(twice) = entries.iter().find(|entry| !names.insert(entry.name)) {
        return Err(StateError::DuplicateTensor(twice.name.to_owned()));
    }
    let header = header(&entries, metadata);
    commit_with(path, |temporary| {
        let write = || -> io::Result<()> {
            let mut out = BufWriter::with_capacity(1 << 20, File::create(temporary)?);
            out.write_all(&(header.len() as u64).to_le_bytes())?;
            out.write_all(header.as_bytes())?;
            entries.iter().try_for_each(|entry| (entry.write)(&mut out))?;
            out.flush()
        };
        write().map_err(|error| StateError::io("write", path, error))
    })
}

fn header(entries: &[Entry<'_>], metadata: &BTreeMap<String, String>) -> String {
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut offset = 0;
    for entry in entries {
        let end = offset + entry.bytes;
        let info = json!({ "dtype": entry.dtype, "shape": entry.shape, "data_offsets": [offset, end] });
        header.insert(entry.name.to_owned(), info);
        offset = end;
    }
    let mut header = Value::Object(header).to_string();
    // The data begins at a multiple of eight.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    header
}

fn write_numbers<const N: usize>(out: &mut dyn Write, numbers: impl Iterator<Item = [u8; N]>) -> io::Result<()> {
    const CHUNK: usize = 1 << 16;
    let mut buffer = Vec::with_capacity(CHUNK + N);
    for number in numbers {
        buffer.extend_from_slice(&number);
        if buffer.len() >= CHUNK {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    out.write_all(&buffer)
}

fn parse<'a>(path: &Path, buffer: &'a [u8]) -> Result<(SafeTensors<'a>, BTreeMap<String, String>), StateError> {
    let damaged = |source| StateError::Safetensors { path: path.to_owned(), source };
    let (_, header) = SafeTensors::read_metadata(buffer).map_err(damaged)?;
    let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok((SafeTensors::deserialize(buffer).map_err(damaged)?, metadata))
}

fn dtype_error(path: &Path, tensor: &str, expected: &'static str, view: &TensorView<'_>) -> StateError {
    let found = format!("{:?}", view.dtype());
    StateError::Dtype { path: path.to_owned(), tensor: tensor.to_owned(), expected, found }
}

fn refuse_non_finite(path: &Path, tensor: &str, values: &[f32]) -> Result<(), StateError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(element) => Err(StateError::NonFinite {
            path: path.to_owned(),
            tensor: tensor.to_owned(),
            element,
            value: values[element],
        }),
    }
}

fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    Some(match view.dtype() {
        Dtype::F32 => numbers(data, f32::from_le_bytes),
        Dtype::F64 => numbers(data, |bytes| f64::from_le_bytes(bytes) as f32),
        Dtype::BF16 => numbers(data, |bytes| burn::tensor::bf16::from_le_bytes(bytes).to_f32()),
        Dtype::F16 => numbers(data, |bytes| burn::tensor::f16::from_le_bytes(bytes).to_f32()),
        _ => return None,
    })
}

fn array(view: &TensorView<'_>) -> Option<Array> {
    let data = view.data();
    let integers = match view.dtype() {
        Dtype::BOOL => return shaped(view, data.iter().map(|&byte| byte != 0).collect()).map(Array::Bool),
        Dtype::I64 => numbers(data, i64::from_le_bytes),
        Dtype::I32 => numbers(data, |bytes| i64::from(i32::from_le_bytes(bytes))),
        Dtype::I16 => numbers(data, |bytes| i64::from(i16::from_le_bytes(bytes))),
        Dtype::U8 => numbers(data, |bytes: [u8; 1]| i64::from(bytes[0])),
        _ => return shaped(view, floats(view)?).map(Array::F32),
    };
    shaped(view, integers).map(Array::I64)
}

fn shaped<T>(view: &TensorView<'_>, values: Vec<T>) -> Option<ArrayD<T>> {
    // The format's reader has compared the shape with the number of bytes.
    ArrayD::from_shape_vec(IxDyn(view.shape()), values).ok()
}

fn numbers<const N: usize, T>(data: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = data.as_chunks::<N>();
    chunks.iter().map(|&bytes| number(bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize], values: &[f32]) -> NamedTensor {
        NamedTensor { name: name.into(), shape: shape.into(), values: values.into() }
    }

    fn metadata() -> BTreeMap<String, String> {
        ["format", "a", "b", "c", "d"].map(|key| (key.to_owned(), "pt".to_owned())).into()
    }

    #[test]
    fn tensors_come_back_bit_for_bit() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("model.safetensors");
        let many: Vec<f32> = (0..70_000).map(|k| k as f32 * 0.1).collect();
        let tensors = [
            tensor("b", &[2, 2], &[1.0, -0.0, f32::MIN_POSITIVE / 2.0, 3.4e38]),
            tensor("a", &[], &[0.1]),
            tensor("empty", &[0, 3], &[]),
            tensor("many", &[700, 100], &many),
        ];
        write_safetensors(&path, &tensors, &metadata()).unwrap();
        let read = read_safetensors(&path, NonFinite::Refuse).unwrap();
        assert_eq!(read.metadata, metadata());
        assert_eq!(read.tensors.len(), 4);
        for tensor in &tensors {
            let same = &read.tensors[&tensor.name];
            assert_eq!(same.shape, tensor.shape);
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&same.values), bits(&tensor.values));
        }
    }

    #[test]
    fn equal_tensors_give_equal_files() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = home.path().join(name);
            write_safetensors(&path, &[tensor("x", &[1], &[1.0])], &metadata()).unwrap();
            fs::read(path).unwrap()
        };
        assert_eq!(write("one"), write("two"));
    }

    #[test]
    fn arrays_of_all_kinds_come_back() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("probe.safetensors");
        let arrays: BTreeMap<String, Array> = [
            ("a mask".to_owned(), Array::Bool(ArrayD::from_shape_vec(vec![3], vec![true, false, true]).unwrap())),
            ("b".to_owned(), Array::F32(ArrayD::from_shape_vec(vec![1, 2], vec![0.5, -1.0]).unwrap())),
            ("ids".to_owned(), Array::I64(ArrayD::from_shape_vec(vec![2], vec![i64::MIN, 7]).unwrap())),
        ]
        .into();
        write_arrays(&path, &arrays, &BTreeMap::new()).unwrap();
        assert_eq!(read_arrays(&path).unwrap(), arrays);
        let error = read_safetensors(&path, NonFinite::Allow).unwrap_err();
        assert!(matches!(error, StateError::Dtype { .. }), "{error}");
    }

    #[test]
    fn half_precision_is_widened() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("half.safetensors");
        let bytes = [0x80, 0x3f, 0x40, 0xc0];
        let view = TensorView::new(Dtype::BF16, vec![2], &bytes).unwrap();
        fs::write(&path, safetensors::serialize([("x", view)], None).unwrap()).unwrap();
        assert_eq!(read_safetensors(&path, NonFinite::Allow).unwrap().tensors["x"].values, [1.0, -3.0]);
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("model.safetensors");
        write_safetensors(&path, &[tensor("x", &[2], &[1.0, f32::NAN])], &BTreeMap::new()).unwrap();
        let message = read_safetensors(&path, NonFinite::Refuse).unwrap_err().to_string();
        assert!(message.contains("tensor `x`") && message.contains("NaN at element 1"), "{message}");
        assert!(read_safetensors(&path, NonFinite::Allow).is_ok());

        let whole = fs::read(&path).unwrap();
        let huge = [u64::MAX.to_le_bytes().as_slice(), b"{}"].concat();
        for broken in [&whole[..4], &whole[..40], &whole[..whole.len() - 1], huge.as_slice(), b"not a tensor file"] {
            fs::write(&path, broken).unwrap();
            let error = read_safetensors(&path, NonFinite::Allow).unwrap_err();
            assert!(matches!(error, StateError::Safetensors { .. }), "{error}");
        }

        let twice = [tensor("x", &[1], &[1.0]), tensor("x", &[1], &[2.0])];
        let error = write_safetensors(&path, &twice, &BTreeMap::new()).unwrap_err();
        assert!(matches!(error, StateError::DuplicateTensor(name) if name == "x"));
    }
}
