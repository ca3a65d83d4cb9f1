//! Metrics against their definition, written out naively.

use std::collections::BTreeMap;

use ndarray::Array2;
use rand::{RngExt, seq::SliceRandom};
use sensorium_contract::{Arrays, Batch, Embedder, Embeddings, Name, Part, Rng, Seed};

use crate::{Column, Direction, EmbeddingTable, Metrics, nearest, retrieval, subsets};

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
struct Cell {
    content: u64,
    vector: Vec<f32>,
}

#[derive(Clone, Debug)]
struct Row {
    key: String,
    cells: BTreeMap<&'static str, Cell>,
}

/// Rows with missing modalities, repeated keys, repeated content, and vectors of small whole
/// numbers, so that scores are exact and ties are common.
fn random_rows(rng: &mut Rng, count: usize) -> Vec<Row> {
    let row = |number: usize| {
        let key = if rng.random_range(0..10) == 0 { number / 2 } else { number };
        let mut cells = BTreeMap::new();
        for name in NAMES {
            if rng.random_range(0..4) > 0 {
                let content = rng.random_range(0..count as u64);
                let vector = (0..5).map(|_| rng.random_range(-1..=1) as f32).collect();
                cells.insert(name, Cell { content, vector });
            }
        }
        Row { key: key.to_string(), cells }
    };
    (0..count).map(row).collect()
}

fn table(rows: &[Row]) -> EmbeddingTable {
    let mut columns = BTreeMap::new();
    for name in NAMES {
        let cells: Vec<(usize, &Cell)> =
            rows.iter().enumerate().filter_map(|(r, row)| Some((r, row.cells.get(name)?))).collect();
        if let Some((_, first)) = cells.first() {
            let vectors = cells.iter().flat_map(|(_, cell)| cell.vector.clone()).collect();
            let column = Column {
                rows: cells.iter().map(|(row, _)| *row).collect(),
                content: cells.iter().map(|(_, cell)| cell.content).collect(),
                vectors: Array2::from_shape_vec((cells.len(), first.vector.len()), vectors).unwrap(),
            };
            columns.insert(Name::new(name), column);
        }
    }
    EmbeddingTable::new(rows.iter().map(|row| row.key.clone()).collect(), columns).unwrap()
}

fn dot(a: &Cell, b: &Cell) -> f32 {
    a.vector.iter().zip(&b.vector).map(|(a, b)| a * b).sum()
}

/// `(rank, hits)` of every query that has a partner, straight from the definition.
fn naive(rows: &[Row], from: &str, to: &str, equal: bool) -> Vec<(usize, usize)> {
    let mut placings = Vec::new();
    for query in rows.iter().filter(|row| row.cells.contains_key(from)) {
        let candidates: Vec<&Row> = rows.iter().filter(|row| row.cells.contains_key(to)).collect();
        let partners: Vec<&&Row> = candidates.iter().filter(|row| row.key == query.key).collect();
        if partners.is_empty() {
            continue;
        }
        let is_hit = |candidate: &Row| {
            let own = candidate.key == query.key;
            let same_as_partner = partners.iter().any(|p| p.cells[to].content == candidate.cells[to].content);
            let same_as_query = rows.iter().any(|row| {
                row.key == candidate.key && row.cells.get(from).is_some_and(|c| c.content == query.cells[from].content)
            });
            own || (equal && (same_as_partner || same_as_query))
        };
        let score = |row: &Row| dot(&query.cells[from], &row.cells[to]);
        let hits: Vec<f32> = candidates.iter().filter(|row| is_hit(row)).map(|row| score(row)).collect();
        let best = hits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let ahead = candidates.iter().filter(|row| !is_hit(row) && score(row) >= best).count();
        placings.push((ahead + 1, hits.len()));
    }
    placings
}

fn assert_metrics(found: &Metrics, placings: &[(usize, usize)], candidates: usize) {
    let share = |k| placings.iter().filter(|(rank, _)| *rank <= k).count() as f64 / placings.len() as f64;
    assert_eq!([found.recall_at_1, found.recall_at_5, found.recall_at_10], [share(1), share(5), share(10)]);
    let mut ranks: Vec<usize> = placings.iter().map(|(rank, _)| *rank).collect();
    ranks.sort();
    let half = ranks.len() / 2;
    let median = if ranks.len() % 2 == 1 { ranks[half] as f64 } else { (ranks[half - 1] + ranks[half]) as f64 / 2.0 };
    assert_eq!(found.median_rank, median);
    let chance = placings.iter().map(|(_, hits)| *hits as f64 / candidates as f64).sum::<f64>() / placings.len() as f64;
    assert!((found.chance - chance).abs() < 1e-12);
}

#[test]
fn equals_the_definition() {
    let mut rng = Seed::new(1).rng();
    for count in [1, 2, 7, 60, 301] {
        let rows = random_rows(&mut rng, count);
        let report = retrieval(&table(&rows));
        for from in NAMES {
            for to in NAMES.into_iter().filter(|to| *to != from) {
                let own = naive(&rows, from, to, false);
                let Some(direction) = report.get(from, to) else {
                    assert!(own.is_empty(), "{from}→{to} is missing");
                    continue;
                };
                let candidates = rows.iter().filter(|row| row.cells.contains_key(to)).count();
                assert_eq!((direction.queries, direction.candidates), (own.len(), candidates));
                assert_metrics(&direction.own_partner, &own, candidates);
                assert_metrics(&direction.equal_content, &naive(&rows, from, to, true), candidates);
            }
        }
    }
}

/// Vectors of length 1 with many digits, some rows twice.
fn unit_rows(rng: &mut Rng, count: usize, width: usize) -> Vec<Row> {
    let cell = |rng: &mut Rng, content| {
        let vector: Vec<f32> = (0..width).map(|_| rng.random_range(-1.0..1.0)).collect();
        let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
        Cell { content, vector: vector.iter().map(|v| v / length).collect() }
    };
    let mut rows: Vec<Row> = Vec::new();
    for number in 0..count {
        let cells = match rows.last() {
            Some(last) if number % 3 == 0 => last.cells.clone(),
            _ => NAMES.into_iter().map(|name| (name, cell(rng, number as u64))).collect(),
        };
        rows.push(Row { key: format!("{number:04}"), cells });
    }
    rows
}

#[test]
fn order_changes_nothing() {
    let mut rng = Seed::new(2).rng();
    let mut rows = unit_rows(&mut rng, 333, 67);
    let ordered = table(&rows);
    let (report, several) = (retrieval(&ordered), subsets(&ordered));
    let shown = answers_by_key(&ordered);
    for _ in 0..3 {
        rows.shuffle(&mut rng);
        let shuffled = table(&rows);
        assert_eq!(retrieval(&shuffled), report);
        assert_eq!(subsets(&shuffled), several);
        assert_eq!(answers_by_key(&shuffled), shown);
    }
}

fn answers_by_key(table: &EmbeddingTable) -> BTreeMap<String, Vec<(String, f32, bool)>> {
    let key = |sample: usize| table.keys()[sample].clone();
    let answers = nearest(table, &"a".into(), &"b".into(), 7).unwrap();
    let of = |query: crate::Answers| {
        (key(query.sample), query.answers.iter().map(|a| (key(a.sample), a.score, a.equal)).collect())
    };
    answers.into_iter().map(of).collect()
}

#[test]
fn a_perfect_model_finds_everything() {
    let mut rng = Seed::new(3).rng();
    let mut rows = unit_rows(&mut rng, 200, 32);
    for (number, row) in rows.iter_mut().enumerate() {
        let mut cell = row.cells["a"].clone();
        cell.content = number as u64;
        cell.vector.rotate_right(number % 2); // also rows that were copies differ now
        row.cells = NAMES.into_iter().map(|name| (name, cell.clone())).collect();
    }
    let rows: Vec<Row> =
        rows.into_iter().enumerate().filter(|(number, _)| number % 3 != 0).map(|(_, row)| row).collect();
    let table = table(&rows);
    let report = retrieval(&table);
    assert_eq!(report.directions.len(), 6);
    let several = subsets(&table);
    assert_eq!(several.iter().map(Direction::name).collect::<Vec<_>>(), ["b+c→a", "a+c→b", "a+b→c"]);
    for direction in report.directions.iter().chain(&several) {
        assert_eq!((direction.own_partner.recall_at_1, direction.own_partner.median_rank), (1.0, 1.0));
    }
    for query in nearest(&table, &"a".into(), &"c".into(), 3).unwrap() {
        assert_eq!((query.found_at(), query.answers[0].sample), (Some(0), query.sample));
    }
}

#[test]
fn a_constant_or_broken_model_finds_nothing() {
    for value in [0.5, f32::NAN] {
        let cell = |content| Cell { content, vector: vec![value; 4] };
        let row = |n: u64| Row { key: n.to_string(), cells: NAMES.into_iter().map(|name| (name, cell(n))).collect() };
        let rows: Vec<Row> = (0..12).map(row).collect();
        let report = retrieval(&table(&rows));
        let direction = report.get("a", "b").unwrap();
        assert_eq!((direction.own_partner.recall_at_10, direction.own_partner.median_rank), (0.0, 12.0));
        assert!((direction.own_partner.chance - 1.0 / 12.0).abs() < 1e-12);
    }
}

#[test]
fn equal_captions_count_only_where_said() {
    let cell = |content, vector: [f32; 2]| Cell { content, vector: vector.to_vec() };
    let row = |key: &str, a, b| Row { key: key.into(), cells: [("a", a), ("b", b)].into() };
    // Two pictures with one caption: its two vectors tie.
    let rows = [
        row("1", cell(1, [1.0, 0.0]), cell(9, [1.0, 0.0])),
        row("2", cell(2, [0.8, 0.6]), cell(9, [1.0, 0.0])),
        row("3", cell(3, [0.0, 1.0]), cell(8, [0.0, 1.0])),
    ];
    let report = retrieval(&table(&rows));
    let direction = report.get("a", "b").unwrap();
    assert!((direction.own_partner.recall_at_1 - 1.0 / 3.0).abs() < 1e-12);
    assert_eq!(direction.equal_content.recall_at_1, 1.0);
    assert!((direction.equal_content.chance - 5.0 / 9.0).abs() < 1e-12);
    let answers = nearest(&table(&rows), &"a".into(), &"b".into(), 2).unwrap();
    let marks: Vec<(bool, bool)> = answers[1].answers.iter().map(|a| (a.own, a.equal)).collect();
    assert_eq!(marks, [(false, true), (true, true)]);
}

/// Embeds what a batch's content says.
struct Echo;

impl Embedder for Echo {
    fn embed(&self, batch: &Batch) -> BTreeMap<Name, Embeddings> {
        let embed = |(name, part): (&Name, &Part)| {
            let vectors = Array2::from_shape_fn((part.rows.len(), 2), |(row, _)| part.content[row] as f32);
            (name.clone(), Embeddings { rows: part.rows.clone(), vectors })
        };
        batch.parts.iter().map(embed).collect()
    }
}

#[test]
fn collects_batches_that_lack_modalities() {
    let part = |rows: &[usize], content: &[u64]| Part {
        rows: rows.to_vec(),
        arrays: Arrays::default(),
        content: content.to_vec(),
    };
    let batch = |keys: &[&str], parts: Vec<(&str, Part)>| Batch {
        keys: keys.iter().map(|key| key.to_string()).collect(),
        parts: parts.into_iter().map(|(name, part)| (name.into(), part)).collect(),
    };
    let batches = [
        batch(&["x", "y"], vec![("a", part(&[1], &[4]))]),
        batch(&["z"], vec![("a", part(&[0], &[5])), ("b", part(&[0], &[6]))]),
    ];
    let table = EmbeddingTable::collect(&Echo, batches).unwrap();
    assert_eq!(table.keys(), ["x", "y", "z"]);
    let column = table.column(&"a".into()).unwrap();
    assert_eq!((column.rows.as_slice(), column.content.as_slice()), (&[1, 2][..], &[4, 5][..]));
    assert_eq!(column.vectors, ndarray::array![[4.0, 4.0], [5.0, 5.0]]);
    assert_eq!(table.column(&"b".into()).unwrap().rows, [2]);
    let missing = table.column(&"c".into()).unwrap_err();
    assert_eq!(missing.to_string(), "there are no embeddings of `c`; there are some of: a, b");
}

#[test]
fn a_fused_query_is_the_renormalised_mean() {
    let cell = |content, vector: [f32; 2]| Cell { content, vector: vector.to_vec() };
    let row =
        |key: &str, cells: &[(&'static str, Cell)]| Row { key: key.into(), cells: cells.iter().cloned().collect() };
    let rows = [
        row("1", &[("a", cell(1, [1.0, 0.0])), ("b", cell(7, [0.0, 1.0]))]),
        row("2", &[("a", cell(1, [0.6, 0.8]))]),
        row("3", &[("a", cell(1, [1.0, 0.0])), ("b", cell(7, [1.0, 0.0]))]),
        row("4", &[("a", cell(7, [1.0, 0.0])), ("b", cell(1, [-1.0, 0.0]))]),
    ];
    let fused = table(&rows).fuse(&["a".into(), "b".into()]).unwrap();
    assert_eq!(fused.rows, [0, 2, 3]);
    let half = 0.5_f32.sqrt();
    let difference = &fused.vectors - &ndarray::array![[half, half], [1.0, 0.0], [0.0, 0.0]];
    assert!(difference.iter().all(|d| d.abs() < 1e-6), "{:?}", fused.vectors);
    assert_eq!(fused.content[0], fused.content[1]);
    assert_ne!(fused.content[0], fused.content[2]);
}

#[test]
fn search_takes_the_lower_row_of_equal_scores() {
    let vectors = ndarray::array![[0.0_f32], [2.0], [f32::NAN], [2.0], [1.0]];
    let queries = ndarray::array![[1.0_f32]];
    for k in 0..7 {
        let found = crate::exact::search(queries.view(), vectors.view(), k);
        let rows: Vec<usize> = found[0].iter().map(|neighbour| neighbour.row).collect();
        assert_eq!(rows, [1, 3, 4, 0, 2][..k.min(5)]);
    }
}

#[test]
fn wrong_columns_are_refused() {
    let column = |rows: &[usize], width| Column {
        rows: rows.to_vec(),
        content: vec![0; rows.len()],
        vectors: Array2::zeros((rows.len(), width)),
    };
    let keys = || vec!["x".to_string(), "y".to_string()];
    let new = |columns: Vec<(&str, Column)>| {
        EmbeddingTable::new(keys(), columns.into_iter().map(|(name, column)| (name.into(), column)).collect())
    };
    assert!(new(vec![("a", column(&[0, 1], 3))]).is_ok());
    assert!(new(vec![("a", column(&[1, 0], 3))]).is_err());
    assert!(new(vec![("a", column(&[0, 2], 3))]).is_err());
    let error = new(vec![("a", column(&[0], 3)), ("b", column(&[0], 4))]).unwrap_err();
    assert_eq!(error.to_string(), "vectors of `b` have 4 numbers, expected 3");
}

#[test]
fn report_is_json_and_a_table() {
    let mut rng = Seed::new(4).rng();
    let table = table(&unit_rows(&mut rng, 40, 8));
    let mut report = retrieval(&table);
    report.several = subsets(&table);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["directions"][0]["from"], serde_json::json!(["a"]));
    assert!(json["directions"][0]["own_partner"]["recall@1"].is_number());
    assert_eq!(serde_json::from_value::<crate::RetrievalReport>(json).unwrap(), report);
    let text = report.to_string();
    println!("{text}");
    let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "ragged table:\n{text}");
    assert!(report.metrics().iter().any(|(name, _)| name == "a+b→c/equal content/recall@1"));
}

/// `cargo test --release -p sensorium-retrieve speed -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn speed() {
    let mut rng = Seed::new(5).rng();
    let count = 20_000;
    let column = || Column {
        rows: (0..count).collect(),
        content: (0..count as u64).collect(),
        vectors: Array2::from_shape_simple_fn((count, 192), || rng.random_range(-1.0..1.0)),
    };
    let columns = ["a", "b"].map(Name::new).into_iter().zip(std::iter::repeat_with(column)).collect();
    let table = EmbeddingTable::new((0..count).map(|n| n.to_string()).collect(), columns).unwrap();
    let start = std::time::Instant::now();
    let report = retrieval(&table);
    println!("{report}{count} × {count}, two directions: {:.2} s", start.elapsed().as_secs_f64());
    let start = std::time::Instant::now();
    nearest(&table, &"a".into(), &"b".into(), 5).unwrap();
    println!("nearest: {:.2} s", start.elapsed().as_secs_f64());
}
