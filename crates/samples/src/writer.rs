use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use sensorium_contract::{Sample, Value};
use tar::{Builder, Header};

use crate::names::member;

/// Why a shard cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The system refused: no space, no permission.
    #[error("{}: {source}", path.display())]
    Io {
        /// The shard.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A sample cannot be told apart from others when it is read.
    #[error("{}: sample `{key}`: {reason}", path.display())]
    Sample {
        /// The shard.
        path: PathBuf,
        /// The sample.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

/// Writes samples as a tar shard, compressed if the name ends in `.gz`, `.tgz` or `.zst`.
///
/// A sample's members stand next to each other, sorted by name; bytes are written under their
/// field's name and the extension that their first bytes tell, text of the field `text` as `.txt`,
/// everything else into one `.json`. The same samples give the same bytes. The shard appears under
/// its name only when [`TarWriter::finish`] has written all of it; dropped before that, it leaves
/// nothing.
pub struct TarWriter {
    path: PathBuf,
    partial: Partial,
    builder: Builder<Output>,
    keys: HashSet<[u8; 32]>,
}

/// A file that is removed unless it was kept.
struct Partial {
    path: PathBuf,
    kept: bool,
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing more can be done about a file that does not go.
            let _ = fs::remove_file(&self.path);
        }
    }
}

enum Output {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl TarWriter {
    /// Begins a shard at `path`, whose folder must be there.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, WriteError> {
        let path: PathBuf = path.into();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let partial = path.with_file_name(format!(".{name}.{}.partial", std::process::id()));
        let output = Output::create(&partial, &name).map_err(|source| WriteError::Io { path: path.clone(), source })?;
        let builder = Builder::new(output);
        Ok(Self { path, partial: Partial { path: partial, kept: false }, builder, keys: HashSet::new() })
    }

    /// Adds a sample. Its key must be new, and must not contain a dot after its last slash, where
    /// readers end the key.
    pub fn append(&mut self, sample: &Sample) -> Result<(), WriteError> {
        let wrong = |reason: &str| {
            let (path, key, reason) = (self.path.clone(), sample.key.clone(), reason.to_owned());
            WriteError::Sample { path, key, reason }
        };
        let name = format!("{}.x", sample.key);
        let plain = Path::new(&name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !plain || member(&name).is_none_or(|member| member.key != sample.key) {
            return Err(wrong("a key is a plain file name without dots, perhaps with folders"));
        }
        let files = files(sample).map_err(|reason| wrong(&reason))?;
        if files.is_empty() {
            return Err(wrong("a sample without any field cannot be written"));
        }
        if !self.keys.insert(*blake3::hash(sample.key.as_bytes()).as_bytes()) {
            return Err(wrong("a second sample of this key"));
        }
        for (suffix, bytes) in files {
            let mut header = Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(0);
            let added = self.builder.append_data(&mut header, format!("{}.{suffix}", sample.key), &*bytes);
            added.map_err(|source| WriteError::Io { path: self.path.clone(), source })?;
        }
        Ok(())
    }

    /// Writes the end, makes sure that all is on the disk, and gives the shard its name.
    pub fn finish(self) -> Result<(), WriteError> {
        let Self { path, mut partial, builder, .. } = self;
        let finish = || -> io::Result<()> {
            let file = builder.into_inner()?.finish()?;
            file.sync_all()?;
            fs::rename(&partial.path, &path)?;
            partial.kept = true;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        finish().map_err(|source| WriteError::Io { path: path.clone(), source })
    }
}

/// Suffix and content.
type NewFile = (String, Box<[u8]>);

/// A sample's members, sorted by suffix.
fn files(sample: &Sample) -> Result<Vec<NewFile>, String> {
    let mut files: Vec<NewFile> = Vec::new();
    let mut members = serde_json::Map::new();
    for (field, value) in &sample.fields {
        match value {
            Value::Bytes(bytes) => files.push((suffix(field, bytes), (**bytes).into())),
            Value::Text(text) if field == "text" => files.push(("txt".to_owned(), text.as_bytes().into())),
            scalar => {
                members.insert(field.clone(), json(field, scalar)?);
            }
        }
    }
    if !members.is_empty() {
        files.push(("json".to_owned(), serde_json::Value::Object(members).to_string().into_bytes().into()));
    }
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(files)
}

/// `png` for a field `image`, `left_eye.png` for another: what a reader turns back into the field.
fn suffix(field: &str, bytes: &[u8]) -> String {
    let extension = extension(bytes);
    match crate::names::field(extension).0 == field {
        true => extension.to_owned(),
        false => format!("{field}.{extension}"),
    }
}

fn extension(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "png",
        [0xFF, 0xD8, 0xFF, ..] => "jpg",
        [b'G', b'I', b'F', b'8', ..] => "gif",
        [b'B', b'M', ..] => "bmp",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "tif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "webp",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => "wav",
        _ => "bin",
    }
}

fn json(field: &str, value: &Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        Value::Text(text) => text.clone().into(),
        Value::Number(number) => {
            serde_json::Number::from_f64(*number).ok_or(format!("field `{field}`: {number} is no number"))?.into()
        }
        Value::List(values) => values.iter().map(|value| json(field, value)).collect::<Result<Vec<_>, _>>()?.into(),
        Value::Bytes(_) => return Err(format!("field `{field}`: lists of bytes cannot be written")),
    })
}

impl Output {
    fn create(path: &Path, name: &str) -> io::Result<Self> {
        let file = BufWriter::with_capacity(256 << 10, File::create(path)?);
        Ok(match () {
            () if name.ends_with(".gz") || name.ends_with(".tgz") => {
                Self::Gzip(GzEncoder::new(file, Compression::default()))
            }
            () if name.ends_with(".zst") => Self::Zstd(zstd::Encoder::new(file, 0)?),
            () => Self::Plain(file),
        })
    }

    fn finish(self) -> io::Result<File> {
        let buffer = match self {
            Self::Plain(buffer) => buffer,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        buffer.into_inner().map_err(|error| error.into_error())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(output) => output.write(bytes),
            Self::Gzip(output) => output.write(bytes),
            Self::Zstd(output) => output.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(output) => output.flush(),
            Self::Gzip(output) => output.flush(),
            Self::Zstd(output) => output.flush(),
        }
    }
}
