use std::{
    fs::File,
    path::{Path, PathBuf},
};

use arrow_array::{Array, StringArray, cast::AsArray};
use memmap2::Mmap;
use ndarray::{ArrayView1, ArrayView2, Axis};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rayon::prelude::*;
use sensorium_contract::Name;

use super::{Dtype, Hit, Item, Metric, graph::Graph};
use crate::{
    RetrieveError,
    exact::{self, Neighbour},
};

/// Nearest vectors that recall is measured of.
const WANTED: usize = 10;

/// The files of one modality.
pub(super) struct Files {
    pub vectors: PathBuf,
    pub items: PathBuf,
    pub graph: PathBuf,
}

impl Files {
    pub(super) fn new(directory: &Path, name: &Name) -> Self {
        let at = |file| directory.join(&**name).join(file);
        Self { vectors: at("vectors.f32"), items: at("items.parquet"), graph: at("graph.usearch") }
    }
}

/// `[rows, width]` numbers of a file.
pub(super) struct Vectors {
    map: Mmap,
    rows: usize,
    width: usize,
}

impl Vectors {
    #[expect(unsafe_code, reason = "the only way to map a file")]
    pub(super) fn open(path: &Path, rows: usize, width: usize) -> Result<Self, RetrieveError> {
        let failed = |error: &dyn std::fmt::Display| RetrieveError::file(path, error);
        let file = File::open(path).map_err(|error| failed(&error))?;
        // SAFETY: the file is one of a committed index (or of one that this process builds), which
        // nobody changes: another index takes its place by renaming, and the mapping then keeps the
        // old file. Any bytes are valid numbers.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| failed(&error))?;
        let (expected, found) = (rows * width * size_of::<f32>(), map.len());
        match expected == found {
            true => Ok(Self { map, rows, width }),
            false => Err(failed(&format!("expected {expected} bytes, found {found}"))),
        }
    }

    /// `[rows, width]`
    pub(super) fn view(&self) -> ArrayView2<'_, f32> {
        // A mapping begins with a page and has as many bytes as were asked for.
        match ArrayView2::from_shape((self.rows, self.width), bytemuck::cast_slice(&self.map)) {
            Ok(view) => view,
            Err(error) => unreachable!("{error}"),
        }
    }
}

/// One modality of an index.
pub(super) struct Shelf {
    name: Name,
    metric: Metric,
    vectors: Vectors,
    /// For the Euclidean distance: half the negative squared length of each vector.
    shifts: Option<Vec<f32>>,
    graph: Option<Graph>,
    keys: Vec<StringArray>,
    sources: Vec<StringArray>,
    /// Rows before each batch of keys.
    starts: Vec<usize>,
}

impl Shelf {
    pub(super) fn open(
        directory: &Path,
        name: &Name,
        rows: usize,
        width: usize,
        metric: Metric,
        graph: Option<Dtype>,
    ) -> Result<Self, RetrieveError> {
        let files = Files::new(directory, name);
        let vectors = Vectors::open(&files.vectors, rows, width)?;
        let graph = graph.map(|dtype| Graph::open(&files.graph, rows, width, metric, dtype)).transpose()?;
        let (keys, sources) = read_items(&files.items)?;
        let starts = keys.iter().scan(0, |sum, keys| Some(std::mem::replace(sum, *sum + keys.len()))).collect();
        let found: usize = keys.iter().map(Array::len).sum();
        if found != rows {
            let problem = format!("expected {} items, found {found}", rows);
            return Err(RetrieveError::file(&files.items, &problem));
        }
        let shifts = shifts(metric, vectors.view());
        Ok(Self { name: name.clone(), metric, vectors, shifts, graph, keys, sources, starts })
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// By comparing with every vector.
    pub(super) fn scan(&self, query: ArrayView1<f32>, k: usize) -> Vec<Neighbour> {
        self.scan_all(query.insert_axis(Axis(0)), k).into_iter().flatten().collect()
    }

    /// The same for several queries, `[queries, width]`.
    fn scan_all(&self, queries: ArrayView2<f32>, k: usize) -> Vec<Vec<Neighbour>> {
        let found = exact::search_shifted(queries, self.vectors.view(), self.shifts.as_deref(), k);
        let scored = |(query, found): (ArrayView1<f32>, Vec<Neighbour>)| {
            self.scored(query, found.into_iter().map(|found| found.row), k)
        };
        queries.outer_iter().zip(found).map(scored).collect()
    }

    /// The share of the ten nearest vectors that is found, on average over the queries. One as near as
    /// the tenth is as good; the query itself, where it is among the vectors, does not count, as it is
    /// found too easily.
    pub(super) fn recall(&self, queries: ArrayView2<f32>) -> Result<f64, RetrieveError> {
        let truth = self.scan_all(queries, WANTED + 1);
        let judge = |(number, truth): (usize, Vec<Neighbour>)| {
            let query = queries.row(number);
            let other = |found: &Neighbour| self.vectors.view().row(found.row) != query;
            let truth: Vec<Neighbour> = truth.into_iter().filter(other).take(WANTED).collect();
            let Some(last) = truth.last() else { return Ok((0, 0)) };
            let found = self.nearest(query, WANTED + 1)?.into_iter().filter(other);
            let right = found.filter(|found| found.score >= last.score).count();
            Ok((right.min(truth.len()), truth.len()))
        };
        let judged = truth.into_par_iter().enumerate().map(judge).collect::<Result<Vec<_>, RetrieveError>>()?;
        let (right, wanted) = judged.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        // Where all vectors are one, nothing can be missed.
        Ok(if wanted == 0 { 1.0 } else { right as f64 / wanted as f64 })
    }

    /// By the graph, if there is one.
    pub(super) fn nearest(&self, query: ArrayView1<f32>, k: usize) -> Result<Vec<Neighbour>, RetrieveError> {
        let Some(graph) = &self.graph else { return Ok(self.scan(query, k)) };
        // Some more, as the graph's numbers may be rounded.
        let count = (k + k / 2 + 8).min(self.vectors.rows);
        Ok(self.scored(query, graph.nearest(query, count)?.into_iter(), k))
    }

    /// The best `k` of some rows, with the scores that the vectors themselves give.
    fn scored(&self, query: ArrayView1<f32>, rows: impl Iterator<Item = usize>, k: usize) -> Vec<Neighbour> {
        let vectors = self.vectors.view();
        let mut best = exact::Best::new(k.min(vectors.nrows()));
        for row in rows {
            best.offer(Neighbour { row, score: self.metric.score(query, vectors.row(row)) });
        }
        best.list
    }

    pub(super) fn hit(&self, found: Neighbour) -> Hit {
        let (key, source) = self.item(found.row);
        Hit { key: key.to_owned(), modality: self.name.clone(), score: found.score, source: source.to_owned() }
    }

    /// Items of a key.
    pub(super) fn items(&self, key: &str) -> Vec<Item> {
        let rows = self.keys.iter().flat_map(|keys| keys.iter()).enumerate();
        let rows = rows.filter(|(_, found)| *found == Some(key)).map(|(row, _)| row);
        let item = |row| Item {
            modality: self.name.clone(),
            source: self.item(row).1.to_owned(),
            vector: self.vectors.view().row(row).to_owned(),
        };
        rows.map(item).collect()
    }

    /// Key and source of a row.
    fn item(&self, row: usize) -> (&str, &str) {
        let batch = self.starts.partition_point(|&start| start <= row) - 1;
        let place = row - self.starts[batch];
        (self.keys[batch].value(place), self.sources[batch].value(place))
    }
}

fn shifts(metric: Metric, vectors: ArrayView2<f32>) -> Option<Vec<f32>> {
    let shift = |vector: ArrayView1<f32>| -0.5 * exact::dot(vector, vector);
    (metric == Metric::Euclidean).then(|| vectors.outer_iter().map(shift).collect())
}

type Texts = Vec<StringArray>;

/// Keys and sources, as they were written.
fn read_items(path: &Path) -> Result<(Texts, Texts), RetrieveError> {
    let failed = |error: &dyn std::fmt::Display| RetrieveError::file(path, error);
    let file = File::open(path).map_err(|error| failed(&error))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| failed(&error))?;
    let reader = reader.with_batch_size(1 << 16).build().map_err(|error| failed(&error))?;
    let (mut keys, mut sources) = (Vec::new(), Vec::new());
    for batch in reader {
        let batch = batch.map_err(|error| failed(&error))?;
        let column = |place: usize| {
            let texts = batch.columns().get(place).and_then(|column| column.as_string_opt::<i32>());
            texts.cloned().ok_or_else(|| failed(&"expected the columns key and source, both text"))
        };
        keys.push(column(0)?);
        sources.push(column(1)?);
    }
    Ok((keys, sources))
}
