//! Times searches on demand; `benches/compare_faiss.py` gives the demands, so that both sides are timed in turns.
//!
//! ```text
//! bench_index E.parquet QUERIES.f32 INDEX
//! ```
//! Each line of the standard input is `graph N`, `scan N` (one query after the other) or `batch N` (all at once).
//! The answer is a line of JSON: seconds, and the rows that were found for each query.

use std::{error::Error, fs, io::BufRead, path::Path, time::Instant};

use ndarray::{Array2, ArrayView2, Axis, s};
use sensorium_contract::Name;
use sensorium_retrieve::{
    EmbeddingTable, Index, IndexOptions, exact,
    index::{Hit, build},
};
use serde_json::json;

const K: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [embeddings, queries, out] = arguments.as_slice() else {
        return Err("expected E.parquet QUERIES.f32 INDEX".into());
    };
    let begin = Instant::now();
    let index = build(Path::new(embeddings), Path::new(out), &IndexOptions::default(), &mut |_, _| {})?;
    let built = begin.elapsed().as_secs_f64();
    let to: Vec<Name> = index.modalities().cloned().collect();
    let (modality, described) = index.description().modalities.iter().next().ok_or("no vectors")?;
    println!("{}", json!({ "build_seconds": built, "recall_at_10": described.recall_at_10 }));
    let table = EmbeddingTable::read(Path::new(embeddings))?;
    let vectors = table.column(modality)?.vectors.view();
    let queries = read(queries, vectors.ncols())?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (what, count) = line.split_once(' ').ok_or("expected a word and a number")?;
        let queries = queries.slice(s![..count.parse::<usize>()?, ..]);
        let begin = Instant::now();
        let rows: Vec<Vec<usize>> = match what {
            "graph" => ask(&index, queries, &to)?,
            "scan" => queries.axis_chunks_iter(Axis(0), 1).flat_map(|query| scan(query, vectors)).collect(),
            "batch" => scan(queries, vectors),
            other => return Err(format!("graph, scan or batch, not {other}").into()),
        };
        println!("{}", json!({ "seconds": begin.elapsed().as_secs_f64(), "rows": rows }));
    }
    Ok(())
}

fn scan(queries: ArrayView2<f32>, vectors: ArrayView2<f32>) -> Vec<Vec<usize>> {
    let found = exact::search(queries, vectors, K);
    found.into_iter().map(|found| found.into_iter().map(|neighbour| neighbour.row).collect()).collect()
}

/// Keys are row numbers.
fn ask(index: &Index, queries: ArrayView2<f32>, to: &[Name]) -> Result<Vec<Vec<usize>>, Box<dyn Error>> {
    let row = |hit: Hit| hit.key.parse::<usize>();
    let mut rows = Vec::new();
    for query in queries.outer_iter() {
        rows.push(index.search(query, to, K, false)?.into_iter().map(row).collect::<Result<_, _>>()?);
    }
    Ok(rows)
}

fn read(path: &str, width: usize) -> Result<Array2<f32>, Box<dyn Error>> {
    let bytes = fs::read(path)?;
    let numbers: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Ok(Array2::from_shape_vec((numbers.len() / width, width), numbers)?)
}
