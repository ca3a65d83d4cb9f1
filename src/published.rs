//! An imported checkpoint as a model that embeds, with its own preprocessing.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use burn::tensor::Device;
use ndarray::{Array2, ArrayD, Axis, Ix2, Ix3};
use sensorium_contract::{
    Array, Arrays, Batch, Embedder, Embeddings, Modality, Name, Pool, Preparation, Sample, Value as FieldValue,
};
use sensorium_families::{Checkpoint, FamilyError, Reads};
use sensorium_modalities::{
    ModalityConfig,
    image::{Filter, Image, ImageConfig, Resize, Size},
    text::{TextConfig, TextModality, TokenizerConfig},
};
use serde_json::Value;

use crate::Error;

/// Most tokens of a text where nothing says so.
const CONTEXT: usize = 512;
/// `model_max_length` above this means that there is none.
const NO_LIMIT: u64 = 1 << 20;

/// A published checkpoint that turns texts or pictures into vectors of length 1.
pub struct Published {
    checkpoint: Checkpoint,
    preparation: Preparation,
    modalities: BTreeMap<Name, ModalityConfig>,
    pool: Pool,
}

impl Published {
    /// Opens a model directory that `import` wrote, or a published checkpoint.
    ///
    /// # Errors
    /// If it cannot be read, or its tokenizer or preprocessing is missing or cannot be used.
    pub fn open(directory: &Path, device: &Device) -> Result<Self, Error> {
        let checkpoint = sensorium_families::open(directory, device)?;
        let mut prepared: BTreeMap<Name, Arc<dyn Modality>> = BTreeMap::new();
        let mut modalities = BTreeMap::new();
        // One input of each modality, of the largest size and id that preprocessing gives.
        let mut largest: Vec<(Name, Arrays)> = Vec::new();
        let reads = checkpoint.network.reads();
        if reads.contains(&Reads::Text) || reads.contains(&Reads::FilledText) {
            let modality = text_modality(directory, &checkpoint)?;
            largest.push((text(), longest_text(&modality)));
            modalities.insert(text(), ModalityConfig::Text(modality.config().clone()));
            prepared.insert(text(), Arc::new(modality));
        }
        if reads.contains(&Reads::Image) {
            let modality = image_modality(directory, &checkpoint)?;
            let pixels = ArrayD::zeros(vec![1, 1, modality.config().patch_values()]);
            largest.push((image(), Arrays::default().with("patches", Array::F32(pixels))));
            modalities.insert(image(), ModalityConfig::Image(modality.config().clone()));
            prepared.insert(image(), Arc::new(modality));
        }
        if modalities.is_empty() {
            return Err(Error::NoEmbedding { family: checkpoint.network.name() });
        }
        let preparation = Preparation { modalities: prepared, ..Preparation::default() };
        let published = Self { checkpoint, preparation, modalities, pool: pooling(directory)? };
        // Answered once here, so that no batch can be refused later.
        for (name, arrays) in largest {
            published.vectors(&name, &arrays).map_err(|error| {
                let problem = format!("its preprocessing of {name}s does not fit the model: {error}");
                Error::Preprocessing { path: directory.to_owned(), problem }
            })?;
        }
        Ok(published)
    }

    /// How each modality is prepared.
    pub fn modalities(&self) -> &BTreeMap<Name, ModalityConfig> {
        &self.modalities
    }

    /// Samples to batches.
    pub fn preparation(&self) -> &Preparation {
        &self.preparation
    }

    /// Vectors of length 1, `[rows, embedding]`.
    fn vectors(&self, name: &Name, arrays: &Arrays) -> Result<Array2<f32>, FamilyError> {
        if *name == image() {
            return self.answer(name, image_inputs(arrays, self.side()));
        }
        let rows = arrays.i64("ids").shape()[0];
        let mut vectors = Array2::zeros((rows, 0));
        // Texts of one length at a time: no padding is computed, and none changes a vector.
        for (tokens, rows) in by_length(arrays) {
            let found = self.answer(name, self.text_inputs(arrays, &rows, tokens))?;
            if vectors.ncols() == 0 {
                vectors = Array2::zeros((vectors.nrows(), found.ncols()));
            }
            rows.iter().zip(found.outer_iter()).for_each(|(&row, vector)| vectors.row_mut(row).assign(&vector));
        }
        Ok(vectors)
    }

    fn answer(&self, name: &Name, inputs: BTreeMap<String, Array>) -> Result<Array2<f32>, FamilyError> {
        let answers = self.checkpoint.forward(&inputs)?;
        let own = if *name == text() { "text_embeds" } else { "image_embeds" };
        let pooled = match (answers.get(own), answers.get("last_hidden_state")) {
            (Some(Array::F32(vectors)), _) => vectors.clone().into_dimensionality::<Ix2>().ok(),
            (_, Some(Array::F32(tokens))) => {
                let tokens = tokens.clone().into_dimensionality::<Ix3>().ok();
                tokens.map(|tokens| pooled(&tokens, self.pool))
            }
            _ => None,
        };
        // A family that says it reads a modality answers one of the two.
        let vectors =
            pooled.unwrap_or_else(|| panic!("{} answers neither vectors nor tokens", self.checkpoint.network.name()));
        Ok(unit(vectors))
    }

    /// Some rows, all of so many tokens: texts are padded at their end.
    fn text_inputs(&self, arrays: &Arrays, rows: &[usize], tokens: usize) -> BTreeMap<String, Array> {
        let ids = arrays.i64("ids").select(Axis(0), rows);
        let config = &self.checkpoint.config["text_config"];
        let ids = match self.checkpoint.network.reads().contains(&Reads::FilledText) {
            false => ids.slice_axis(Axis(1), (0..tokens).into()).to_owned(),
            true => {
                let positions = config["max_position_embeddings"].as_u64().unwrap_or(64) as usize;
                let pad = config["pad_token_id"].as_i64().unwrap_or(1);
                ArrayD::from_shape_fn(vec![rows.len(), positions], |at| {
                    if at[1] < tokens { ids[[at[0], at[1]]] } else { pad }
                })
            }
        };
        [("input_ids".to_owned(), Array::I64(ids))].into()
    }

    /// Height and width of a picture.
    fn side(&self) -> usize {
        let vision = &self.checkpoint.config["vision_config"]["image_size"];
        vision.as_u64().or_else(|| self.checkpoint.config["image_size"].as_u64()).unwrap_or(224) as usize
    }
}

impl Embedder for Published {
    fn embed(&self, batch: &Batch) -> BTreeMap<Name, Embeddings> {
        let embed = |(name, part): (&Name, &sensorium_contract::Part)| {
            // Batches come from the checkpoint's own preprocessing, which gives what its network reads.
            let vectors = self.vectors(name, &part.arrays).unwrap_or_else(|error| panic!("{error}"));
            (name.clone(), Embeddings { rows: part.rows.clone(), vectors })
        };
        batch.parts.iter().map(embed).collect()
    }
}

fn text() -> Name {
    Name::new("text")
}

fn image() -> Name {
    Name::new("image")
}

/// The rows of each number of tokens.
fn by_length(arrays: &Arrays) -> BTreeMap<usize, Vec<usize>> {
    let shape = arrays.i64("ids").shape();
    let length = |row: usize| match arrays.contains("mask") {
        true => arrays.bool("mask").index_axis(Axis(0), row).iter().filter(|real| **real).count(),
        false => shape[1],
    };
    let mut lengths: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    (0..shape[0]).for_each(|row| lengths.entry(length(row)).or_default().push(row));
    lengths
}

/// Whole pictures: the one patch of each, channels first.
fn image_inputs(arrays: &Arrays, side: usize) -> BTreeMap<String, Array> {
    let patches = arrays.f32("patches");
    let (rows, channels) = (patches.shape()[0], patches.shape()[2] / (side * side));
    let pixels = patches.clone().into_shape_with_order(vec![rows, channels, side, side]);
    // The patch is the picture, as `image_modality` says.
    [("pixel_values".to_owned(), Array::F32(pixels.unwrap_or_else(|error| panic!("{error}"))))].into()
}

/// `[rows, tokens, width]`, all tokens real → `[rows, width]`
fn pooled(tokens: &ndarray::Array3<f32>, pool: Pool) -> Array2<f32> {
    let (_, count, _) = tokens.dim();
    match pool {
        Pool::Class => tokens.index_axis(Axis(1), 0).to_owned(),
        Pool::Last => tokens.index_axis(Axis(1), count - 1).to_owned(),
        Pool::Mean => tokens.sum_axis(Axis(1)) / count as f32,
    }
}

fn unit(mut vectors: Array2<f32>) -> Array2<f32> {
    for mut vector in vectors.rows_mut() {
        let length = vector.dot(&vector).sqrt();
        vector /= length.max(1e-12);
    }
    vectors
}

/// A file beside the weights, if it is there.
fn json(path: &Path) -> Result<Option<Value>, Error> {
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let read = serde_json::from_slice(&text);
    read.map(Some).map_err(|error| Error::Preprocessing { path: path.to_owned(), problem: error.to_string() })
}

/// How the sentence-transformers library pools the model; the mean where it does not say.
fn pooling(directory: &Path) -> Result<Pool, Error> {
    let path = directory.join("1_Pooling/config.json");
    let Some(config) = json(&path)? else { return Ok(Pool::Mean) };
    let is = |key: &str| config[key].as_bool() == Some(true);
    match (is("pooling_mode_mean_tokens"), is("pooling_mode_cls_token"), is("pooling_mode_lasttoken")) {
        (true, false, false) => Ok(Pool::Mean),
        (false, true, false) => Ok(Pool::Class),
        (false, false, true) => Ok(Pool::Last),
        _ => Err(Error::Preprocessing {
            path,
            problem: "only the mean, the first or the last token is known here".into(),
        }),
    }
}

fn text_modality(directory: &Path, checkpoint: &Checkpoint) -> Result<TextModality, Error> {
    let file = directory.join("tokenizer.json");
    if !file.exists() {
        let problem =
            "it is missing; save the tokenizer in this form with the tokenizers or transformers library".into();
        return Err(Error::Preprocessing { path: file, problem });
    }
    let sentence = json(&directory.join("sentence_bert_config.json"))?;
    let tokenizer = json(&directory.join("tokenizer_config.json"))?;
    let stated = |config: &Option<Value>, key: &str| config.as_ref()?[key].as_u64().filter(|&most| most < NO_LIMIT);
    let positions = || {
        let config = &checkpoint.config;
        let own = config["max_position_embeddings"].as_u64();
        own.or_else(|| config["text_config"]["max_position_embeddings"].as_u64())
    };
    let context = stated(&sentence, "max_seq_length")
        .or_else(|| stated(&tokenizer, "model_max_length"))
        .unwrap_or(CONTEXT as u64)
        .min(positions().unwrap_or(CONTEXT as u64)) as usize;
    let config = TextConfig {
        tokenizer: TokenizerConfig::File(file.clone()),
        context,
        pool: Pool::Mean,
        ..TextConfig::default()
    };
    let modality = TextModality::fit(config, &mut std::iter::empty());
    modality.map_err(|error| Error::Preprocessing { path: file, problem: error.to_string() })
}

/// A text of as many tokens as there can be, the greatest id among them, `[1, tokens]`.
fn longest_text(modality: &TextModality) -> Arrays {
    let tokens = modality.config().context;
    let sample = Sample { fields: [("text".to_owned(), FieldValue::Text("a".into()))].into(), ..Sample::default() };
    let item = modality.decode(&sample).ok().flatten();
    let short: Vec<i64> = item.iter().flat_map(|item| item.arrays.i64("ids").iter().copied()).collect();
    let at = |token: usize| match token {
        0 => modality.vocabulary() as i64 - 1,
        // The last is the token that ends a text.
        last if last + 1 == tokens => short.last().copied().unwrap_or(0),
        inner => short.get(inner.min(short.len().saturating_sub(2))).copied().unwrap_or(0),
    };
    Arrays::default().with("ids", Array::I64(ArrayD::from_shape_fn(vec![1, tokens], |place| at(place[1]))))
}

fn image_modality(directory: &Path, checkpoint: &Checkpoint) -> Result<Image, Error> {
    let path = directory.join("preprocessor_config.json");
    let config = json(&path)?.unwrap_or(Value::Null);
    let problem = |problem: String| Error::Preprocessing { path: path.clone(), problem };
    let vision = &checkpoint.config["vision_config"]["image_size"];
    let side = vision.as_u64().or_else(|| checkpoint.config["image_size"].as_u64()).unwrap_or(224) as usize;
    let crops = config["do_center_crop"].as_bool() == Some(true);
    let shortest = config["size"]["shortest_edge"].as_u64().or_else(|| config["size"].as_u64());
    if crops && shortest.is_some_and(|shortest| shortest as usize != side) {
        let found = shortest.unwrap_or_default();
        return Err(problem(format!(
            "`size`: only the model's own {side} is known before a central crop, found {found}"
        )));
    }
    let filter = match config["resample"].as_u64() {
        Some(1) => Filter::Lanczos,
        Some(2) | None => Filter::Bilinear,
        Some(3) => Filter::Bicubic,
        Some(other) => return Err(problem(format!("`resample`: 1 to 3 are known here, found {other}"))),
    };
    let numbers = |key: &str| -> Vec<f32> {
        let values =
            config[key].as_array().map(|values| values.iter().filter_map(|v| Some(v.as_f64()? as f32)).collect());
        values.filter(|values: &Vec<f32>| !values.is_empty()).unwrap_or_else(|| vec![0.5])
    };
    let image_config = ImageConfig {
        size: Size::Square(side),
        patch: side,
        resize: if crops { Resize::Crop } else { Resize::Stretch },
        filter,
        mean: numbers("image_mean"),
        std: numbers("image_std"),
        pool: Pool::Mean,
        ..ImageConfig::default()
    };
    Image::new(&image(), image_config).map_err(|error| problem(error.to_string()))
}
