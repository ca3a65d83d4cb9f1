use std::fs;

use sensorium_contract::Value;

use super::{all, open, sample, text, write_tar};
use crate::{TarWriter, WriteError};

#[test]
fn all_kinds_of_fields_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let jpeg = Value::Bytes([0xFF, 0xD8, 0xFF, 0xE0].as_slice().into());
    let samples = [
        sample(
            "a/b",
            &[
                ("image", jpeg.clone()),
                ("left_eye", jpeg),
                ("volume", Value::Bytes(b"unknown".as_slice().into())),
                ("captions", Value::List(vec![text("one"), text("two")])),
                ("a.b", Value::Number(0.1)),
                ("big", Value::Number(1e300)),
            ],
        ),
        sample(&"long/".repeat(60), &[]),
        sample("ü", &[("text", text("é"))]),
    ];
    let samples =
        [samples[0].clone(), sample(&format!("{}x", samples[1].key), &[("text", text("t"))]), samples[2].clone()];
    write_tar(&folder.path().join("x.tar"), &samples);
    assert_eq!(all(&open("x.tar", folder.path()).unwrap()), samples);
    let mut archive = tar::Archive::new(fs::File::open(folder.path().join("x.tar")).unwrap());
    let names = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string());
    assert_eq!(names.take(4).collect::<Vec<_>>(), ["a/b.jpg", "a/b.json", "a/b.left_eye.jpg", "a/b.volume.bin"]);
    write_tar(&folder.path().join("y.tar"), &samples);
    assert_eq!(fs::read(folder.path().join("x.tar")).unwrap(), fs::read(folder.path().join("y.tar")).unwrap());
}

#[test]
fn what_could_not_be_read_back_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    let mut writer = TarWriter::create(&path).unwrap();
    let one = |key: &str| sample(key, &[("text", text("t"))]);
    writer.append(&one("a")).unwrap();
    for wrong in ["a", "a.b", "", ".hidden", "../a", "/a", "a/../b"] {
        assert!(matches!(writer.append(&one(wrong)), Err(WriteError::Sample { .. })), "{wrong:?}");
    }
    assert!(writer.append(&sample("n", &[("x", Value::Number(f64::NAN))])).is_err());
    assert!(writer.append(&sample("empty", &[])).is_err());
    writer.finish().unwrap();
    assert_eq!(all(&open("x.tar", folder.path()).unwrap()), [one("a")]);
}

#[test]
fn an_unfinished_shard_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = TarWriter::create(folder.path().join("x.tar")).unwrap();
    writer.append(&sample("a", &[("text", text("t"))])).unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(matches!(TarWriter::create(folder.path().join("none/x.tar")), Err(WriteError::Io { .. })));
}
