use burn::tensor::{Bool, DType, Int, Tensor, activation::softmax};

use crate::{coverage::Operation, flex, matmul};

/// What self-attention over fused projections needs to know beside its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionOptions {
    /// Number of heads; divides the width.
    pub heads: usize,
    /// Whether a token sees only itself and those before it.
    pub causal: bool,
}

/// Scaled dot-product self-attention (Vaswani et al. 2017) over queries, keys and values that
/// come from one projection and stand beside each other.
///
/// Hidden keys never influence the output of a real token. A token that sees no key gives zeros.
/// What comes out at a hidden position is finite, and without meaning.
///
/// # Shapes
/// `qkv` `[rows, tokens, 3 · width]`, `mask` `[rows, tokens]` true where a token is real →
/// `[rows, tokens, width]`
pub fn attention(qkv: Tensor<3>, mask: Option<&Tensor<2, Bool>>, options: AttentionOptions) -> Tensor<3> {
    if let Some(output) = flex::attention(&qkv, mask, options) {
        Operation::Attention.count_fused();
        return output;
    }
    Operation::Attention.count_composed();
    composed(qkv, mask, options)
}

pub(crate) fn composed(qkv: Tensor<3>, mask: Option<&Tensor<2, Bool>>, options: AttentionOptions) -> Tensor<3> {
    let [rows, tokens, triple] = qkv.dims();
    let width = triple / 3;
    let head_width = width / options.heads;
    let part = |index: usize| {
        let part = qkv.clone().narrow(2, index * width, width);
        part.reshape([rows, tokens, options.heads, head_width]).swap_dims(1, 2) // [rows, heads, tokens, head_width]
    };
    let inputs = AttentionInputs { query: part(0), key: part(1), value: part(2), mask: mask.cloned(), bias: None };
    let scores = Scores { causal: options.causal, scale: (head_width as f64).powf(-0.5) };
    let out = attention_composed(inputs, scores); // [rows, heads, tokens, head_width]
    out.swap_dims(1, 2).reshape([rows, tokens, width])
}

/// The tensors of [`attention_general`].
#[derive(Clone, Debug)]
pub struct AttentionInputs {
    /// `[rows, heads, queries, head_width]`
    pub query: Tensor<4>,
    /// `[rows, key_heads, keys, head_width]`; `key_heads` divides `heads`, and each is shared by
    /// `heads / key_heads` neighbouring query heads (Ainslie et al. 2023).
    pub key: Tensor<4>,
    /// `[rows, key_heads, keys, value_width]`
    pub value: Tensor<4>,
    /// `[rows, keys]`, true where a key is real; nothing if all are.
    pub mask: Option<Tensor<2, Bool>>,
    /// Added to the scaled scores; `[1 or rows, 1 or heads, queries, keys]`.
    pub bias: Option<Tensor<4>>,
}

/// How queries and keys become weights in [`attention_general`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Whether a query sees only its own and earlier positions. The last query stands at the last
    /// key, so that a cache of earlier keys may precede.
    pub causal: bool,
    /// Factor of the scores, `1/√head_width` as a rule.
    pub scale: f64,
}

/// Scaled dot-product attention with separate queries, keys and values: cross-attention, caches,
/// grouped heads, relative position biases. Rotary positions are applied by the caller.
///
/// Hidden keys and queries that see no key are treated as in [`attention`].
///
/// # Shapes
/// → `[rows, heads, queries, value_width]`
pub fn attention_general(inputs: AttentionInputs, scores: Scores) -> Tensor<4> {
    Operation::Attention.count_composed();
    attention_composed(inputs, scores)
}

/// The one softmax over keys outside the fused kernels.
fn attention_composed(inputs: AttentionInputs, options: Scores) -> Tensor<4> {
    let AttentionInputs { query, key, value, mask, bias } = inputs;
    let [rows, heads, queries, _] = query.dims();
    let [_, _, keys, _] = key.dims();
    let (key, value) = (repeat_heads(key, heads), repeat_heads(value, heads));
    let mut scores = matmul(query.mul_scalar(options.scale), key.transpose()); // [rows, heads, queries, keys]
    if let Some(bias) = bias {
        scores = scores + bias;
    }
    let hidden = hidden(mask, options.causal, [rows, queries, keys], &scores);
    let weights = match hidden {
        None => softmax(scores, 3),
        Some(hidden) => {
            let hidden = hidden.expand([rows, heads, queries, keys]);
            // Finite, so that a row without visible keys stays finite in both directions.
            let low = if scores.dtype() == DType::F16 { -3e4 } else { -1e30 };
            softmax(scores.mask_fill(hidden.clone(), low), 3).mask_fill(hidden, 0.0)
        }
    };
    matmul(weights, value)
}

/// Each key head as often as query heads share it.
fn repeat_heads(x: Tensor<4>, heads: usize) -> Tensor<4> {
    let [rows, key_heads, keys, width] = x.dims();
    if key_heads == heads {
        return x;
    }
    let group = heads / key_heads;
    let x = x.reshape([rows, key_heads, 1, keys, width]).expand([rows, key_heads, group, keys, width]);
    x.reshape([rows, heads, keys, width])
}

/// True where a query must not look, `[rows or 1, 1, queries or 1, keys]`.
fn hidden(
    mask: Option<Tensor<2, Bool>>,
    causal: bool,
    [rows, queries, keys]: [usize; 3],
    scores: &Tensor<4>,
) -> Option<Tensor<4, Bool>> {
    let padding = mask.map(|mask| mask.bool_not().reshape([rows, 1, 1, keys]));
    let future = causal.then(|| {
        let device = scores.device();
        let (before, queries_i64, keys_i64) = (keys as i64 - queries as i64, queries as i64, keys as i64);
        let query = Tensor::<1, Int>::arange(before..before + queries_i64, &device).reshape([1, 1, queries, 1]);
        let key = Tensor::<1, Int>::arange(0..keys_i64, &device).reshape([1, 1, 1, keys]);
        let shape = [1, 1, queries, keys];
        key.expand(shape).greater(query.expand(shape))
    });
    match (padding, future) {
        (Some(padding), Some(future)) => {
            let shape = [rows, 1, queries, keys];
            Some(padding.expand(shape).bool_or(future.expand(shape)))
        }
        (padding, future) => padding.or(future),
    }
}
