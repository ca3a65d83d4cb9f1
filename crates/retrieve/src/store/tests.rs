use std::fs::File;

use arrow_array::{ArrayRef, LargeStringArray, ListArray, RecordBatch, StringArray};
use ndarray::{Array2, arr2};
use parquet::arrow::ArrowWriter;
use sensorium_contract::Name;

use super::*;
use crate::RetrieveError;

fn origin() -> Origin {
    Origin { model: "m".to_owned(), samples: "s".to_owned(), data: vec!["/d.tar".to_owned()], fields: Vec::new() }
}

fn items(modality: &Name, keys: &[&str], vectors: Array2<f32>) -> Items {
    let sources = keys.iter().map(|key| format!("d.tar, {key}")).collect();
    let content = keys.iter().map(|key| key.len() as u64).collect();
    let keys = keys.iter().map(ToString::to_string).collect();
    Items { modality: modality.clone(), keys, sources, content, vectors }
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
    let expected =
        [row("a", "text", 1, [1.0, 2.0]), row("bb", "text", 2, [3.0, -0.5]), row("a", "image", 1, [0.25, 0.0])];
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

#[test]
fn parts_go_on_where_they_were_left() {
    let home = tempfile::tempdir().unwrap();
    let (out, folder) = (home.path().join("E.parquet"), home.path().join("E.parquet.parts"));
    let name = Name::new("text");
    let batch = |number: u64| {
        let keys: [&'static str; 2] = [["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]][number as usize];
        vec![items(&name, &keys, Array2::from_elem((2, 3), number as f32))]
    };
    let run = |from: u64, until: u64| {
        let mut parts = EmbeddingParts::open(&out, origin()).unwrap();
        assert_eq!(parts.done(), from);
        for number in from..until {
            // The third batch has no vectors.
            let items = if number == 2 { Vec::new() } else { batch(number) };
            parts.add(number + 1, items, 1).unwrap();
        }
        parts
    };
    assert_eq!(run(0, 4).finish().unwrap(), Embedded { vectors: 6, damaged: 4 });
    assert!(!folder.exists());
    let whole = std::fs::read(&out).unwrap();
    let keys = |rows: Vec<Row>| rows.into_iter().map(|row| row.0).collect::<String>();
    assert_eq!(keys(rows(&out)), "abcdgh");

    std::fs::remove_file(&out).unwrap();
    drop(run(0, 1));
    std::fs::write(folder.join(".tmp-1-half"), b"PAR1").unwrap();
    std::fs::write(folder.join("joined"), b"PAR1").unwrap();
    drop(run(1, 3));
    assert!(!out.exists());
    run(2, 4).finish().unwrap();
    assert!(std::fs::read(&out).unwrap() == whole, "interrupted or not, the file is the same");

    // A part that is lost is made again, and all after it.
    drop(run(0, 4));
    std::fs::remove_file(folder.join("0000000000-0000000001.parquet")).unwrap();
    assert_eq!(EmbeddingParts::open(&out, origin()).unwrap().done(), 0);

    // Parts of another model are not mixed in.
    drop(run(0, 1));
    let other = Origin { model: "other".to_owned(), ..origin() };
    let error = EmbeddingParts::open(&out, other).err().unwrap().to_string();
    assert!(error.contains("another model (expected other, found m)"), "{error}");
    // Without its note, nobody knows whose a part is.
    std::fs::remove_file(folder.join("origin.json")).unwrap();
    assert_eq!(EmbeddingParts::open(&out, origin()).unwrap().done(), 0);

    let open = EmbeddingParts::open(&out, origin()).unwrap();
    let locked = EmbeddingParts::open(&out, origin()).err().unwrap().to_string();
    assert!(locked.contains("in use by another process"), "{locked}");
    open.discard().unwrap();
}

/// Stored, read again and judged, it is the same table.
#[test]
fn a_stored_table_is_judged_as_before() {
    use std::collections::BTreeMap;

    use crate::{Column, EmbeddingTable, retrieval, subsets};
    let keys: Vec<String> = (0..40).map(|sample| format!("k{}", sample / 3)).collect();
    let mut columns = BTreeMap::new();
    for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
        // Each lacks other samples; contents repeat.
        let rows: Vec<usize> = (0..40).filter(|row| row % 4 != number).collect();
        let content = rows.iter().map(|row| (row / 5) as u64).collect();
        let vectors = Array2::from_shape_fn((rows.len(), 4), |(at, i)| ((rows[at] * 7 + i * number + i) % 11) as f32);
        columns.insert(Name::new(name), Column { rows, content, vectors });
    }
    let table = EmbeddingTable::new(keys.clone(), columns.clone()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("E.parquet");
    let mut file = EmbeddingFile::create(&path, 4, &origin()).unwrap();
    for range in [0..17, 17..40] {
        for (modality, column) in &columns {
            let places: Vec<usize> = (0..column.rows.len()).filter(|&at| range.contains(&column.rows[at])).collect();
            let rows: Vec<usize> = places.iter().map(|&place| column.rows[place]).collect();
            let items = Items {
                modality: modality.clone(),
                keys: rows.iter().map(|&row| keys[row].clone()).collect(),
                sources: rows.iter().map(|row| format!("d.tar, {row}")).collect(),
                content: places.iter().map(|&place| column.content[place]).collect(),
                vectors: column.vectors.select(ndarray::Axis(0), &places),
            };
            file.add(items).unwrap();
        }
    }
    file.finish().unwrap();
    let read = EmbeddingTable::read(&path).unwrap();
    assert_eq!(retrieval(&read), retrieval(&table));
    assert_eq!(subsets(&read), subsets(&table));
    assert!(retrieval(&read).directions.iter().all(|direction| direction.equal_content != direction.own_partner));
}
