use burn::{
    module::Module,
    tensor::{Bool, Device, Tensor},
};
use sensorium_contract::{Features, Seed, Tokens};

use crate::{
    Block, Cache, Draw, Embedding, LowRankConfig, Memory, Norm, NormPlace, Positions, Probe, TransformerConfig,
    block::Around,
    cache::BlockCache,
    positions::{Rotation, relative_bias},
};

/// A trunk: blocks, and a last normalisation where they normalise before.
///
/// Learned positions are in the tokens already: each modality has its own.
#[derive(Module, Debug)]
pub struct Transformer {
    /// In the order in which tokens pass them.
    pub blocks: Vec<Block>,
    /// After the last block.
    pub norm: Option<Norm>,
    /// Of relative positions, `[buckets, heads]`.
    pub relative: Option<Embedding>,
    /// What reads each modality's features.
    pub probe: Option<Probe>,
    #[module(skip)]
    config: TransformerConfig,
}

impl Transformer {
    /// A trunk with drawn weights.
    pub fn new(config: &TransformerConfig, seed: Seed, device: &Device) -> Self {
        let block = |layer| Block::new(config, seed.named("block").number(layer), device);
        let norm = || Norm::new(config.norm, config.width, config.epsilon, seed, device);
        let relative =
            |buckets| Embedding::new(buckets, config.heads, Draw::Normal(0.02), seed.named("relative"), device);
        Self {
            blocks: (0..config.layers as u64).map(block).collect(),
            norm: (config.norm_place == NormPlace::Before).then(norm),
            relative: match config.positions {
                Positions::Relative { buckets, .. } => Some(relative(buckets)),
                Positions::None | Positions::Rotary { .. } => None,
            },
            probe: config.probe.then(|| Probe::new(config, seed.named("probe"), device)),
            config: config.clone(),
        }
    }

    /// The trunk with low-rank changes beside the matrices of all blocks, which change nothing as they begin.
    pub fn with_low_rank(self, config: LowRankConfig, seed: Seed) -> Self {
        let change = |(layer, block): (usize, Block)| {
            let seed = seed.number(layer as u64);
            block.with_matrices(&|linear, name| linear.with_low_rank(config, seed.named(name)))
        };
        Self { blocks: self.blocks.into_iter().enumerate().map(change).collect(), ..self }
    }

    /// The trunk with its low-rank changes in the weights themselves.
    pub fn merged(self) -> Self {
        let merged = |block: Block| block.with_matrices(&|linear, _| linear.merged());
        Self { blocks: self.blocks.into_iter().map(merged).collect(), ..self }
    }

    /// Tokens to features.
    pub fn forward(&self, tokens: Tokens) -> Features {
        let Tokens { values, mask, segments } = tokens;
        let values = self.run_real(values, mask.as_ref()); // [rows, tokens, width]
        let tokens = Tokens { values, mask, segments };
        let pooled = match &self.probe {
            Some(probe) => probe.pool(&tokens),
            None => tokens.pool(),
        };
        Features { tokens, pooled }
    }

    /// `[rows, tokens, width]` → the same, without meaning at hidden tokens, which are left out. `mask`
    /// `[rows, tokens]` is true where a token is real.
    pub fn run_real(&self, x: Tensor<3>, mask: Option<&Tensor<2, Bool>>) -> Tensor<3> {
        self.through(x, Around { mask, answers_hidden: false, ..Around::default() }, None)
    }

    /// As [`Transformer::run_real`], but slower where tokens are hidden: it answers there as the reference
    /// implementations do, and such a token sees the real ones. `memory` is what a decoder's cross-attention reads.
    pub fn run(&self, x: Tensor<3>, mask: Option<&Tensor<2, Bool>>, memory: Option<&Memory>) -> Tensor<3> {
        self.through(x, Around { mask, memory, ..Around::default() }, None)
    }

    /// As [`Transformer::run`] on the tokens that follow those which the cache knows; `mask` is of all of
    /// them, `[rows, cached + tokens]`.
    pub fn step(
        &self,
        x: Tensor<3>,
        mask: Option<&Tensor<2, Bool>>,
        memory: Option<&Memory>,
        cache: &mut Cache,
    ) -> Tensor<3> {
        cache.blocks.resize(self.blocks.len(), BlockCache::default());
        self.through(x, Around { mask, memory, ..Around::default() }, Some(cache))
    }

    fn through(&self, x: Tensor<3>, around: Around<'_>, mut cache: Option<&mut Cache>) -> Tensor<3> {
        let [_, tokens, _] = x.dims();
        let cached = cache.as_ref().map_or(0, |cache| cache.tokens);
        let rotation = self.rotation(cached, tokens, &x.device());
        let bias = self.bias(tokens, cached + tokens);
        let around = Around { rotation: rotation.as_ref(), bias: bias.as_ref(), ..around };
        let through = |x, (layer, block): (usize, &Block)| {
            let cache = cache.as_mut().map(|cache| &mut cache.blocks[layer]);
            block.forward(x, around, cache, &self.config)
        };
        let x = self.blocks.iter().enumerate().fold(x, through);
        if let Some(cache) = cache {
            cache.tokens += tokens;
        }
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }

    fn rotation(&self, first: usize, tokens: usize, device: &Device) -> Option<Rotation> {
        match self.config.positions {
            Positions::Rotary { theta, scaling } => {
                let at = first..first + tokens;
                Some(Rotation::new(theta, scaling, self.config.head_width(), at, &device.clone().inner()))
            }
            Positions::None | Positions::Relative { .. } => None,
        }
    }

    fn bias(&self, queries: usize, keys: usize) -> Option<Tensor<4>> {
        match (&self.relative, self.config.positions) {
            (Some(table), Positions::Relative { max_distance, .. }) => {
                Some(relative_bias(table, self.config.attention, max_distance, [queries, keys]))
            }
            _ => None,
        }
    }

    /// What the trunk was made from.
    pub fn config(&self) -> &TransformerConfig {
        &self.config
    }
}
