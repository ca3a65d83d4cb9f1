use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use sensorium_backbone::{Draw, Embedding, Norm, NormKind, param};
use sensorium_contract::{Arrays, Name, Pool, Seed, Tokens, tensor_bool, tensor_i64};

use super::TextConfig;

/// Token ids to tokens: a learned vector a token, plus a learned vector a position, perhaps normalised.
#[derive(Module, Debug)]
pub struct TextEncoder {
    /// `[vocabulary, width]`
    pub embedding: Embedding,
    /// `[context, width]`
    pub positions: Option<Param<Tensor<2>>>,
    /// Of their sum.
    pub norm: Option<Norm>,
    #[module(skip)]
    name: Name,
    #[module(skip)]
    pool: Pool,
}

impl TextEncoder {
    /// An encoder with drawn weights, of the deviations of CLIP (Radford et al. 2021).
    pub fn new(config: &TextConfig, vocabulary: usize, name: &Name, width: usize, seed: Seed, device: &Device) -> Self {
        let positions = || param([config.context, width], Draw::Normal(0.01), seed.named("positions"), device);
        Self {
            embedding: Embedding::new(vocabulary, width, Draw::Normal(0.02), seed.named("embedding"), device),
            positions: config.positions.then(positions),
            norm: config.norm.map(|epsilon| Norm::new(NormKind::Layer, width, epsilon, seed, device)),
            name: name.clone(),
            pool: config.pool,
        }
    }

    /// `ids` `[rows, tokens]` and, if rows differ in length, `mask` `[rows, tokens]` → tokens.
    pub fn tokens(&self, arrays: &Arrays, device: &Device) -> Tokens {
        let ids = tensor_i64::<2>(arrays.i64("ids"), device);
        let [_, tokens] = ids.dims();
        let values = self.embedding.forward(ids); // [rows, tokens, width]
        let values = match &self.positions {
            Some(positions) => values + positions.val().narrow(0, 0, tokens).unsqueeze(),
            None => values,
        };
        let values = match &self.norm {
            Some(norm) => norm.forward(values),
            None => values,
        };
        let mask = arrays.contains("mask").then(|| tensor_bool(arrays.bool("mask"), device));
        Tokens::new(&self.name, self.pool, values, mask)
    }
}
