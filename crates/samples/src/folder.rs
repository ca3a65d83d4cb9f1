//! Folders of files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use sensorium_contract::{Fault, Sample, SampleFault, Value};

use crate::{
    config::{Layout, SourceConfig},
    error::SourceError,
    file::Confined,
    mapping::Mapping,
    names::{field, member},
    source::{Origin, Source},
    tar::read_file,
};

/// Samples of a folder, in the order of their keys.
pub(crate) struct FolderSource {
    path: String,
    root: PathBuf,
    folder: Confined,
    layout: Layout,
    samples: Vec<Entry>,
    /// Distinct lists of suffixes: most samples have the same one.
    suffixes: Vec<Vec<String>>,
    mapping: Mapping,
    field_bytes: u64,
}

struct Entry {
    /// Path below the root, up to the dot before the suffix.
    key: Box<str>,
    /// Index into [`FolderSource::suffixes`].
    suffixes: u32,
}

impl FolderSource {
    /// `roots` holds one folder.
    pub fn open(config: &SourceConfig, roots: Vec<PathBuf>) -> Result<Self, SourceError> {
        let root = roots.into_iter().next().unwrap_or_default();
        let folder = Confined::new(&root).map_err(SourceError::io(&root))?;
        let mut files = Vec::new();
        walk(&root, "", &mut files)?;
        let layout = config.layout.unwrap_or_else(|| infer(&files));
        let groups = group(&files, layout, &root)?;
        let mut source = Self {
            path: config.path.clone(),
            root,
            folder,
            layout,
            samples: Vec::with_capacity(groups.len()),
            suffixes: Vec::new(),
            mapping: Mapping::new(config),
            field_bytes: config.limits.field_bytes(),
        };
        let mut numbers: BTreeMap<Vec<&str>, u32> = BTreeMap::new();
        for (key, suffixes) in groups {
            let number = *numbers.entry(suffixes).or_insert_with_key(|suffixes| {
                source.suffixes.push(suffixes.iter().map(|&suffix| suffix.to_owned()).collect());
                source.suffixes.len() as u32 - 1
            });
            source.samples.push(Entry { key: key.into(), suffixes: number });
        }
        Ok(source)
    }

    fn read_fields(&self, entry: &Entry) -> Result<Sample, Fault> {
        let mut raw = Vec::new();
        for suffix in &self.suffixes[entry.suffixes as usize] {
            let (name, _) = field(suffix);
            let bytes = self.folder.read(&name, &format!("{}.{suffix}", entry.key), self.field_bytes)?;
            read_file(suffix, bytes, &mut raw)?;
        }
        if self.layout == Layout::Class {
            let class = entry.key.split('/').next().unwrap_or_default();
            raw.push(("label".to_owned(), Value::Text(class.to_owned())));
        }
        Ok(Sample { key: entry.key.to_string(), fields: self.mapping.rename(raw)? })
    }
}

impl Source for FolderSource {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn read(&self, index: usize) -> Result<Sample, SampleFault> {
        let entry = &self.samples[index];
        let fault = |fault| SampleFault { key: entry.key.to_string(), place: self.place(index), fault };
        self.read_fields(entry).map_err(fault)
    }

    fn place(&self, index: usize) -> String {
        self.root.join(&*self.samples[index].key).display().to_string()
    }

    fn key(&self, index: usize) -> Result<String, SampleFault> {
        Ok(self.samples[index].key.to_string())
    }

    fn origin(&self) -> Origin {
        let files = self.samples.iter().map(|entry| self.suffixes[entry.suffixes as usize].len()).sum();
        let format = match self.layout {
            Layout::Class => "folder (a class each)",
            Layout::Stem => "folder (files by stem)",
        };
        Origin { path: self.path.clone(), format: format.to_owned(), files }
    }
}

/// All files below a folder, as `/`-separated paths from it. Linked folders are not entered.
fn walk(folder: &Path, prefix: &str, files: &mut Vec<String>) -> Result<(), SourceError> {
    for entry in std::fs::read_dir(folder).map_err(SourceError::io(folder))? {
        let entry = entry.map_err(SourceError::io(folder))?;
        let kind = entry.file_type().map_err(SourceError::io(folder))?;
        let name = entry.file_name().into_string().map_err(|name| SourceError::Damaged {
            path: folder.to_owned(),
            reason: format!("the file name {name:?} is not UTF-8"),
        })?;
        match kind.is_dir() {
            true => walk(&entry.path(), &format!("{prefix}{name}/"), files)?,
            false => files.push(format!("{prefix}{name}")),
        }
    }
    Ok(())
}

/// Classes if all files are in subfolders, of which there are several.
fn infer(files: &[String]) -> Layout {
    let mut folders: Vec<&str> = Vec::new();
    for file in files.iter().filter(|file| member(file).is_some()) {
        match file.split_once('/') {
            None => return Layout::Stem,
            Some((folder, _)) => folders.push(folder),
        }
    }
    folders.sort_unstable();
    folders.dedup();
    if folders.len() > 1 { Layout::Class } else { Layout::Stem }
}

/// Suffixes by key.
fn group<'a>(files: &'a [String], layout: Layout, root: &Path) -> Result<BTreeMap<&'a str, Vec<&'a str>>, SourceError> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for file in files {
        let Some(found) = member(file) else { continue };
        // Pictures of a class are often called `cat.17.jpg`: there the last dot counts.
        let (key, suffix) = match layout {
            Layout::Stem => (found.key, found.suffix),
            Layout::Class => file.rsplit_once('.').unwrap_or((found.key, found.suffix)),
        };
        if layout == Layout::Class && !key.contains('/') {
            let reason = format!("`{file}` is in no class's folder");
            return Err(SourceError::Damaged { path: root.to_owned(), reason });
        }
        groups.entry(key).or_default().push(suffix);
    }
    for (key, suffixes) in &mut groups {
        suffixes.sort_unstable();
        let mut fields: Vec<String> = suffixes.iter().map(|suffix| field(suffix).0).collect();
        fields.sort_unstable();
        if let Some(pair) = fields.windows(2).find(|pair| pair[0] == pair[1]) {
            let reason = format!("two files for the field `{}`", pair[0]);
            return Err(SourceError::Member { path: root.to_owned(), key: (*key).to_owned(), reason });
        }
    }
    Ok(groups)
}
