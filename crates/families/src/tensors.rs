//! Tensors in safetensors files, read one at a time.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use burn::tensor::{bf16, f16};
use safetensors::{Dtype, tensor::TensorInfo};
use sensorium_state::StateError;
use serde_json::Value;

use crate::FamilyError;

/// Largest header of a file that is read. Those of the largest published shards take a tenth of it.
const HEADER_LIMIT: u64 = 16 << 20;
/// The one file of a checkpoint.
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// Which shard holds which tensor.
const INDEX: &str = "model.safetensors.index.json";

/// Where a tensor lies.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub file: PathBuf,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// First byte in the file.
    start: u64,
    /// Number of bytes.
    pub bytes: usize,
}

/// The tensors of a checkpoint by name; their values stay on disk until they are asked for.
#[derive(Debug, Default)]
pub(crate) struct TensorFiles {
    pub places: BTreeMap<String, Place>,
}

impl TensorFiles {
    /// The tensors of a checkpoint's directory: one file, or shards with an index.
    pub fn open(directory: &Path) -> Result<Self, FamilyError> {
        let mut all = Self::default();
        for file in files(directory)? {
            for (name, place) in header(&file)? {
                if let Some(other) = all.places.insert(name.clone(), place) {
                    let problem = format!("tensor `{name}` is in `{}` too", other.file.display());
                    return Err(FamilyError::Damaged { path: file, problem });
                }
            }
        }
        Ok(all)
    }

    /// The values of a tensor, widened to f32.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>, FamilyError> {
        let place = &self.places[name];
        let bytes = self.bytes(name)?;
        let values: Vec<f32> = match place.dtype {
            Dtype::F32 => numbers(&bytes, f32::from_le_bytes),
            Dtype::F64 => numbers(&bytes, |bytes| f64::from_le_bytes(bytes) as f32),
            Dtype::F16 => numbers(&bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::BF16 => numbers(&bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            other => return Err(damaged(&place.file, format!("tensor `{name}` holds {other:?}, expected floats"))),
        };
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(at) => Err(damaged(&place.file, format!("tensor `{name}` holds {} at element {at}", values[at]))),
        }
    }

    /// The bytes of a tensor as they lie in its file.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, FamilyError> {
        let place = &self.places[name];
        let mut bytes = vec![0; place.bytes];
        let mut file = File::open(&place.file).map_err(|error| StateError::io("open", &place.file, error))?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(place.start))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| StateError::io("read", &place.file, error))?;
        Ok(bytes)
    }
}

fn damaged(path: &Path, problem: impl Into<String>) -> FamilyError {
    FamilyError::Damaged { path: path.to_owned(), problem: problem.into() }
}

/// The files of a checkpoint.
fn files(directory: &Path) -> Result<Vec<PathBuf>, FamilyError> {
    let single = directory.join(WEIGHTS);
    if single.exists() {
        return Ok(vec![single]);
    }
    let index = directory.join(INDEX);
    if !index.exists() {
        return Err(FamilyError::NoCheckpoint { path: directory.to_owned(), problem: absent(directory) });
    }
    let text = fs::read(&index).map_err(|error| StateError::io("read", &index, error))?;
    let json: Value = serde_json::from_slice(&text).map_err(|error| damaged(&index, error.to_string()))?;
    let map = json["weight_map"].as_object().ok_or_else(|| damaged(&index, "`weight_map` is missing"))?;
    let mut names: Vec<&str> = Vec::new();
    for (tensor, file) in map {
        let file = file.as_str().filter(|file| is_plain(file));
        names.push(
            file.ok_or_else(|| damaged(&index, format!("`weight_map.{tensor}` is not the name of a file here")))?,
        );
    }
    names.sort_unstable();
    names.dedup();
    let paths: Vec<PathBuf> = names.iter().map(|name| directory.join(name)).collect();
    match paths.iter().find(|path| !path.exists()) {
        Some(path) => Err(damaged(&index, format!("it names `{}`, which is not here", path.display()))),
        None => Ok(paths),
    }
}

/// A name without a folder: nothing outside the directory is read.
fn is_plain(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|file| file == name)
}

fn absent(directory: &Path) -> String {
    let pickles = ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.ckpt", "tf_model.h5"];
    match pickles.iter().find(|name| directory.join(name).exists()) {
        Some(pickle) => format!(
            "there is `{pickle}`, which can hold code and is not read; convert it to `{WEIGHTS}` first \
             (save_pretrained of the transformers library writes it)"
        ),
        None => format!("there is neither `{WEIGHTS}` nor `{INDEX}`"),
    }
}

/// The tensors that a file's header names. The format's own reader wants the whole file in memory.
fn header(path: &Path) -> Result<Vec<(String, Place)>, FamilyError> {
    let io = |operation, error| StateError::io(operation, path, error);
    let mut file = File::open(path).map_err(|error| io("open", error))?;
    let length = file.metadata().map_err(|error| io("read", error))?.len();
    let mut size = [0; 8];
    file.read_exact(&mut size).map_err(|_| damaged(path, "it is too short for a safetensors file"))?;
    let header = u64::from_le_bytes(size);
    if header > HEADER_LIMIT {
        return Err(damaged(path, format!("its header claims {header} bytes, more than {HEADER_LIMIT}")));
    }
    if header + 8 > length {
        return Err(damaged(path, format!("its header claims {header} bytes, the file has {length}")));
    }
    let mut buffer = vec![0; header as usize];
    file.read_exact(&mut buffer).map_err(|error| io("read", error))?;
    let entries: BTreeMap<String, Value> = serde_json::from_slice(&buffer)
        .map_err(|error| damaged(path, format!("its header is not what it should be: {error}")))?;
    places(path, entries, header + 8, length)
}

/// Where a file's tensors lie. Each must begin where the one before it ends, the first after the header and
/// the last at the file's end.
fn places(
    path: &Path,
    entries: BTreeMap<String, Value>,
    data: u64,
    length: u64,
) -> Result<Vec<(String, Place)>, FamilyError> {
    let info = |(name, entry)| match serde_json::from_value::<TensorInfo>(entry) {
        Ok(info) => Ok((name, info)),
        Err(error) => Err(damaged(path, format!("tensor `{name}`: {error}"))),
    };
    let mut infos: Vec<(String, TensorInfo)> =
        entries.into_iter().filter(|(name, _)| name != "__metadata__").map(info).collect::<Result<_, _>>()?;
    infos.sort_by_key(|(_, info)| info.data_offsets);
    let mut next = 0;
    let mut places = Vec::with_capacity(infos.len());
    for (name, info) in infos {
        let (start, end) = info.data_offsets;
        if start != next || end < start {
            return Err(damaged(
                path,
                format!("tensor `{name}` lies at bytes {start} to {end}, expected it from {next}"),
            ));
        }
        let elements = info.shape.iter().try_fold(1_usize, |product, &side| product.checked_mul(side));
        let bytes = elements.and_then(|elements| Some(elements.checked_mul(info.dtype.bitsize())? / 8));
        if bytes != Some(end - start) {
            let problem = format!(
                "tensor `{name}` of shape {:?} and type {:?} lies in {} bytes",
                info.shape,
                info.dtype,
                end - start
            );
            return Err(damaged(path, problem));
        }
        next = end;
        let (file, dtype, shape) = (path.to_owned(), info.dtype, info.shape);
        places.push((name, Place { file, dtype, shape, start: data + start as u64, bytes: end - start }));
    }
    match data + next as u64 {
        end if end == length => Ok(places),
        end => Err(damaged(path, format!("its tensors end at byte {end}, the file at {length}"))),
    }
}

fn numbers<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (chunks, _) = data.as_chunks::<N>();
    chunks.iter().map(|&bytes| number(bytes)).collect()
}
