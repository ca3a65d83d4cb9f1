use std::ops::Range;

use burn::tensor::{Bool, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::Name;

/// How the tokens of a modality become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// The first token, which the encoder put there for this purpose (BERT, ViT).
    Class,
    /// The mean of the real tokens.
    Mean,
    /// Mean and spread (as the x-vectors of Snyder et al. 2018): the first half of the features by their mean over the
    /// real tokens, the second half by their standard deviation, so that the vector is as wide as a token. What a
    /// texture is lies in how much its moments differ.
    Statistics,
    /// The last real token, which has seen all others under causal attention (CLIP's text side).
    Last,
}

/// Keeps the gradient of a deviation finite where all tokens agree.
const LEAST_VARIANCE: f64 = 1e-5;

/// Consecutive tokens of one modality.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Which modality.
    pub name: Name,
    /// Which tokens.
    pub range: Range<usize>,
    /// How they are pooled.
    pub pool: Pool,
}

/// What crosses from an encoder to the backbone.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// `[rows, tokens, width]`
    pub values: Tensor<3>,
    /// `[rows, tokens]`, true where a token is real; nothing if all are.
    pub mask: Option<Tensor<2, Bool>>,
    /// The modalities that the tokens belong to, in order, without gaps.
    pub segments: Vec<Segment>,
}

impl Tokens {
    /// Tokens of one modality.
    pub fn new(name: &Name, pool: Pool, values: Tensor<3>, mask: Option<Tensor<2, Bool>>) -> Self {
        let [_, tokens, _] = values.dims();
        let segments = vec![Segment { name: name.clone(), range: 0..tokens, pool }];
        Self { values, mask, segments }
    }

    /// The tokens of several modalities of the same rows, one after the other.
    ///
    /// # Panics
    /// If there are none.
    pub fn concat(parts: Vec<Self>) -> Self {
        let masked = parts.iter().any(|part| part.mask.is_some());
        let mask = masked.then(|| Tensor::cat(parts.iter().map(Self::full_mask).collect(), 1));
        let mut segments = Vec::with_capacity(parts.len());
        let mut start = 0;
        for part in &parts {
            let [_, tokens, _] = part.values.dims();
            segments.extend(part.segments.iter().map(|segment| Segment {
                range: segment.range.start + start..segment.range.end + start,
                ..segment.clone()
            }));
            start += tokens;
        }
        let values = Tensor::cat(parts.into_iter().map(|part| part.values).collect(), 1);
        Self { values, mask, segments }
    }

    /// The mask, `[rows, tokens]`, made if all tokens are real.
    pub fn full_mask(&self) -> Tensor<2, Bool> {
        let [rows, tokens, _] = self.values.dims();
        let device = self.values.device().inner();
        self.mask.clone().unwrap_or_else(|| Tensor::<2, Int>::ones([rows, tokens], &device).equal_scalar(1))
    }

    /// One vector for each segment.
    pub fn pool(&self) -> Vec<Pooled> {
        let pooled = |segment: &Segment| Pooled { name: segment.name.clone(), vector: self.pool_segment(segment) };
        self.segments.iter().map(pooled).collect()
    }

    /// `[rows, width]`
    fn pool_segment(&self, segment: &Segment) -> Tensor<2> {
        let [rows, _, width] = self.values.dims();
        let values = self.values.clone().slice([0..rows, segment.range.clone()]); // [rows, tokens of the segment, width]
        let mask = self.mask.clone().map(|mask| mask.slice([0..rows, segment.range.clone()]));
        match (segment.pool, mask) {
            (Pool::Class, _) => values.slice([0..rows, 0..1]).reshape([rows, width]),
            (Pool::Mean, mask) => mean(values, mask.as_ref()).reshape([rows, width]),
            (Pool::Statistics, mask) => {
                let half = width / 2;
                let spread = values.clone().slice_dim(2, half..width); // [rows, tokens, width - half]
                let means = mean(values, mask.as_ref()); // [rows, 1, width]
                let centred = spread - means.clone().slice_dim(2, half..width);
                let variance = mean(centred.square(), mask.as_ref()); // [rows, 1, width - half]
                let deviation = variance.add_scalar(LEAST_VARIANCE).sqrt();
                Tensor::cat(vec![means.slice_dim(2, 0..half), deviation], 2).reshape([rows, width])
            }
            (Pool::Last, None) => {
                let last = segment.range.len() - 1;
                values.slice([0..rows, last..last + 1]).reshape([rows, width])
            }
            (Pool::Last, Some(mask)) => {
                let last = mask.int().sum_dim(1).sub_scalar(1).clamp_min(0); // [rows, 1]
                let index = last.unsqueeze_dim::<3>(2).repeat_dim(2, width); // [rows, 1, width]
                values.gather(1, index).reshape([rows, width])
            }
        }
    }
}

/// Mean over the real tokens.
///
/// # Shapes
/// `values` `[rows, tokens, width]`, `mask` `[rows, tokens]` → `[rows, 1, width]`
fn mean(values: Tensor<3>, mask: Option<&Tensor<2, Bool>>) -> Tensor<3> {
    let Some(mask) = mask else { return values.mean_dim(1) };
    let real = mask.clone().float().unsqueeze_dim::<3>(2); // [rows, tokens, 1]
    let count = real.clone().sum_dim(1).clamp_min(1.0); // [rows, 1, 1]
    (values * real).sum_dim(1) / count
}

/// The vector of one modality in a pass.
#[derive(Clone, Debug)]
pub struct Pooled {
    /// Which modality.
    pub name: Name,
    /// `[rows, width]`
    pub vector: Tensor<2>,
}

/// What one pass of the backbone returns.
#[derive(Clone, Debug)]
pub struct Features {
    /// The tokens after the last block, `[rows, tokens, width]`.
    pub tokens: Tokens,
    /// One vector for each modality in the pass, but for those that no sample of the batch has;
    /// without meaning in a row that lacks the modality.
    pub pooled: Vec<Pooled>,
}
