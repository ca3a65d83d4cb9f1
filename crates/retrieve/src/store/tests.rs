use std::fs::File;

use arrow_array::{ArrayRef, Float64Array, LargeStringArray, ListArray, RecordBatch, StringArray};
use ndarray::{Array2, arr2};
use parquet::arrow::ArrowWriter;
use sensorium_contract::Name;

use super::*;
use crate::RetrieveError;

pub(crate) fn origin() -> Origin {
    Origin { model: "m".to_owned(), samples: "s".to_owned(), data: vec!["/d.tar".to_owned()], fields: Vec::new() }
}

pub(crate) fn items<'a>(modality: &'a Name, keys: &[&'a str], vectors: Array2<f32>) -> Items<'a> {
    let sources = keys.iter().map(|key| format!("d.tar, {key}")).collect();
    let content = keys.iter().map(|key| key.len() as u64).collect();
    Items { modality, keys: keys.to_vec(), sources, content, vectors }
}

type Row = (String, String, String, Option<u64>, Vec<f32>);

fn rows(path: &std::path::Path) -> Vec<Row> {
    let reader = EmbeddingReader::open(path).unwrap();
    let mut rows = Vec::new();
    for batch in reader.batches().unwrap() {
        let batch = batch.unwrap();
        rows.extend((0..batch.len()).map(|row| {
            let texts = [batch.key(row), batch.modality(row), batch.source(row)].map(str::to_owned);
            let [key, modality, source] = texts;
            (key, modality, source, batch.content(row), batch.vectors().row(row).to_vec())
        }));
    }
    rows
}

#[test]
fn vectors_come_back_with_their_keys() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("E.parquet");
    let (text, image) = (Name::new("text"), Name::new("image"));
    let mut file = EmbeddingFile::create(&path, 2, &origin()).unwrap();
    file.add(items(&text, &["a", "bb"], arr2(&[[1.0, 2.0], [3.0, -0.5]]))).unwrap();
    file.add(items(&image, &["a"], arr2(&[[0.25, 0.0]]))).unwrap();
    let wide = file.add(items(&image, &["c"], arr2(&[[0.0, 0.0, 0.0]])));
    assert!(matches!(wide, Err(RetrieveError::Width { expected: 2, found: 3, .. })), "{wide:?}");
    file.finish().unwrap();
    let row = |key: &str, modality: &str, content, vector: [f32; 2]| {
        (key.to_owned(), modality.to_owned(), format!("d.tar, {key}"), Some(content), vector.to_vec())
    };
    let expected = [
        row("a", "text", 1, [1.0, 2.0]),
        row("bb", "text", 2, [3.0, -0.5]),
        row("a", "image", 1, [0.25, 0.0]),
    ];
    assert_eq!(rows(&path), expected);
    let reader = EmbeddingReader::open(&path).unwrap();
    assert_eq!((reader.width(), reader.rows(), reader.origin()), (2, 3, Some(origin())));
    assert_eq!(reader.counts().unwrap(), [(image, 1), (text, 2)].into());
}

/// As other programs write them.
#[test]
fn lists_of_other_numbers_are_vectors_too() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("E.parquet");
    let write = |vectors: Vec<Option<Vec<Option<f64>>>>| {
        let lists = ListArray::from_iter_primitive::<arrow_array::types::Float64Type, _, _>(vectors);
        let columns: [(&str, ArrayRef); 3] = [
            ("modality", std::sync::Arc::new(LargeStringArray::from(vec!["text", "text"]))),
            ("vector", std::sync::Arc::new(lists)),
            ("key", std::sync::Arc::new(StringArray::from(vec!["a", "b"]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    };
    write(vec![Some(vec![Some(1.0), Some(0.5)]), Some(vec![Some(2.0), Some(3.0)])]);
    let row = |key: &str, vector: [f32; 2]| (key.to_owned(), "text".to_owned(), String::new(), None, vector.to_vec());
    assert_eq!(rows(&path), [row("a", [1.0, 0.5]), row("b", [2.0, 3.0])]);
    let refused = |vectors| {
        write(vectors);
        let batch = EmbeddingReader::open(&path).unwrap().batches().unwrap().next().unwrap();
        batch.err().unwrap().to_string()
    };
    let ragged = refused(vec![Some(vec![Some(1.0), Some(0.5)]), Some(vec![Some(2.0)])]);
    assert!(ragged.contains("E.parquet") && ragged.contains("vector"), "{ragged}");
    let missing = refused(vec![Some(vec![Some(1.0), None]), Some(vec![Some(2.0), Some(1.0)])]);
    assert!(missing.contains("is missing"), "{missing}");
}

#[test]
fn what_is_no_file_of_vectors_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("E.parquet");
    std::fs::write(&path, b"PAR1").unwrap();
    let error = EmbeddingReader::open(&path).err().unwrap().to_string();
    assert!(error.contains("E.parquet"), "{error}");
    let batch = RecordBatch::try_from_iter([("key", std::sync::Arc::new(StringArray::from(vec!["a"])) as ArrayRef)]);
    let batch = batch.unwrap();
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let error = EmbeddingReader::open(&path).err().unwrap().to_string();
    assert!(error.contains("it has no column `modality`; it has key"), "{error}");
}
