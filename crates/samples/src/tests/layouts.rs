use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray,
};
use arrow_schema::{DataType, Field, Fields, Schema};
use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};
use sensorium_contract::{Sample, Seed, Value};

use super::{all, open, sample, text, write_tar};
use crate::{Dataset, Layout, SourceConfig, SourceError};

/// Twelve samples with every kind of field, each lacking some.
fn twelve() -> Vec<Sample> {
    let one = |number: usize| {
        let picture: Vec<u8> = b"\x89PNG\r\n\x1a\n".iter().copied().chain((0..number as u8 * 20).rev()).collect();
        let sound: Vec<u8> = b"RIFF\0\0\0\0WAVEfmt ".iter().copied().chain(vec![number as u8; 900]).collect();
        let all = [
            ("image", Value::Bytes(picture.into())),
            ("audio", Value::Bytes(sound.into())),
            ("text", text(&format!("Nº {number}, \"quoted\"\nand a second line, with\ttabs"))),
            ("age", Value::Number(number as f64 * 7.0)),
            ("ratio", Value::Number(0.1 + number as f64 / 3.0)),
            ("tall", text(if number.is_multiple_of(3) { "true" } else { "false" })),
            ("name", text(&format!("007 {number}"))),
        ];
        let kept: Vec<_> = all
            .into_iter()
            .enumerate()
            .filter(|(place, _)| !(number + place).is_multiple_of(5))
            .map(|(_, field)| field)
            .collect();
        sample(&format!("k{number:02}"), &kept)
    };
    (0..12).map(one).collect()
}

fn cell(sample: &Sample, column: &str) -> String {
    match (column, sample.fields.get(column)) {
        ("key", _) => sample.key.clone(),
        (_, None) => String::new(),
        (_, Some(Value::Bytes(_))) => file_of(sample, column),
        (_, Some(value)) => value.as_text().unwrap().into_owned(),
    }
}

fn file_of(sample: &Sample, column: &str) -> String {
    format!("media/{}.{}", sample.key, if column == "image" { "png" } else { "wav" })
}

const COLUMNS: [&str; 8] = ["key", "image", "audio", "text", "age", "ratio", "tall", "name"];

fn write_tables(samples: &[Sample], folder: &Path) {
    fs::create_dir(folder.join("media")).unwrap();
    for sample in samples {
        for (field, value) in &sample.fields {
            if let Value::Bytes(bytes) = value {
                fs::write(folder.join(file_of(sample, field)), bytes).unwrap();
            }
        }
    }
    for (name, delimiter) in [("set.csv", b','), ("set.tsv", b'\t')] {
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_path(folder.join(name)).unwrap();
        writer.write_record(COLUMNS).unwrap();
        samples.iter().for_each(|sample| writer.write_record(COLUMNS.map(|column| cell(sample, column))).unwrap());
        writer.flush().unwrap();
    }
    let line = |sample: &Sample| {
        let member = |column: &str| match (column, sample.fields.get(column)) {
            (_, Some(Value::Number(number))) => serde_json::json!(number),
            ("tall", Some(value)) => serde_json::json!(*value == text("true")),
            (column, None) if column != "key" => serde_json::Value::Null,
            _ => serde_json::json!(cell(sample, column)),
        };
        let object: serde_json::Map<_, _> = COLUMNS.iter().map(|&column| (column.to_owned(), member(column))).collect();
        serde_json::Value::Object(object).to_string()
    };
    let lines: Vec<String> = samples.iter().map(line).collect();
    fs::write(folder.join("set.jsonl"), lines.join("\n")).unwrap();
}

fn write_parquet(samples: &[Sample], path: &Path) {
    let bytes = |field: &str| -> ArrayRef {
        let bytes: BinaryArray = samples
            .iter()
            .map(|sample| match sample.fields.get(field) {
                Some(Value::Bytes(bytes)) => Some(bytes.to_vec()),
                _ => None,
            })
            .collect();
        let names: StringArray = samples.iter().map(|_| None::<&str>).collect();
        let fields =
            Fields::from(vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)]);
        Arc::new(StructArray::new(fields, vec![Arc::new(bytes), Arc::new(names)], None))
    };
    let number = |field: &str, sample: &Sample| match sample.fields.get(field) {
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    };
    let texts = |field: &'static str| -> ArrayRef {
        let texts = samples.iter().map(|sample| Some(cell(sample, field)).filter(|text| !text.is_empty()));
        Arc::new(texts.collect::<StringArray>())
    };
    let tall = |sample: &Sample| sample.fields.get("tall").map(|value| *value == text("true"));
    let ages = samples.iter().map(|sample| number("age", sample).map(|age| age as i64));
    let columns: Vec<ArrayRef> = vec![
        texts("key"),
        bytes("image"),
        bytes("audio"),
        texts("text"),
        Arc::new(ages.collect::<Int64Array>()),
        Arc::new(samples.iter().map(|sample| number("ratio", sample)).collect::<Float64Array>()),
        Arc::new(samples.iter().map(tall).collect::<BooleanArray>()),
        texts("name"),
    ];
    let field = |(name, column): (&&str, &ArrayRef)| Field::new(*name, column.data_type().clone(), true);
    let schema = Arc::new(Schema::new(COLUMNS.iter().zip(&columns).map(field).collect::<Vec<_>>()));
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(5)).build();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), schema, Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn write_folder(samples: &[Sample], folder: &Path) {
    fs::create_dir(folder).unwrap();
    for sample in samples {
        let mut members = serde_json::Map::new();
        for (field, value) in &sample.fields {
            let file = |suffix: &str| folder.join(format!("{}.{suffix}", sample.key));
            match value {
                Value::Bytes(bytes) => fs::write(file(if field == "image" { "png" } else { "wav" }), bytes).unwrap(),
                Value::Number(number) => drop(members.insert(field.clone(), (*number).into())),
                // With the newline that editors leave.
                Value::Text(text) if field == "text" => fs::write(file("txt"), format!("{text}\n")).unwrap(),
                Value::Text(text) if field == "name" => fs::write(file("name.txt"), text).unwrap(),
                value => drop(members.insert(field.clone(), (*value == text("true")).into())),
            }
        }
        let object = serde_json::Value::Object(members).to_string();
        fs::write(folder.join(format!("{}.json", sample.key)), object).unwrap();
    }
    fs::write(folder.join(".hidden"), "ignored").unwrap();
}

#[test]
fn every_layout_gives_the_same_samples() {
    let (folder, samples) = (tempfile::tempdir().unwrap(), twelve());
    let base = folder.path();
    for name in ["set.tar", "set.tar.gz", "set.tgz", "set.tar.zst"] {
        write_tar(&base.join(name), &samples);
    }
    write_tables(&samples, base);
    write_parquet(&samples, &base.join("set.parquet"));
    write_folder(&samples, &base.join("stems"));
    let layouts =
        ["set.tar", "set.tar.gz", "set.tgz", "set.tar.zst", "set.csv", "set.tsv", "set.jsonl", "set.parquet", "stems"];
    for layout in layouts {
        let dataset = open(layout, base).unwrap();
        assert_eq!(all(&dataset), samples, "{layout}");
        let keys: Vec<String> = (0..12).map(|index| dataset.key(index).unwrap()).collect();
        assert_eq!(keys, samples.iter().map(|sample| sample.key.clone()).collect::<Vec<_>>(), "{layout}");
        // The split depends on keys alone.
        let (_, held_out) = dataset.split_by_key(0.4, Seed::new(5)).unwrap();
        let (_, expected) = open("set.tar", base).unwrap().split_by_key(0.4, Seed::new(5)).unwrap();
        assert_eq!(all(&held_out), all(&expected), "{layout}");
    }
}

#[test]
fn fields_are_renamed_and_keys_chosen() {
    let (folder, samples) = (tempfile::tempdir().unwrap(), twelve());
    write_tables(&samples, folder.path());
    write_tar(&folder.path().join("set.tar"), &samples);
    for path in ["set.csv", "set.tar", "set.jsonl"] {
        let mut config = SourceConfig::new(path);
        config.fields =
            [("caption", "text"), ("alt", "text"), ("photo", "image")].map(|(a, b)| (a.into(), b.into())).into();
        let read = all(&Dataset::open(&[config], folder.path()).unwrap());
        for (read, written) in read.iter().zip(&samples) {
            assert_eq!(read.fields.get("caption"), written.fields.get("text"), "{path}");
            assert_eq!(read.fields.get("alt"), written.fields.get("text"), "{path}");
            assert_eq!(read.fields.get("photo"), written.fields.get("image"), "{path}");
            assert!(!read.fields.contains_key("text") && !read.fields.contains_key("image"), "{path}");
        }
    }
    let mut config = SourceConfig::new("set.csv");
    config.key = Some("name".to_owned());
    let dataset = Dataset::open(&[config.clone()], folder.path()).unwrap();
    let read = dataset.read(1).unwrap();
    assert_eq!(
        (read.key.as_str(), read.fields["name"].clone()),
        ("007 1", text("007 1")),
        "a chosen key stays a field"
    );
    assert_eq!(read.fields["key"], text("k01"));
    config.key = Some("nome".to_owned());
    let error = Dataset::open(&[config], folder.path()).unwrap_err();
    assert!(matches!(&error, SourceError::Column { column, .. } if column == "nome"), "{error}");
    assert!(error.to_string().contains("image, audio"), "{error}");
}

#[test]
fn classes_are_folders() {
    let folder = tempfile::tempdir().unwrap();
    for (class, name) in [("cat", "cat.1.jpg"), ("cat", "cat.2.jpg"), ("dog", "b.png"), ("dog", "b.txt")] {
        fs::create_dir_all(folder.path().join("set").join(class)).unwrap();
        fs::write(folder.path().join("set").join(class).join(name), name).unwrap();
    }
    let bytes = |name: &str| Value::Bytes(name.as_bytes().into());
    let expected = [
        sample("cat/cat.1", &[("image", bytes("cat.1.jpg")), ("label", text("cat"))]),
        sample("cat/cat.2", &[("image", bytes("cat.2.jpg")), ("label", text("cat"))]),
        sample("dog/b", &[("image", bytes("b.png")), ("label", text("dog")), ("text", text("b.txt"))]),
    ];
    assert_eq!(all(&open("set", folder.path()).unwrap()), expected);
    let mut config = SourceConfig::new("set");
    config.layout = Some(Layout::Stem);
    let stems = all(&Dataset::open(&[config], folder.path()).unwrap());
    let cat = sample("cat/cat", &[("1", bytes("cat.1.jpg")), ("2", bytes("cat.2.jpg"))]);
    assert_eq!(stems, [cat, sample("dog/b", &[("image", bytes("b.png")), ("text", text("b.txt"))])]);
}

#[test]
fn patterns_name_several_files() {
    let (folder, samples) = (tempfile::tempdir().unwrap(), twelve());
    let base = folder.path();
    fs::create_dir(base.join("shards")).unwrap();
    for (number, chunk) in samples.chunks(4).enumerate() {
        write_tar(&base.join(format!("shards/{number:03}.tar")), chunk);
    }
    for pattern in ["shards/{000..002}.tar", "shards/*.tar", "shards", "shards/{000,00[12]}.tar"] {
        let dataset = open(pattern, base).unwrap();
        assert_eq!(all(&dataset), samples, "{pattern}");
        assert_eq!(dataset.description()[0].origin.files, 3);
    }
    assert!(
        matches!(open("shards/{000..003}.tar", base), Err(SourceError::NotFound { path }) if path.ends_with("003.tar"))
    );
    assert!(matches!(open("shards/*.zip", base), Err(SourceError::Pattern { .. })));
    assert!(matches!(open("nothing.csv", base), Err(SourceError::NotFound { .. })));
}

#[test]
fn rows_without_key_are_numbered() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        fs::write(folder.path().join(format!("{name}.csv")), "\u{feff}x, y\r\n1, \"p, q\"\r\n\r\n2,\n").unwrap();
    }
    let one = all(&open("a.csv", folder.path()).unwrap());
    let expected =
        [sample("0", &[("x", Value::Number(1.0)), ("y", text("p, q"))]), sample("1", &[("x", Value::Number(2.0))])];
    assert_eq!(one, expected);
    let keys: BTreeSet<String> =
        all(&open("*.csv", folder.path()).unwrap()).into_iter().map(|sample| sample.key).collect();
    assert_eq!(keys, ["a/0", "a/1", "b/0", "b/1"].map(String::from).into());
}

#[test]
fn a_description_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    write_tar(&folder.path().join("set.tar"), &twelve());
    let description = &open("set.tar", folder.path()).unwrap().description()[0];
    assert_eq!((description.samples, description.looked_at, description.faults.len()), (12, 12, 0));
    assert_eq!(description.fields["age"].missing, 1.0 - 10.0 / 12.0, "of 12 samples, numbers 2 and 7 have no age");
    assert!(description.to_string().contains("image: bytes, 25.0 % missing"), "{description}");
}

#[test]
fn configurations_are_strict() {
    let config: SourceConfig = toml::from_str("path = \"x\"\nfields = { a = \"b\" }\nformat = \"jsonl\"").unwrap();
    assert_eq!(toml::from_str::<SourceConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    assert!(toml::from_str::<SourceConfig>("path = \"x\"\nformt = \"csv\"").is_err());
    assert!(toml::from_str::<SourceConfig>("path = \"x\"\nformat = \"xls\"").is_err());
}
