use std::{f32::consts::TAU, ops::Range};

use burn::tensor::{Device, Int, Tensor, TensorData};
use sensorium_contract::Attention;

use crate::{Embedding, RotaryScaling};

/// Cosines and sines of rotary positions.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    /// `[1, 1, tokens, head_width]`
    cos: Tensor<4>,
    /// `[1, 1, tokens, head_width]`
    sin: Tensor<4>,
}

impl Rotation {
    /// For a range of positions. In f32, as the reference implementations.
    pub(crate) fn new(
        theta: f64,
        scaling: RotaryScaling,
        head_width: usize,
        at: Range<usize>,
        device: &Device,
    ) -> Self {
        let half = head_width / 2;
        let frequency = |pair: usize| 1.0 / (theta as f32).powf(2.0 * pair as f32 / head_width as f32);
        let frequencies: Vec<f32> = (0..half).map(|pair| scaled(frequency(pair), scaling)).collect();
        let tokens = at.len();
        let table = |of: fn(f32) -> f32| {
            let row = |position: usize| frequencies.iter().map(move |frequency| of(position as f32 * frequency));
            let values: Vec<f32> = at.clone().flat_map(|position| row(position).chain(row(position))).collect();
            Tensor::from_data(TensorData::new(values, [1, 1, tokens, head_width]), device)
        };
        Self { cos: table(f32::cos), sin: table(f32::sin) }
    }

    /// Queries or keys `[rows, heads, tokens, head_width]`, turned.
    pub(crate) fn turn(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, _, head_width] = x.dims();
        let half = head_width / 2;
        let (first, second) = (x.clone().narrow(3, 0, half), x.clone().narrow(3, half, half));
        let crossed = Tensor::cat(vec![second.neg(), first], 3);
        x * self.cos.clone() + crossed * self.sin.clone()
    }
}

/// An angle a position, stretched.
fn scaled(frequency: f32, scaling: RotaryScaling) -> f32 {
    match scaling {
        RotaryScaling::None => frequency,
        RotaryScaling::Linear { factor } => frequency / factor as f32,
        RotaryScaling::Llama3 { factor, low, high, context } => {
            let (low, high) = (low as f32, high as f32);
            let turns = context as f32 * frequency / TAU;
            let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            (1.0 - kept) * frequency / factor as f32 + kept * frequency
        }
    }
}

/// What relative positions add to the scores, `[1, heads, queries, keys]`; the last query stands at the
/// last key.
pub(crate) fn relative_bias(
    table: &Embedding,
    attention: Attention,
    max_distance: usize,
    [queries, keys]: [usize; 2],
) -> Tensor<4> {
    let [buckets, heads] = table.weight.dims();
    let bucket = |query: usize, key: usize| {
        let distance = key as i64 - (query + keys - queries) as i64;
        bucket(distance, attention, buckets, max_distance) as i64
    };
    let ids: Vec<i64> = (0..queries).flat_map(|query| (0..keys).map(move |key| bucket(query, key))).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [queries, keys]), &table.weight.device().inner());
    table.forward(ids).reshape([1, queries, keys, heads]).permute([0, 3, 1, 2])
}

/// The bucket of a key's distance from a query (T5, Raffel et al. 2020, section 2.1; agrees with
/// `T5Attention._relative_position_bucket`): near ones each have one, far ones share in logarithmic steps.
fn bucket(distance: i64, attention: Attention, buckets: usize, max_distance: usize) -> usize {
    let (offset, buckets, distance) = match attention {
        Attention::Bidirectional if distance > 0 => (buckets / 2, buckets / 2, distance),
        Attention::Bidirectional => (0, buckets / 2, -distance),
        Attention::Causal => (0, buckets, (-distance).max(0)),
    };
    let (distance, exact) = (distance as usize, buckets / 2);
    if distance < exact {
        return offset + distance;
    }
    let far = (distance as f32 / exact as f32).ln() / (max_distance as f32 / exact as f32).ln();
    let far = exact + (far * (buckets - exact) as f32) as usize;
    offset + far.min(buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_angles_are_stretched_and_fast_ones_kept() {
        let llama3 = RotaryScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, context: 8192 };
        let of_turns = |turns: f32| turns * TAU / 8192.0;
        let ratio = |turns: f32| scaled(of_turns(turns), llama3) / of_turns(turns);
        for (turns, expected) in [(100.0, 1.0), (4.0, 1.0), (2.5, 0.5625), (1.0, 0.125), (0.1, 0.125)] {
            assert!((ratio(turns) - expected).abs() < 1e-6, "{turns}: {}", ratio(turns));
        }
        assert_eq!(scaled(0.5, RotaryScaling::Linear { factor: 4.0 }), 0.125);
    }

    #[test]
    fn near_distances_have_a_bucket_each_and_far_ones_share() {
        let both = |distance| bucket(distance, Attention::Bidirectional, 32, 128);
        assert_eq!([0, -1, -7, -8, -15, -16, -127, -1000].map(both), [0, 1, 7, 8, 9, 10, 15, 15]);
        assert_eq!([1, 7, 8, 127, 1000].map(both), [17, 23, 24, 31, 31]);
        let back = |distance| bucket(distance, Attention::Causal, 32, 128);
        assert_eq!([5, 0, -1, -15, -16, -128].map(back), [0, 0, 1, 15, 16, 31]);
    }
}
