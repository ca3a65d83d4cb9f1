//! An imported checkpoint as a model of a recipe's parts, so that all that trains, saves and explains our models does so
//! with it: its own Transformers, behind encoders that make the tokens that it makes of what its preprocessing gives.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::{
    module::Param,
    tensor::{Device, Tensor},
};
use sensorium_adapt::Start;
use sensorium_contract::{Attention, Name, Pool, Seed};
use sensorium_families::{Checkpoint, Content, Patches, TOWERS, Tower, TowerHead, TowerTokens, Words};
use sensorium_modalities::{
    Encoder, Fitted, Modalities, ModalityConfig, ModalityError,
    image::{Image, ImageConfig, ImageEncoder},
    published::Reader,
    text::{TextConfig, TextEncoder, TextModality, TokenizerConfig, published_tokenizer},
};
use sensorium_model::{Architecture, Model, ModelConfig, Projection, Topology, Trunks};
use sensorium_objectives::ObjectiveConfig;

use super::{field, pictures, pooling, text};
use crate::Error;

/// The model that a training starts from: one of ours, or a published one.
///
/// # Errors
/// If there is neither, or a published one is of a family that cannot be trained, or came without its preprocessing.
pub(crate) fn start_from(path: &Path) -> Result<Start, Error> {
    match path.join("config.json").exists() {
        // Nothing is computed with it before its weights are in the new model.
        true => Ok(Start::published(path, of_towers(path, &Device::default())?)),
        false => Ok(Start::open(path)?),
    }
}

/// A modality of the checkpoint.
struct Side {
    name: Name,
    config: ModalityConfig,
    fitted: Fitted,
    tower: Tower,
}

/// The checkpoint of a directory as a model, with the objective that contrasted its sides. A side whose tokenizer did not come with it is left out,
/// if there is another.
pub(crate) fn of_towers(directory: &Path, device: &Device) -> Result<Model, Error> {
    let checkpoint = sensorium_families::open(directory, device)?;
    let reads = checkpoint.network.reads();
    let picture = match reads.iter().any(|reads| reads.content == Content::Picture) {
        true => pictures(directory, &checkpoint)?.config().map_err(preprocessing(directory))?,
        false => ImageConfig::default(),
    };
    let (mut sides, mut missing) = (Vec::new(), None);
    for tower in checkpoint.network.towers(picture.size.sides()) {
        let read = match &tower.tokens {
            TowerTokens::Words(words) => text_side(directory, &checkpoint, words, &tower),
            TowerTokens::Patches(patches) => picture_side(directory, patches, picture.clone(), tower.pool),
        };
        match read {
            Err(error) if error.is_missing_tokenizer() => missing = Some(error),
            read => {
                let (config, fitted) = read?;
                sides.push(Side { name: Name::new(field(tower.content)), config, fitted, tower });
            }
        }
    }
    sides.sort_by(|a, b| a.name.cmp(&b.name));
    match sides.is_empty() {
        false => model(sides, checkpoint.network.objective(), device),
        true => {
            let family = checkpoint.network.name();
            Err(missing.unwrap_or(Error::NotTrained { family, known: TOWERS }))
        }
    }
}

fn preprocessing(directory: &Path) -> impl Fn(String) -> Error {
    let path: PathBuf = directory.to_owned();
    move |problem| Error::Preprocessing { path: path.clone(), problem }
}

fn text_side(
    directory: &Path,
    checkpoint: &Checkpoint,
    words: &Words,
    tower: &Tower,
) -> Result<(ModalityConfig, Fitted), Error> {
    let reader = text::words(directory, checkpoint, tower.content == Content::FilledText)?;
    let limit = reader.max_tokens();
    let positions = words.positions.as_ref().map_or(limit, |positions| {
        let [count, _] = positions.dims();
        count
    });
    let path = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let config = TextConfig {
        tokenizer: TokenizerConfig::Published(path),
        context: limit.min(positions),
        pool: match tower.pool {
            Some(pool) => pool,
            None => pooling(directory)?.unwrap_or(match tower.trunk.config().attention {
                Attention::Causal => Pool::Last,
                Attention::Bidirectional => Pool::Mean,
            }),
        },
        fill: reader.fill(),
        positions: words.positions.is_some(),
        norm: words.norm.as_ref().map(|norm| norm.epsilon()),
        ..TextConfig::default()
    };
    let modality = TextModality::load(config.clone(), &published_tokenizer(directory)?)?;
    let (known, has) = (words.words.values(), modality.vocabulary());
    if has > known {
        let problem = format!("its tokenizer has {has} tokens, and the model reads {known}");
        return Err(preprocessing(directory)(problem));
    }
    let modality = modality.named(&Name::new(field(Content::Text)));
    Ok((ModalityConfig::Text(config), Fitted::Text(Arc::new(modality))))
}

fn picture_side(
    directory: &Path,
    patches: &Patches,
    steps: ImageConfig,
    pool: Option<Pool>,
) -> Result<(ModalityConfig, Fitted), Error> {
    let [height, width] = patches.side;
    if height != width || patches.channels != steps.channels {
        let problem = format!("patches of {height}×{width} and {} channels are not known here", patches.channels);
        return Err(preprocessing(directory)(problem));
    }
    let config = ImageConfig {
        patch: height,
        pool: pool.unwrap_or(steps.pool),
        norm: patches.norm.as_ref().map(|norm| norm.epsilon()),
        ..steps
    };
    let name = Name::new(field(Content::Picture));
    let image = Image::new(&name, config.clone());
    let image = image.map_err(|problem| ModalityError { name, problem: problem.into() })?;
    let [positions, _] = patches.positions.dims();
    if positions != usize::from(patches.class.is_some()) + config.grid().patches() {
        let problem = format!("pictures of {:?} have another number of patches than the model", config.size.sides());
        return Err(preprocessing(directory)(problem));
    }
    Ok((ModalityConfig::Image(config), Fitted::Image(Arc::new(image))))
}

/// The sides, sorted by name, in the model that they are the parts of.
fn model(sides: Vec<Side>, objective: Option<ObjectiveConfig>, device: &Device) -> Result<Model, Error> {
    let embedding = sides.iter().map(|side| side.tower.embedding()).max().unwrap_or(0);
    let architecture = Architecture {
        modalities: sides.iter().map(|side| (side.name.clone(), side.config.clone())).collect(),
        model: ModelConfig {
            embedding,
            projection: projection(&sides),
            topology: Topology::Towers {
                towers: sides.iter().map(|side| (side.name.clone(), side.tower.trunk.config().clone())).collect(),
            },
        },
        // One of several sides whose other side was left out contrasts nothing.
        objectives: objective.filter(|_| sides.len() > 1).into_iter().collect(),
    };
    let fitted: BTreeMap<Name, Fitted> = sides.iter().map(|side| (side.name.clone(), side.fitted.clone())).collect();
    let mut model = Model::new(&architecture, Modalities { fitted }, Seed::new(0), device)?;
    for (number, side) in sides.into_iter().enumerate() {
        let Tower { tokens, trunk, head, .. } = side.tower;
        match (&mut model.encoders[number], tokens) {
            (Encoder::Text(encoder), TowerTokens::Words(words)) => place_words(encoder, words),
            (Encoder::Image(encoder), TowerTokens::Patches(patches)) => place_patches(encoder, patches),
            _ => {}
        }
        if let Trunks::Towers(towers) = &mut model.trunks {
            towers.towers[number] = trunk;
        }
        match head {
            TowerHead::Linear(layer) | TowerHead::Tanh(layer) => {
                let own = &mut model.projections[number];
                // A missing bias is one of zeros.
                own.bias = layer.bias.or_else(|| own.bias.take());
                own.weight = layer.weight;
            }
            TowerHead::None => {
                let own = &mut model.projections[number];
                own.weight = Param::from_tensor(Tensor::eye(embedding, &own.weight.lazy_device()));
            }
        }
    }
    Ok(model)
}

/// What all sides' heads are cases of.
fn projection(sides: &[Side]) -> Projection {
    let of = |side: &Side| match &side.tower.head {
        TowerHead::Tanh(_) => Projection::Tanh,
        TowerHead::Linear(layer) if layer.bias.is_some() => Projection::Affine,
        TowerHead::Linear(_) | TowerHead::None => Projection::Linear,
    };
    sides.iter().map(of).max().unwrap_or_default()
}

/// Words and positions that the tokenizer and the context leave unused are left out.
fn place_words(encoder: &mut TextEncoder, words: Words) {
    let vocabulary = encoder.embedding.values();
    encoder.embedding.weight = Param::from_tensor(words.words.weight.val().narrow(0, 0, vocabulary));
    if let (Some(own), Some(positions)) = (&mut encoder.positions, words.positions) {
        let count = own.lazy_shape()[0];
        *own = Param::from_tensor(positions.narrow(0, 0, count));
    }
    encoder.norm = words.norm;
}

fn place_patches(encoder: &mut ImageEncoder, patches: Patches) {
    encoder.patch.weight = patches.patch.weight;
    // A missing bias is one of zeros.
    encoder.patch.bias = encoder.patch.bias.take().map(|own| {
        patches.patch.bias.unwrap_or_else(|| Param::from_tensor(Tensor::zeros(own.lazy_shape(), &own.lazy_device())))
    });
    encoder.positions = Param::from_tensor(patches.positions);
    encoder.class = patches.class.map(Param::from_tensor);
    if let Some(hidden) = patches.hidden {
        encoder.hidden = Param::from_tensor(hidden);
    }
    encoder.norm = patches.norm;
}

#[cfg(test)]
mod tests;
