use std::{fs, path::Path, sync::Arc};

use arrow_array::{
    ArrayRef, BinaryArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int32Array,
    LargeStringArray, ListArray, NullArray, RecordBatch, StringArray, StringViewArray, StructArray,
    TimestampMicrosecondArray, UInt64Array,
    types::{Float64Type, Int32Type},
};
use arrow_schema::{Field, Fields, Schema};
use parquet::arrow::ArrowWriter;
use sensorium_contract::Value;

use super::{open, text};
use crate::{Dataset, SourceConfig};

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn structure(members: Vec<(&str, ArrayRef)>) -> ArrayRef {
    let field = |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
    let fields: Fields = members.iter().map(field).collect();
    Arc::new(StructArray::new(fields, members.into_iter().map(|(_, column)| column).collect(), None))
}

#[test]
fn arrow_types_become_values() {
    let folder = tempfile::tempdir().unwrap();
    let words: DictionaryArray<Int32Type> = [Some("cat"), None].into_iter().collect();
    let numbers = ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(1.0), None, Some(2.0)]), None]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int32Array::from(vec![7, 8]))),
        ("u64", Arc::new(UInt64Array::from(vec![Some(5), None]))),
        ("f32", Arc::new(Float32Array::from(vec![0.5, f32::NAN]))),
        ("decimal", Arc::new(Decimal128Array::from(vec![Some(12345), None]).with_precision_and_scale(9, 2).unwrap())),
        ("large", Arc::new(LargeStringArray::from(vec![Some(" x "), Some("")]))),
        ("view", Arc::new(StringViewArray::from(vec![Some("12"), None]))),
        ("word", Arc::new(words)),
        ("list", Arc::new(numbers)),
        ("nothing", Arc::new(NullArray::new(2))),
        ("time", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_600_000_000_000_000), None]))),
        ("day", Arc::new(Date32Array::from(vec![Some(18_000), None]))),
        (
            "meta",
            structure(vec![
                ("a", Arc::new(Int32Array::from(vec![1, 2]))),
                ("b", Arc::new(StringArray::from(vec![Some("t"), None]))),
            ]),
        ),
    ];
    write(&folder.path().join("x.parquet"), columns);
    let dataset = open("x.parquet", folder.path()).unwrap();
    let (first, second) = (dataset.read(0).unwrap(), dataset.read(1).unwrap());
    assert_eq!((first.key.as_str(), dataset.key(1).unwrap().as_str()), ("7", "8"));
    let expected = [
        ("u64", Value::Number(5.0)),
        ("f32", Value::Number(0.5)),
        ("decimal", Value::Number(123.45)),
        ("large", text("x")),
        ("view", text("12")),
        ("word", text("cat")),
        ("list", Value::List(vec![Value::Number(1.0), Value::Number(2.0)])),
        ("time", text("2020-09-13T12:26:40")),
        ("day", text("2019-04-14")),
        ("meta.a", Value::Number(1.0)),
        ("meta.b", text("t")),
    ];
    for (name, value) in &expected {
        assert_eq!(first.fields.get(*name), Some(value), "{name}");
    }
    assert_eq!(first.fields.len(), expected.len());
    assert_eq!(second.fields.keys().collect::<Vec<_>>(), ["meta.a"]);
}

#[test]
fn files_come_as_bytes_or_by_path() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("b.png"), "from the file").unwrap();
    let picture = || {
        structure(vec![
            ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"inside"[..]), None, None, None]))),
            ("path", Arc::new(StringArray::from(vec![Some("b.png"), Some("b.png"), None, Some("../b.png")]))),
        ])
    };
    let column = StringArray::from(vec![Some("b.png"), Some("plain"), None, Some("c.wav")]);
    write(&folder.path().join("x.parquet"), vec![("image", picture()), ("column", Arc::new(column))]);
    let dataset = open("x.parquet", folder.path()).unwrap();
    let bytes = |text: &str| Value::Bytes(text.as_bytes().into());
    let first = dataset.read(0).unwrap();
    assert_eq!((&first.fields["image"], &first.fields["column"]), (&bytes("inside"), &bytes("from the file")));
    assert_eq!(dataset.read(1).unwrap().fields["image"], bytes("from the file"));
    assert!(dataset.read(2).unwrap().fields.is_empty());
    assert_eq!(dataset.read(3).unwrap_err().fault.reason, "path leaves the data's folder");
    assert!(dataset.read(3).unwrap_err().place.ends_with("x.parquet, row 3"));
    let column = Float64Array::from(vec![1.0]);
    write(&folder.path().join("y.parquet"), vec![("a", Arc::new(column))]);
    let mut config = SourceConfig::new("y.parquet");
    config.fields = [("b".to_owned(), "missing".to_owned())].into();
    assert!(Dataset::open(&[config], folder.path()).unwrap_err().to_string().contains("there are: a"));
}

/// Its footer puts a column at a negative place, at which the library panics.
#[test]
fn a_footer_that_the_library_panics_at_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.parquet"), include_bytes!("negative_offset.parquet")).unwrap();
    let dataset = open("x.parquet", folder.path()).unwrap();
    let fault = dataset.read(0).unwrap_err();
    assert_eq!(fault.fault.reason, "row group cannot be decoded", "{fault}");
}
