//! Vectors of samples whose class is known.

use std::collections::BTreeSet;

use sensorium_contract::{Embedder, Name};
use sensorium_retrieve::{Column, EmbeddingTable};
use sensorium_samples::Prepared;

use crate::{Error, embed};

/// The vectors of a data set, with the class that a field says of each sample.
pub struct LabelledTable {
    /// The vectors.
    pub table: EmbeddingTable,
    /// The place in the data of each sample of the table. Damaged samples are not in it.
    pub places: Vec<usize>,
    /// What the field says of each sample of the table.
    pub labels: Vec<Option<String>>,
}

/// Rows of a column whose class is known.
#[derive(Clone, Debug)]
pub struct LabelledColumn {
    /// What the vectors are made of.
    pub modalities: Vec<Name>,
    /// The vectors.
    pub column: Column,
    /// Number of the class of each row.
    pub classes: Vec<usize>,
}

impl LabelledTable {
    /// Embeds all samples (`progress` is told how many of how many), and reads their labels from a field of text or numbers.
    ///
    /// # Errors
    /// If too many samples are damaged, or none has the field.
    pub fn embed(
        model: &impl Embedder,
        data: &Prepared,
        field: &str,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, Error> {
        let table = embed(model, data, progress)?;
        let dataset = data.dataset();
        let (mut places, mut labels) = (Vec::new(), Vec::new());
        let mut found = BTreeSet::new();
        let mut next = 0;
        for key in table.keys() {
            // The samples of a table stand in the order of the data, those that were damaged left out.
            let mut readable = (next..dataset.len()).filter_map(|place| Some((place, dataset.read(place).ok()?)));
            let (place, sample) = readable.find(|(_, sample)| sample.key == *key).unwrap_or_default();
            next = place + 1;
            places.push(place);
            labels.push(sample.fields.get(field).and_then(|value| value.as_text()).map(|label| label.into_owned()));
            found.extend(sample.fields.into_keys());
        }
        match labels.iter().any(Option::is_some) {
            true => Ok(Self { table, places, labels }),
            false => {
                Err(Error::NoLabel { field: field.to_owned(), found: found.into_iter().collect::<Vec<_>>().join(", ") })
            }
        }
    }

    /// The labels that occur, numbers by their size.
    pub fn classes(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.labels.iter().flatten().collect();
        let mut names: Vec<String> = names.into_iter().cloned().collect();
        let number = |name: &String| name.parse::<f64>().unwrap_or(f64::INFINITY);
        names.sort_by(|a, b| number(a).total_cmp(&number(b)));
        names
    }

    /// The vectors of some modalities together, of the samples that have them all and a label among
    /// `names`.
    ///
    /// # Errors
    /// If there are none.
    pub fn column(&self, modalities: &[Name], names: &[String]) -> Result<LabelledColumn, Error> {
        let all = self.table.fuse(modalities)?;
        let class = |sample: usize| names.iter().position(|name| Some(name) == self.labels[sample].as_ref());
        let known = |(row, &sample): (usize, &usize)| Some((row, class(sample)?));
        let (rows, classes): (Vec<usize>, Vec<usize>) = all.rows.iter().enumerate().filter_map(known).unzip();
        if rows.is_empty() {
            return Err(Error::NothingToJudge { modalities: joined(modalities) });
        }
        let column = Column {
            rows: rows.iter().map(|&row| all.rows[row]).collect(),
            content: rows.iter().map(|&row| all.content[row]).collect(),
            vectors: all.vectors.select(ndarray::Axis(0), &rows),
        };
        Ok(LabelledColumn { modalities: modalities.to_vec(), column, classes })
    }
}

impl LabelledColumn {
    /// What the vectors are made of, `image + text`.
    pub fn name(&self) -> String {
        joined(&self.modalities)
    }
}

fn joined(modalities: &[Name]) -> String {
    sensorium_metrics::presence(modalities.iter().map(|name| &**name))
}
