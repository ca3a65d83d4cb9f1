//! An imported checkpoint as a model that embeds, with its own preprocessing.

mod audio;
mod files;
mod image;
mod text;
mod towers;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use burn::tensor::Device;
use ndarray::{Array1, Array2, Array3, ArrayD, Axis, Ix2, Ix3, s};
use sensorium_contract::{Array, Arrays, Batch, Embedder, Embeddings, Modality, Name, Part, Pool, Preparation};
use sensorium_families::{Checkpoint, Content, FamilyError, Reads};
use sensorium_modalities::published::{Group, Published as Prepared, groups};
use serde_json::Value;

use crate::{Error, Reading};

pub(crate) use audio::whisper;
pub(crate) use files::{json, preprocessing};
pub(crate) use image::pictures;
pub(crate) use towers::{of_towers, start_from};

/// A published checkpoint that turns texts, pictures or sounds into vectors of length 1.
pub struct Published {
    checkpoint: Checkpoint,
    preparation: Preparation,
    reads: BTreeMap<Name, Reads>,
    /// Of texts that have no vector of their own, if a file says.
    pool: Option<Pool>,
    left_out: Vec<String>,
}

impl Published {
    /// Opens a model directory that `import` wrote, or a published checkpoint. A kind of content whose preprocessing
    /// did not come with the model is left out, if another is there.
    ///
    /// # Errors
    /// If it cannot be read, or its tokenizer or preprocessing is missing or cannot be used.
    pub fn open(directory: &Path, device: &Device) -> Result<Self, Error> {
        let checkpoint = sensorium_families::open(directory, device)?;
        let pool = pooling(directory)?;
        let mut published = Self {
            checkpoint,
            preparation: Preparation::default(),
            reads: BTreeMap::new(),
            pool,
            left_out: Vec::new(),
        };
        let mut missing = Vec::new();
        for reads in published.checkpoint.network.reads() {
            match published.add(reads, directory) {
                Err(error) if error.is_missing_tokenizer() => missing.push(error),
                added => added?,
            }
        }
        if published.reads.is_empty() {
            let family = published.checkpoint.network.name();
            return Err(missing.into_iter().next().unwrap_or(Error::NoEmbedding { family }));
        }
        published.left_out = missing.iter().map(ToString::to_string).collect();
        Ok(published)
    }

    /// One kind of content, tried once with an input as large as preprocessing makes it, so that no batch can be
    /// refused later.
    fn add(&mut self, reads: Reads, directory: &Path) -> Result<(), Error> {
        let name = Name::new(field(reads.content));
        let checkpoint = &self.checkpoint;
        let (modality, largest): (Arc<dyn Modality>, Array) = match reads.content {
            Content::Text | Content::FilledText => {
                let words = text::words(directory, checkpoint, reads.content == Content::FilledText)?;
                let ids = ndarray::Array1::from(words.longest()).into_dyn();
                (modality(reads, words), Array::I64(ids.insert_axis(Axis(0))))
            }
            Content::Picture => {
                let pictures = pictures(directory, checkpoint)?;
                let shape = [vec![1], pictures.shape().to_vec()].concat();
                (modality(reads, pictures), Array::F32(ArrayD::zeros(shape)))
            }
            Content::Spectrogram | Content::Samples => {
                let sounds = audio::sounds(directory, reads.content)?;
                let shape = [vec![1], sounds.shape()].concat();
                (modality(reads, sounds), Array::F32(ArrayD::zeros(shape)))
            }
        };
        let lengths = vec![largest.shape()[1]];
        self.answer(&reads, Group { rows: vec![0], input: largest, lengths }).map_err(|error| {
            let problem = format!("its preprocessing of {name}s does not fit the model: {error}");
            Error::Preprocessing { path: directory.to_owned(), problem }
        })?;
        self.preparation.modalities.insert(name.clone(), modality);
        self.reads.insert(name, reads);
        Ok(())
    }

    /// What each modality reads of a sample: kind and field have one name.
    pub fn readings(&self) -> BTreeMap<Name, Reading> {
        let reading = |reads: &Reads| {
            let kind = field(reads.content);
            Reading { kind, field: Some(kind.to_owned()), columns: None }
        };
        self.reads.iter().map(|(name, reads)| (name.clone(), reading(reads))).collect()
    }

    /// What the model could embed if its preprocessing had come with it.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Samples to batches.
    pub fn preparation(&self) -> &Preparation {
        &self.preparation
    }

    /// Vectors of length 1, `[rows, embedding]`. Inputs are answered in groups of one length, or of similar ones where
    /// the network leaves padding out: none is computed, and none changes a vector.
    fn vectors(&self, reads: &Reads, arrays: &Arrays, rows: usize) -> Result<Array2<f32>, FamilyError> {
        let mut vectors = Array2::zeros((rows, 0));
        for group in groups(arrays, reads.mixes_lengths) {
            let rows = group.rows.clone();
            let found = self.answer(reads, group)?;
            if vectors.ncols() == 0 {
                vectors = Array2::zeros((vectors.nrows(), found.ncols()));
            }
            rows.iter().zip(found.outer_iter()).for_each(|(&row, vector)| vectors.row_mut(row).assign(&vector));
        }
        Ok(vectors)
    }

    fn answer(&self, reads: &Reads, group: Group) -> Result<Array2<f32>, FamilyError> {
        let Group { input, lengths, .. } = group;
        let input_name = match reads.content {
            Content::Text | Content::FilledText => "input_ids",
            Content::Picture => "pixel_values",
            Content::Spectrogram | Content::Samples => "input_values",
        };
        let mut inputs = BTreeMap::from([(input_name.to_owned(), input)]);
        if let Some(mask) = mask(&lengths) {
            inputs.insert("attention_mask".to_owned(), Array::Bool(mask.into_dyn()));
        }
        let mut answers = self.checkpoint.vectors(&inputs)?;
        let own = reads.vectors.iter().find_map(|name| match answers.remove(*name)? {
            Array::F32(vectors) => vectors.into_dimensionality::<Ix2>().ok(),
            _ => None,
        });
        let tokens = || match answers.remove("last_hidden_state")? {
            Array::F32(tokens) => pooled(&tokens.into_dimensionality::<Ix3>().ok()?, &lengths, self.pool_of(reads)),
            _ => None,
        };
        // A family that says it reads something answers one of the two.
        let vectors = own.or_else(tokens);
        Ok(unit(vectors.unwrap_or_else(|| panic!("{} answers no vectors", self.checkpoint.network.name()))))
    }

    fn pool_of(&self, reads: &Reads) -> Pool {
        match reads.content {
            Content::Text | Content::FilledText => self.pool.unwrap_or(reads.pool),
            Content::Picture | Content::Spectrogram | Content::Samples => reads.pool,
        }
    }
}

impl Embedder for Published {
    fn embed(&self, batch: &Batch) -> BTreeMap<Name, Embeddings> {
        let embed = |(name, part): (&Name, &Part)| {
            // Batches come from the checkpoint's own preprocessing, which was tried when it was opened.
            let vectors = self.vectors(&self.reads[name], &part.arrays, part.rows.len());
            let vectors = vectors.unwrap_or_else(|error| panic!("{error}"));
            (name.clone(), Embeddings { rows: part.rows.clone(), vectors })
        };
        batch.parts.iter().map(embed).collect()
    }
}

/// The field of a sample, which gives the modality its name.
fn field(content: Content) -> &'static str {
    match content {
        Content::Text | Content::FilledText => "text",
        Content::Picture => "image",
        Content::Spectrogram | Content::Samples => "audio",
    }
}

fn modality<R: sensorium_modalities::published::Reader + 'static>(reads: Reads, reader: R) -> Arc<dyn Modality> {
    Arc::new(Prepared { field: field(reads.content).to_owned(), reader })
}

/// What is real, `[rows, tokens]`; nothing if all is.
fn mask(lengths: &[usize]) -> Option<Array2<bool>> {
    let longest = lengths.iter().copied().max()?;
    let mask = || Array2::from_shape_fn((lengths.len(), longest), |(row, token)| token < lengths[row]);
    lengths.iter().any(|&length| length < longest).then(mask)
}

/// `[rows, tokens, width]`, of each row the first ones real → `[rows, width]`; nothing by statistics, which no published
/// checkpoint is pooled by.
fn pooled(tokens: &Array3<f32>, lengths: &[usize], pool: Pool) -> Option<Array2<f32>> {
    let (rows, _, width) = tokens.dim();
    let mut vectors = Array2::zeros((rows, width));
    for ((tokens, &length), mut vector) in tokens.outer_iter().zip(lengths).zip(vectors.rows_mut()) {
        let vector_of: Array1<f32> = match pool {
            Pool::Class => tokens.row(0).to_owned(),
            Pool::Last => tokens.row(length - 1).to_owned(),
            Pool::Statistics => return None,
            Pool::Mean => tokens.slice(s![..length, ..]).sum_axis(Axis(0)) / length as f32,
        };
        vector.assign(&vector_of);
    }
    Some(vectors)
}

fn unit(mut vectors: Array2<f32>) -> Array2<f32> {
    for mut vector in vectors.rows_mut() {
        let length = vector.dot(&vector).sqrt();
        vector /= length.max(1e-12);
    }
    vectors
}

/// How the sentence-transformers library pools the model, where it says so.
fn pooling(directory: &Path) -> Result<Option<Pool>, Error> {
    let path = directory.join("1_Pooling/config.json");
    let config: Value = json(&path)?;
    if config.is_null() {
        return Ok(None);
    }
    let is = |key: &str| config[key].as_bool() == Some(true);
    match (is("pooling_mode_mean_tokens"), is("pooling_mode_cls_token"), is("pooling_mode_lasttoken")) {
        (true, false, false) => Ok(Some(Pool::Mean)),
        (false, true, false) => Ok(Some(Pool::Class)),
        (false, false, true) => Ok(Some(Pool::Last)),
        _ => Err(Error::Preprocessing {
            path,
            problem: "only the mean, the first or the last token is known here".into(),
        }),
    }
}
