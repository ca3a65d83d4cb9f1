//! A configured path to the files that it names.

use std::path::{Path, PathBuf};

use crate::{
    config::{Format, SourceConfig},
    error::SourceError,
};

/// Most files that braces may name, so that a slip of the pen does not fill the memory.
const MOST_FILES: usize = 1_000_000;

/// What a path names.
pub(crate) struct Found {
    pub format: Format,
    /// Files in order; one directory for [`Format::Folder`].
    pub files: Vec<PathBuf>,
}

/// The files of a source.
pub(crate) fn find(config: &SourceConfig, base: &Path) -> Result<Found, SourceError> {
    let mut files = Vec::new();
    for path in named(&config.path, base)? {
        match path.is_dir() && config.format != Some(Format::Folder) {
            true => files.extend(shards_in(&path, config.format)?),
            false => files.push(path),
        }
    }
    let format = match config.format {
        Some(format) => format,
        None => common_format(&config.path, &files)?,
    };
    let folders = files.iter().filter(|file| file.is_dir()).count();
    let right = if format == Format::Folder { files.len() == 1 && folders == 1 } else { folders == 0 };
    if !right {
        let reason = format!(
            "`{}` as {format:?} must be {}",
            config.path,
            if format == Format::Folder { "one folder" } else { "files" }
        );
        return Err(SourceError::Config { path: config.path.clone(), key: "format", reason });
    }
    Ok(Found { format, files })
}

/// Paths that exist.
fn named(pattern: &str, base: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let literal = base.join(pattern);
    if literal.exists() {
        return Ok(vec![literal]);
    }
    let mut paths = Vec::new();
    for name in braces(pattern)? {
        let path = base.join(&name);
        if path.exists() {
            paths.push(path);
        } else if name.contains(['*', '?', '[']) {
            paths.extend(matches(&name, base)?);
        } else {
            return Err(SourceError::NotFound { path });
        }
    }
    Ok(paths)
}

fn matches(name: &str, base: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let wrong = |reason: String| SourceError::Pattern { pattern: name.to_owned(), reason };
    let full = match Path::new(name).is_absolute() {
        true => name.to_owned(),
        false => format!("{}/{name}", glob::Pattern::escape(&base.to_string_lossy())),
    };
    let paths = glob::glob(&full).map_err(|error| wrong(error.to_string()))?;
    let paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
    match paths.is_empty() {
        true => Err(wrong(format!("no file matches in {}", base.display()))),
        false => Ok(paths),
    }
}

/// Shard and table files directly in a folder, or the folder itself if it holds none: then its
/// files are the samples.
fn shards_in(folder: &Path, wanted: Option<Format>) -> Result<Vec<PathBuf>, SourceError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(SourceError::io(folder))? {
        let path = entry.map_err(SourceError::io(folder))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let format = format_of(&path);
        if !hidden && path.is_file() && format.is_some() && (wanted.is_none() || wanted == format) {
            files.push(path);
        }
    }
    files.sort();
    match (files.is_empty(), wanted) {
        (false, _) => Ok(files),
        (true, None) => Ok(vec![folder.to_owned()]),
        (true, Some(_)) => Err(SourceError::Empty { path: folder.display().to_string() }),
    }
}

fn common_format(pattern: &str, files: &[PathBuf]) -> Result<Format, SourceError> {
    let mut common = None;
    for file in files {
        let wrong = |reason: &str| SourceError::Format { path: file.clone(), reason: reason.to_owned() };
        let format = match file.is_dir() {
            true => Format::Folder,
            false => format_of(file).ok_or_else(|| wrong("the extension tells no format"))?,
        };
        if common.is_some_and(|common| common != format) {
            return Err(wrong(&format!("`{pattern}` names files of several formats")));
        }
        common = Some(format);
    }
    common.ok_or_else(|| SourceError::Empty { path: pattern.to_owned() })
}

/// The format that a file's name tells.
fn format_of(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let ends = |extensions: &[&str]| extensions.iter().any(|extension| name.ends_with(extension));
    match () {
        () if ends(&[".tar", ".tar.gz", ".tgz", ".tar.zst"]) => Some(Format::Tar),
        () if ends(&[".parquet"]) => Some(Format::Parquet),
        () if ends(&[".csv"]) => Some(Format::Csv),
        () if ends(&[".tsv"]) => Some(Format::Tsv),
        () if ends(&[".jsonl", ".ndjson"]) => Some(Format::Jsonl),
        () => None,
    }
}

/// All texts that a pattern with `{000..127}` and `{a,b}` stands for, in order.
fn braces(pattern: &str) -> Result<Vec<String>, SourceError> {
    let wrong = |reason: &str| SourceError::Pattern { pattern: pattern.to_owned(), reason: reason.to_owned() };
    let Some((before, rest)) = pattern.split_once('{') else {
        return Ok(vec![pattern.to_owned()]);
    };
    let close = closing(rest).ok_or_else(|| wrong("`{` without `}`"))?;
    let (inside, after) = (&rest[..close], &rest[close + 1..]);
    let mut choices = Vec::new();
    match inside.split_once("..") {
        Some((first, last)) if !inside.contains(['{', ',']) => {
            choices = range(first, last).ok_or_else(|| wrong("a range is written {000..127}, upwards"))?;
        }
        _ => {
            for choice in alternatives(inside) {
                choices.extend(braces(choice)?);
            }
        }
    }
    let ends = braces(after)?;
    if choices.len().saturating_mul(ends.len()) > MOST_FILES {
        return Err(wrong("names more than a million files"));
    }
    Ok(choices.iter().flat_map(|choice| ends.iter().map(move |end| format!("{before}{choice}{end}"))).collect())
}

/// Place of the `}` that closes a brace whose inside begins at the start of `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (place, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(place),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Splits at commas outside inner braces.
fn alternatives(text: &str) -> Vec<&str> {
    let mut depth = 0;
    text.split(|character| {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    })
    .collect()
}

/// Numbers, padded to the width of the first if that is written with leading zeros.
fn range(first: &str, last: &str) -> Option<Vec<String>> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return None;
    }
    let (from, to): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    let count = to.checked_sub(from)?;
    let width = first.len();
    (count < MOST_FILES).then(|| (from..=to).map(|number| format!("{number:0width$}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_name_ranges_and_alternatives() {
        let names = |pattern| braces(pattern).unwrap();
        assert_eq!(names("s/{08..11}.tar"), ["s/08.tar", "s/09.tar", "s/10.tar", "s/11.tar"]);
        assert_eq!(names("{a,b}{1..2}"), ["a1", "a2", "b1", "b2"]);
        assert_eq!(names("x{a,b{0..1}}"), ["xa", "xb0", "xb1"]);
        assert_eq!(names("plain"), ["plain"]);
        for wrong in ["a{1..", "{5..2}", "{a..c}", "{0..99999999}"] {
            assert!(braces(wrong).is_err(), "{wrong}");
        }
    }
}
