use std::{
    fs::File,
    path::{Path, PathBuf},
};

use arrow_array::{Array, StringArray, cast::AsArray};
use memmap2::Mmap;
use ndarray::{ArrayView1, ArrayView2};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sensorium_contract::Name;

use super::{Description, Hit, Item, Metric, ModalityDescription, graph::Graph};
use crate::{
    RetrieveError,
    exact::{self, Neighbour},
};

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
        described: &ModalityDescription,
        description: &Description,
    ) -> Result<Self, RetrieveError> {
        let files = Files::new(directory, name);
        let Description { metric, width, graph, .. } = *description;
        let vectors = Vectors::open(&files.vectors, described.rows, width)?;
        let graph = graph.map(|dtype| Graph::open(&files.graph, described.rows, width, metric, dtype)).transpose()?;
        let (keys, sources) = read_items(&files.items)?;
        let starts = keys.iter().scan(0, |sum, keys| Some(std::mem::replace(sum, *sum + keys.len()))).collect();
        let found: usize = keys.iter().map(Array::len).sum();
        if found != described.rows {
            let problem = format!("expected {} items, found {found}", described.rows);
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
        let queries = query.insert_axis(ndarray::Axis(0));
        let found = exact::search_shifted(queries, self.vectors.view(), self.shifts.as_deref(), k);
        self.scored(query, found.into_iter().flatten().map(|found| found.row), k)
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

pub(super) fn shifts(metric: Metric, vectors: ArrayView2<f32>) -> Option<Vec<f32>> {
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
