use std::{fs, path::PathBuf};

use ndarray::{Array1, Array2, arr1};
use rand::RngExt;
use sensorium_contract::{Name, Rng, Seed};
use tempfile::TempDir;

use super::*;
use crate::{EmbeddingFile, Items, store::Origin};

fn origin() -> Origin {
    Origin { model: "m".to_owned(), samples: "s".to_owned(), data: Vec::new(), fields: Vec::new() }
}

/// Points around centres.
fn clustered(rng: &mut Rng, rows: usize, width: usize) -> Array2<f32> {
    let centres = Array2::from_shape_simple_fn((rows / 20 + 1, width), || rng.random_range(-1.0..1.0_f32));
    Array2::from_shape_fn((rows, width), |(row, at)| centres[(row % centres.nrows(), at)] + rng.random_range(-0.3..0.3))
}

fn store(home: &TempDir, modalities: &[(&str, &Array2<f32>)]) -> PathBuf {
    let path = home.path().join("E.parquet");
    let mut file = EmbeddingFile::create(&path, modalities[0].1.ncols(), &origin()).unwrap();
    for (name, vectors) in modalities {
        let keys: Vec<String> = (0..vectors.nrows()).map(|row| format!("{name}{row}")).collect();
        let items = Items {
            modality: Name::new(name),
            sources: keys.iter().map(|key| format!("file of {key}")).collect(),
            keys,
            content: (0..vectors.nrows() as u64).collect(),
            vectors: (*vectors).clone(),
        };
        file.add(items).unwrap();
    }
    file.finish().unwrap();
    path
}

fn score(metric: Metric, query: &Array1<f32>, vector: &Array1<f32>) -> f64 {
    let dot =
        |a: &Array1<f32>, b: &Array1<f32>| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    match metric {
        Metric::Cosine => dot(query, vector) / (dot(query, query) * dot(vector, vector)).sqrt(),
        Metric::Dot => dot(query, vector),
        Metric::Euclidean => -(dot(query, query) + dot(vector, vector) - 2.0 * dot(query, vector)),
    }
}

/// Keys and scores, straight from the definition.
fn naive(metric: Metric, query: &Array1<f32>, modalities: &[(&str, &Array2<f32>)], k: usize) -> Vec<(String, f64)> {
    let of = |(name, vectors): &(&str, &Array2<f32>)| -> Vec<(String, f64)> {
        let rows = vectors.outer_iter().enumerate();
        rows.map(|(row, vector)| (format!("{name}{row}"), score(metric, query, &vector.to_owned()))).collect()
    };
    let mut all: Vec<(String, f64)> = modalities.iter().flat_map(of).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.truncate(k);
    all
}

#[test]
fn finds_what_the_definition_says() {
    let mut rng = Seed::new(1).rng();
    let (one, two) = (clustered(&mut rng, 3000, 24), clustered(&mut rng, 700, 24));
    let modalities = [("one", &one), ("two", &two)];
    let home = tempfile::tempdir().unwrap();
    let embeddings = store(&home, &modalities);
    let all = [Name::new("one"), Name::new("two")];
    for metric in [Metric::Cosine, Metric::Dot, Metric::Euclidean] {
        for (exact, dtype) in [(true, Dtype::F32), (false, Dtype::F32), (false, Dtype::F16), (false, Dtype::I8)] {
            let options = IndexOptions { exact, dtype, metric };
            let built = build(&embeddings, &home.path().join("I"), &options, &mut |_, _| {});
            if dtype == Dtype::I8 && metric != Metric::Cosine {
                assert!(matches!(built, Err(RetrieveError::Options(_))));
                continue;
            }
            let index = built.unwrap();
            for shelf in index.description().modalities.values() {
                assert_eq!(shelf.recall_at_10.is_none(), exact);
                assert!(shelf.recall_at_10.unwrap_or(1.0) > 0.9, "{metric} {dtype}: {:?}", index.description());
            }
            let mut right = 0;
            for row in (0..3000).step_by(100) {
                let query = one.row(row).mapv(|value| value * 1.7);
                for to in [&all[..], &all[1..]] {
                    let modalities = if to.len() == 2 { &modalities[..] } else { &modalities[1..] };
                    let expected = naive(metric, &query, modalities, 10);
                    let scan = index.search(query.view(), to, 10, true).unwrap();
                    for (found, expected) in scan.iter().zip(&expected) {
                        assert!((f64::from(found.score) - expected.1).abs() < 1e-4, "{metric}: {found:?} {expected:?}");
                        assert_eq!(found.source, format!("file of {}", found.key));
                    }
                    assert_eq!(scan.len(), 10);
                    let found = index.search(query.view(), to, 10, false).unwrap();
                    assert_eq!(found.len(), 10, "as many as were asked for");
                    right += found.iter().filter(|hit| scan.contains(hit)).count();
                }
            }
            assert!(right > 570, "{metric} {dtype} exact {exact}: {right} of 600");
        }
    }
}

#[test]
fn few_items_are_all_found() {
    let mut rng = Seed::new(2).rng();
    let few = clustered(&mut rng, 3, 5);
    let home = tempfile::tempdir().unwrap();
    let index = build(&store(&home, &[("a", &few)]), &home.path().join("I"), &IndexOptions::default(), &mut |_, _| {});
    let index = index.unwrap();
    let found = index.search(few.row(1), &[Name::new("a")], 10, false).unwrap();
    assert_eq!((found.len(), found[0].key.as_str()), (3, "a1"));
    assert!((found[0].score - 1.0).abs() < 1e-5);
    let items = index.items("a2");
    assert_eq!((items.len(), items[0].source.as_str()), (1, "file of a2"));
    assert!(index.items("b").is_empty());
    assert_eq!(index.origin(), Some(&origin()));
    let width = index.search(arr1(&[1.0]).view(), &[Name::new("a")], 1, false).unwrap_err().to_string();
    assert_eq!(width, "the query has 1 numbers, the vectors of the index have 5");
    let absent = index.search(few.row(1), &[Name::new("b")], 1, false).unwrap_err().to_string();
    assert_eq!(absent, "there are no embeddings of `b`; there are some of: a");
}

#[test]
fn each_damaged_file_is_named() {
    let mut rng = Seed::new(3).rng();
    let vectors = clustered(&mut rng, 100, 8);
    let home = tempfile::tempdir().unwrap();
    let (embeddings, out) = (store(&home, &[("a", &vectors)]), home.path().join("I"));
    let files = ["a/vectors.f32", "a/items.parquet", "a/graph.usearch", "index.json", "manifest.json"];
    for file in files {
        for damage in ["changed", "shorter", "gone"] {
            build(&embeddings, &out, &IndexOptions::default(), &mut |_, _| {}).unwrap();
            let path = out.join(file);
            let mut bytes = fs::read(&path).unwrap();
            match damage {
                "changed" => {
                    let place = bytes.len() / 2;
                    bytes[place] ^= 4;
                    fs::write(&path, bytes).unwrap();
                }
                "shorter" => fs::write(&path, &bytes[..bytes.len() - 5]).unwrap(),
                _ => fs::remove_file(&path).unwrap(),
            }
            let error = Index::open(&out).err().unwrap().to_string();
            let named = error.contains(file) || (file == "manifest.json" && error.contains(&*out.to_string_lossy()));
            assert!(named, "{file} {damage}: {error}");
        }
    }
}

#[test]
fn a_vector_that_is_no_number_is_named() {
    let mut rng = Seed::new(4).rng();
    let mut vectors = clustered(&mut rng, 9, 4);
    vectors[(7, 2)] = f32::NAN;
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("I");
    let error = build(&store(&home, &[("a", &vectors)]), &out, &IndexOptions::default(), &mut |_, _| {});
    let error = error.err().unwrap().to_string();
    assert!(error.contains("the vector of `a7` (a) holds NaN at place 2"), "{error}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing but the embeddings is left");
}
