//! The graph of nearest neighbours: usearch's HNSW (Malkov and Yashunin 2018).

use std::{
    fmt::Display,
    fs, io,
    io::Read,
    path::{Path, PathBuf},
};

use ndarray::{ArrayView1, ArrayView2};
use rayon::prelude::*;
use sensorium_state::StateError;
use usearch::{MetricKind, ScalarKind};

use super::options::{Dtype, Metric};
use crate::RetrieveError;

/// Neighbours of a vector on each level but the lowest, which has twice as many.
const CONNECTIVITY: usize = 16;
/// Candidates that are kept while a vector is added.
const BREADTH_OF_BUILDING: usize = 128;
/// Candidates that are kept while a query is answered.
const BREADTH_OF_SEARCH: usize = 96;
/// Vectors that are added between two reports of progress.
const REPORT: usize = 4096;

/// A graph over the rows of a modality's vectors.
pub(crate) struct Graph {
    inner: usearch::Index,
    path: PathBuf,
}

impl Graph {
    fn new(width: usize, metric: Metric, dtype: Dtype, path: &Path) -> Result<Self, RetrieveError> {
        let options = usearch::IndexOptions {
            dimensions: width,
            // Vectors of length 1 have their cosine as dot product.
            metric: match metric {
                Metric::Cosine | Metric::Dot => MetricKind::IP,
                Metric::Euclidean => MetricKind::L2sq,
            },
            quantization: match dtype {
                Dtype::F32 => ScalarKind::F32,
                Dtype::F16 => ScalarKind::F16,
                Dtype::I8 => ScalarKind::I8,
            },
            connectivity: CONNECTIVITY,
            expansion_add: BREADTH_OF_BUILDING,
            expansion_search: BREADTH_OF_SEARCH,
            multi: false,
        };
        let inner = usearch::Index::new(&options).map_err(|error| RetrieveError::file(path, &error))?;
        Ok(Self { inner, path: path.to_owned() })
    }

    /// Makes a graph of `vectors` by all threads, and writes it to `path`. Which neighbours a vector
    /// gets depends a little on the order in which threads come to them.
    pub(crate) fn build(
        vectors: ArrayView2<f32>,
        metric: Metric,
        dtype: Dtype,
        path: &Path,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), RetrieveError> {
        let failed = |error: &dyn Display| RetrieveError::file(path, error);
        let graph = Self::new(vectors.ncols(), metric, dtype, path)?;
        let threads = rayon::current_num_threads();
        graph.inner.reserve_capacity_and_threads(vectors.nrows(), threads).map_err(|error| failed(&error))?;
        let add = |row: usize| match vectors.row(row).as_slice() {
            Some(vector) => graph.inner.add(row as u64, vector).map_err(|error| failed(&error)),
            None => Err(failed(&"vectors must lie in one piece")),
        };
        for start in (0..vectors.nrows()).step_by(REPORT) {
            let end = (start + REPORT).min(vectors.nrows());
            (start..end).into_par_iter().try_for_each(add)?;
            progress(end - start);
        }
        let saved = graph.inner.save(&name(path)?);
        complete(path, graph.inner.serialized_length() as u64)?;
        saved.map_err(|error| failed(&error))
    }

    /// Maps a graph that [`Graph::build`] wrote.
    pub(crate) fn open(
        path: &Path,
        rows: usize,
        width: usize,
        metric: Metric,
        dtype: Dtype,
    ) -> Result<Self, RetrieveError> {
        let failed = |error: &dyn Display| RetrieveError::file(path, error);
        let graph = Self::new(width, metric, dtype, path)?;
        let threads = rayon::current_num_threads();
        graph.inner.reserve_capacity_and_threads(0, threads).map_err(|error| failed(&error))?;
        graph.inner.view(&name(path)?).map_err(|error| failed(&error))?;
        graph.inner.change_expansion_search(BREADTH_OF_SEARCH);
        match (graph.inner.size(), graph.inner.dimensions()) {
            found if found == (rows, width) => Ok(graph),
            (found, found_width) => {
                Err(failed(&format!("expected {rows} vectors of {width} numbers, found {found} of {found_width}")))
            }
        }
    }

    /// The rows of about the `count` nearest vectors.
    pub(crate) fn nearest(&self, query: ArrayView1<f32>, count: usize) -> Result<Vec<usize>, RetrieveError> {
        let query = query.to_vec();
        // The graph has room for as many searches at once as rayon has threads, so it is asked there.
        let found = rayon::scope(|_| self.inner.search(&query, count));
        let found = found.map_err(|error| RetrieveError::file(&self.path, &error))?;
        Ok(found.keys.into_iter().map(|row| row as usize).collect())
    }
}

/// An error that tells why, if a file is shorter than it should be. The library does not see that its last bytes
/// could not be written, and says little of others; to write what is missing lets the system say it.
fn complete(path: &Path, wanted: u64) -> Result<(), StateError> {
    let missing = wanted.saturating_sub(fs::metadata(path).map_or(0, |data| data.len()));
    if missing == 0 {
        return Ok(());
    }
    let short = || io::Error::new(io::ErrorKind::WriteZero, format!("{missing} of {wanted} bytes are missing"));
    let fill = |mut file: fs::File| io::copy(&mut io::repeat(0).take(missing), &mut file);
    let filled = fs::OpenOptions::new().append(true).open(path).and_then(fill);
    Err(StateError::io("write", path, filled.err().unwrap_or_else(short)))
}

fn name(path: &Path) -> Result<String, RetrieveError> {
    let name = path.to_str().map(str::to_owned);
    name.ok_or_else(|| RetrieveError::file(path, &"a graph's path must be of Unicode letters"))
}
