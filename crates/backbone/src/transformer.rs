use burn::{module::Module, tensor::Device};
use sensorium_contract::{Features, Seed, Tokens};

use crate::{Block, Norm, TransformerConfig};

/// A trunk: blocks and a last normalisation.
///
/// Positions are in the tokens already: each modality has its own.
#[derive(Module, Debug)]
pub struct Transformer {
    /// In the order in which tokens pass them.
    pub blocks: Vec<Block>,
    /// After the last block.
    pub norm: Norm,
    #[module(skip)]
    config: TransformerConfig,
}

impl Transformer {
    /// A trunk with drawn weights.
    pub fn new(config: &TransformerConfig, seed: Seed, device: &Device) -> Self {
        let block = |layer| Block::new(config, seed.named("block").number(layer), device);
        Self {
            blocks: (0..config.layers as u64).map(block).collect(),
            norm: Norm::new(config.width, config.epsilon, seed, device),
            config: config.clone(),
        }
    }

    /// Tokens to features.
    pub fn forward(&self, tokens: Tokens) -> Features {
        let Tokens { values, mask, segments } = tokens;
        let through = |x, block: &Block| block.forward(x, mask.as_ref(), &self.config);
        let values = self.norm.forward(self.blocks.iter().fold(values, through)); // [rows, tokens, width]
        let tokens = Tokens { values, mask, segments };
        let pooled = tokens.pool();
        Features { tokens, pooled }
    }

    /// What the trunk was made from.
    pub fn config(&self) -> &TransformerConfig {
        &self.config
    }
}
