//! A side of a published network as a trunk with what makes its tokens: what an own model has of each modality, so
//! that it can be trained as one.

use burn::tensor::Tensor;
use sensorium_backbone::{Embedding, Linear, Norm, Transformer};
use sensorium_contract::Pool;

use crate::{
    Content,
    parts::{PictureEmbeddings, TextEmbeddings},
};

/// The families that have towers.
pub const TOWERS: &[&str] = &[
    "Bert",
    "Roberta",
    "DistilBert",
    "Esm",
    "OpenAiGpt",
    "Gpt2",
    "Llama",
    "T5",
    "Clip",
    "Siglip",
    "Flava",
    "Vit",
    "VitMae",
    "Dinov2",
];

/// The side of one kind of content.
#[derive(Clone, Debug)]
pub struct Tower {
    /// What it reads.
    pub content: Content,
    /// What its tokens are made with.
    pub tokens: TowerTokens,
    /// What reads them, with the norm of its last features.
    pub trunk: Transformer,
    /// How its tokens become one feature; nothing where that is no part of the network.
    pub pool: Option<Pool>,
    /// From the pooled feature to its vector.
    pub head: TowerHead,
}

/// What makes a tower's tokens.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum TowerTokens {
    /// Of words.
    Words(Words),
    /// Of a picture's patches.
    Patches(Patches),
}

/// From the pooled feature to a tower's vector.
#[derive(Clone, Debug)]
pub enum TowerHead {
    /// The feature itself.
    None,
    /// A linear layer.
    Linear(Linear),
    /// A linear layer, then the hyperbolic tangent.
    Tanh(Linear),
}

/// What makes tokens of words.
#[derive(Clone, Debug)]
pub struct Words {
    /// `[vocabulary, width]`
    pub words: Embedding,
    /// `[positions, width]`, kinds of tokens added; nothing where the trunk turns its keys.
    pub positions: Option<Tensor<2>>,
    /// Of their sum.
    pub norm: Option<Norm>,
}

/// What makes tokens of a picture's patches.
#[derive(Clone, Debug)]
pub struct Patches {
    /// `[channels · side · side, width]`; in a patch channels, then rows, then columns.
    pub patch: Linear,
    /// Rows and columns of pixels of a patch.
    pub side: [usize; 2],
    /// Of a picture.
    pub channels: usize,
    /// Before the patches, `[width]`, where there is one.
    pub class: Option<Tensor<1>>,
    /// Of the class token and the patches, `[tokens, width]`.
    pub positions: Tensor<2>,
    /// In place of a hidden patch, `[width]`, where the checkpoint has it.
    pub hidden: Option<Tensor<1>>,
    /// Of the tokens.
    pub norm: Option<Norm>,
}

impl Tower {
    /// Numbers of its vector.
    pub fn embedding(&self) -> usize {
        match &self.head {
            TowerHead::Linear(layer) | TowerHead::Tanh(layer) => layer.weight.lazy_shape()[1],
            TowerHead::None => self.trunk.config().width,
        }
    }

    /// Of texts whose tokens are pooled.
    pub(crate) fn words(tokens: TowerTokens, trunk: &Transformer) -> Self {
        Self { content: Content::Text, tokens, trunk: trunk.clone(), pool: None, head: TowerHead::None }
    }
}

impl TextEmbeddings {
    /// The parts of a text whose first token stands at the position `first` and is of the first kind.
    pub(crate) fn tower(&self, first: usize) -> TowerTokens {
        let types = self.types.iter().map(|table| table.weight.val().narrow(0, 0, 1)); // [1, width]
        let types = types.reduce(|sum, vector| sum + vector);
        let positions = self.positions.as_ref().map(|table| {
            let positions = table.weight.val(); // [positions, width]
            let [count, _] = positions.dims();
            let positions = positions.narrow(0, first, count - first);
            match types {
                Some(types) => positions + types,
                None => positions,
            }
        });
        TowerTokens::Words(Words { words: self.words.clone(), positions, norm: self.norm.clone() })
    }
}

impl PictureEmbeddings {
    /// The parts of a picture with these positions, `[1, tokens, width]`; `norm` is of the tokens.
    pub(crate) fn tower(&self, positions: Tensor<3>, norm: Option<Norm>) -> TowerTokens {
        let [_, tokens, width] = positions.dims();
        TowerTokens::Patches(Patches {
            patch: self.patches.projection.clone(),
            side: self.patches.side,
            channels: self.channels,
            class: self.first.first().map(|class| class.val().reshape([width])),
            positions: positions.reshape([tokens, width]),
            hidden: self.hidden.as_ref().map(|hidden| hidden.val().reshape([width])),
            norm,
        })
    }
}
