//! Names in archives, tables and folders.

use std::{fmt::Write as _, fs, io::Write as _, path::Path};

use sensorium::{
    contract::{Sample, Value},
    samples::{Dataset, SourceConfig},
};
use tar::{Builder, EntryType, Header};

use super::{INSIDE, Place, holds_secret};

/// All that reading a source gives: values, names and messages, and how many samples were read.
fn said(source: SourceConfig) -> (Vec<u8>, usize) {
    let dataset = match Dataset::open(&[source], Path::new("/")) {
        Ok(dataset) => dataset,
        Err(error) => return (error.to_string().into_bytes(), 0),
    };
    let (mut said, mut read) = (Vec::new(), 0);
    for index in 0..dataset.len() {
        for sample in [dataset.read(index), dataset.glance(index)] {
            match sample {
                Ok(sample) => {
                    read += 1;
                    said.extend(bytes(&sample));
                }
                Err(fault) => said.extend(fault.to_string().into_bytes()),
            }
        }
    }
    (said, read)
}

fn bytes(sample: &Sample) -> Vec<u8> {
    let mut bytes = sample.key.clone().into_bytes();
    for (name, value) in &sample.fields {
        bytes.extend(name.as_bytes());
        match value {
            Value::Bytes(file) => bytes.extend(&**file),
            other => bytes.extend(format!("{other:?}").bytes()),
        }
    }
    bytes
}

/// An archive of one member.
fn archive(name: &[u8], kind: EntryType, link: &[u8]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    // As it is in the header where it fits, else (and where it holds a zero) in a record before it.
    let mut header = Header::new_gnu();
    if name.len() <= 100 && !name.contains(&0) {
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
    } else {
        builder.append_pax_extensions([("path", name)]).unwrap();
        header.as_old_mut().name[..5].copy_from_slice(b"x.txt");
    }
    if link.len() <= 100 {
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    } else {
        builder.append_pax_extensions([("linkpath", link)]).unwrap();
    }
    let content = if kind == EntryType::Regular { INSIDE } else { "" };
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    builder.append(&header, content.as_bytes()).unwrap();
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn no_name_in_an_archive_leads_anywhere() {
    let place = Place::new();
    let before = place.state(&["x.tar", "x.tar.gz"]);
    let (plain, packed) = (place.root().join("x.tar"), place.root().join("x.tar.gz"));
    let mut all_read = 0;
    for name in place.hostile(1000) {
        let member = archive(&name, EntryType::Regular, b"");
        fs::write(&plain, &member).unwrap();
        fs::write(&packed, gzip(&member)).unwrap();
        for path in [&plain, &packed] {
            let (said, read) = said(SourceConfig::new(path.display().to_string()));
            assert!(!holds_secret(&said), "{}", name.escape_ascii());
            all_read += read;
        }
        for kind in [EntryType::Symlink, EntryType::Link] {
            fs::write(&plain, archive(b"a.txt", kind, &name)).unwrap();
            let (said, read) = said(SourceConfig::new(plain.display().to_string()));
            assert!(read == 0 && !holds_secret(&said), "{}", name.escape_ascii());
        }
    }
    assert!(all_read > 500, "names are keys, whatever they look like: {all_read} samples");
    assert!(place.state(&["x.tar", "x.tar.gz"]) == before, "something was written");
}

#[test]
fn no_path_in_a_table_leaves_its_folder() {
    let place = Place::new();
    let before = place.state(&["x.csv", "x.jsonl"]);
    let (csv, lines) = (place.root().join("x.csv"), place.root().join("x.jsonl"));
    let files =
        |path: &Path| SourceConfig { files: vec!["file".to_owned()], ..SourceConfig::new(path.display().to_string()) };
    let names = place.hostile(1000);
    let names: Vec<&str> = names.iter().filter_map(|name| std::str::from_utf8(name).ok()).collect();
    assert!(names.len() > 500);
    let (mut cells, mut objects) = ("text,file\n".to_owned(), String::new());
    for name in names.iter().chain(&["within/inside.txt"]) {
        writeln!(cells, "a,\"{}\"", name.replace('"', "\"\"")).unwrap();
        writeln!(objects, "{}", serde_json::json!({ "text": "a", "file": name })).unwrap();
    }
    fs::write(&csv, cells).unwrap();
    fs::write(&lines, objects).unwrap();
    for table in [&csv, &lines] {
        let (said, _) = said(files(table));
        assert!(!holds_secret(&said), "{}", table.display());
        assert!(said.windows(INSIDE.len()).any(|window| window == INSIDE.as_bytes()), "{}", table.display());
        // One by one, so that one that would end the reading hides no other.
        let dataset = Dataset::open(&[files(table)], Path::new("/")).unwrap();
        let read = (0..dataset.len()).filter_map(|row| dataset.read(row).ok());
        let opened: Vec<Value> = read.filter_map(|sample| sample.fields.get("file").cloned()).collect();
        assert_eq!(opened, [Value::Text(INSIDE.to_owned())], "{}", table.display());
    }
    // What is not UTF-8 is no table.
    fs::write(&csv, b"text,file\na,\xff../outside/canary.png\n").unwrap();
    assert_eq!(said(files(&csv)).1, 0);
    assert!(place.state(&["x.csv", "x.jsonl"]) == before, "something was written");
}

#[test]
fn no_link_in_a_folder_leaves_it() {
    let place = Place::new();
    let (said, read) = said(SourceConfig::new(place.root().display().to_string()));
    assert!(!holds_secret(&said) && read > 0, "{}", String::from_utf8_lossy(&said));
}
