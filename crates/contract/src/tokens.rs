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

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    /// Three tokens of width 4, of which the last may be hidden.
    fn pooled(pool: Pool, mask: Option<[bool; 3]>) -> Vec<f32> {
        let device = Device::flex();
        let values = [1.0, 2.0, 3.0, 4.0, 3.0, 6.0, 7.0, 4.0, 50.0, 60.0, 70.0, 80.0];
        let values = Tensor::<3>::from_data(TensorData::new(values.to_vec(), [1, 3, 4]), &device);
        let mask = mask.map(|mask| Tensor::from_data(TensorData::new(mask.to_vec(), [1, 3]), &device));
        let tokens = Tokens::new(&Name::new("sound"), pool, values, mask);
        tokens.pool().remove(0).vector.into_data().iter::<f32>().collect()
    }

    fn close(found: &[f32], expected: &[f32]) {
        let near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-2);
        assert!(near && found.len() == expected.len(), "{found:?} is not {expected:?}");
    }

    #[test]
    fn statistics_are_means_and_deviations_of_the_real_tokens() {
        close(&pooled(Pool::Mean, None), &[18.0, 68.0 / 3.0, 80.0 / 3.0, 88.0 / 3.0]);
        close(&pooled(Pool::Statistics, None), &[18.0, 68.0 / 3.0, 30.684, 35.827]);
        let last_hidden = Some([true, true, false]);
        close(&pooled(Pool::Mean, last_hidden), &[2.0, 4.0, 5.0, 4.0]);
        close(&pooled(Pool::Statistics, last_hidden), &[2.0, 4.0, 2.0, 0.0]);
    }

    #[test]
    fn tokens_that_agree_have_a_deviation_with_a_finite_gradient() {
        let device = Device::flex().autodiff();
        let values = Tensor::<3>::ones([1, 3, 4], &device).require_grad();
        let tokens = Tokens::new(&Name::new("sound"), Pool::Statistics, values.clone(), None);
        let gradients = tokens.pool().remove(0).vector.sum().backward();
        let gradient: Vec<f32> = values.grad(&gradients).unwrap().into_data().iter::<f32>().collect();
        assert!(gradient.iter().all(|value| value.is_finite()), "{gradient:?}");
    }
}
