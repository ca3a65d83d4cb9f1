use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor},
};
use ndarray::Array2;
use sensorium_backbone::{Draw, Embedding, Linear, Norm, NormKind, param};
use sensorium_contract::Seed;
use sensorium_kernels::Activation;

use crate::Layout;

/// Words, positions and kinds of tokens, added up and normalised (BERT, Devlin et al. 2019, section 3).
#[derive(Module, Debug)]
pub struct TextEmbeddings {
    /// `[vocabulary, width]`
    pub words: Embedding,
    /// `[positions, width]`
    pub positions: Option<Embedding>,
    /// One table for each kind of kinds, `[kinds, width]`.
    pub types: Vec<Embedding>,
    /// After the sum.
    pub norm: Option<Norm>,
}

/// Sizes of [`TextEmbeddings`].
#[derive(Clone, Debug)]
pub(crate) struct TextSizes {
    pub vocabulary: usize,
    pub positions: Option<usize>,
    pub types: Vec<usize>,
    pub width: usize,
    /// Of the norm, if there is one.
    pub epsilon: Option<f64>,
}

/// What a token is, beside its word.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextIds {
    /// `[rows, tokens]`
    pub positions: Option<Tensor<2, Int>>,
    /// One for each table, `[rows, tokens]`.
    pub types: Vec<Tensor<2, Int>>,
}

impl TextEmbeddings {
    pub(crate) fn new(sizes: &TextSizes, device: &Device) -> Self {
        let table = |values| Embedding::new(values, sizes.width, Draw::Normal(0.02), Seed::new(0), device);
        Self {
            words: table(sizes.vocabulary),
            positions: sizes.positions.map(table),
            types: sizes.types.iter().copied().map(table).collect(),
            norm: sizes.epsilon.map(|epsilon| Norm::new(NormKind::Layer, sizes.width, epsilon, Seed::new(0), device)),
        }
    }

    /// Names below `theirs`: words, positions, one for each table of types, norm.
    pub(crate) fn layout(
        layout: &mut Layout,
        own: &str,
        sizes: &TextSizes,
        [words, positions, norm]: [&str; 3],
        types: &[&str],
    ) {
        layout.embedding(&format!("{own}.words"), words, sizes.vocabulary, sizes.width);
        if let Some(values) = sizes.positions {
            layout.embedding(&format!("{own}.positions"), positions, values, sizes.width);
        }
        for (number, (values, name)) in sizes.types.iter().zip(types).enumerate() {
            layout.embedding(&format!("{own}.types.{number}"), name, *values, sizes.width);
        }
        if sizes.epsilon.is_some() {
            layout.norm(&format!("{own}.norm"), norm, sizes.width, NormKind::Layer);
        }
    }

    /// `[rows, tokens]` of ids → `[rows, tokens, width]`
    pub(crate) fn forward(&self, words: Tensor<2, Int>, ids: TextIds) -> Tensor<3> {
        let mut x = self.words.forward(words); // [rows, tokens, width]
        for (table, ids) in self.types.iter().zip(ids.types) {
            x = x + table.forward(ids);
        }
        if let (Some(table), Some(ids)) = (&self.positions, ids.positions) {
            x = x + table.forward(ids);
        }
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }
}

/// Positions that count real tokens from `pad + 1`, and are `pad` where the word is `pad` (RoBERTa).
pub(crate) fn after_padding(words: &Array2<i64>, pad: i64) -> Array2<i64> {
    let mut positions = words.clone();
    for mut row in positions.rows_mut() {
        let mut count = 0;
        for position in &mut row {
            let real = *position != pad;
            count += i64::from(real);
            *position = if real { count + pad } else { pad };
        }
    }
    positions
}

/// From features to the vocabulary: perhaps a layer with its activation and norm, then words.
#[derive(Module, Debug)]
pub struct LanguageHead {
    /// `[width, width]`
    pub transform: Option<Linear>,
    /// After the activation of `transform`.
    pub norm: Option<Norm>,
    /// `[width, vocabulary]`; where there is none, the words' own table serves.
    pub decoder: Option<Linear>,
    /// `[vocabulary]`; with the words' own table.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    pub(crate) activation: Activation,
}

impl LanguageHead {
    /// The words' own table and nothing else.
    pub(crate) fn tied() -> Self {
        Self { transform: None, norm: None, decoder: None, bias: None, activation: Activation::Gelu }
    }

    /// A layer of its own without a bias.
    pub(crate) fn untied([width, vocabulary]: [usize; 2], device: &Device) -> Self {
        let decoder = Linear::without_bias(width, vocabulary, Draw::Normal(0.02), Seed::new(0), device);
        Self { decoder: Some(decoder), ..Self::tied() }
    }

    /// A layer, activation and norm, then the words' own table with a bias (BERT).
    pub(crate) fn transformed(
        [width, vocabulary]: [usize; 2],
        activation: Activation,
        epsilon: f64,
        device: &Device,
    ) -> Self {
        let seed = Seed::new(0);
        Self {
            transform: Some(Linear::new(width, width, Draw::Normal(0.02), seed, device)),
            norm: Some(Norm::new(NormKind::Layer, width, epsilon, seed, device)),
            decoder: None,
            bias: Some(param([vocabulary], Draw::Constant(0.0), seed, device)),
            activation,
        }
    }

    /// Names: transform, norm, bias of the words.
    pub(crate) fn transformed_layout(
        layout: &mut Layout,
        own: &str,
        [width, vocabulary]: [usize; 2],
        [transform, norm, bias]: [&str; 3],
    ) {
        layout.linear(&format!("{own}.transform"), transform, [width, width], true);
        layout.norm(&format!("{own}.norm"), norm, width, NormKind::Layer);
        layout.tensor(format!("{own}.bias"), bias, &[vocabulary]);
    }

    /// `[rows, tokens, width]` → logits `[rows, tokens, vocabulary]`
    pub(crate) fn forward(&self, x: Tensor<3>, words: &Embedding) -> Tensor<3> {
        let x = match &self.transform {
            Some(transform) => self.activation.apply(transform.forward(x)),
            None => x,
        };
        let x = match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        let bias = self.bias.as_ref().map(Param::val);
        match (&self.decoder, bias) {
            (None, bias) => words.logits(x, bias),
            (Some(decoder), Some(bias)) => decoder.forward(x) + bias.unsqueeze(),
            (Some(decoder), None) => decoder.forward(x),
        }
    }
}
