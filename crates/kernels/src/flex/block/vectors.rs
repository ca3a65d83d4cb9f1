use super::inner_and_outer;
use crate::{
    NormPlace,
    flex::{buffer::Buffer, plan::take, rows::add_column_sums},
};

/// The gradients of norms and biases in one row of numbers.
pub(super) struct Vectors<'a> {
    pub(super) inner_norm: [&'a mut [f32]; 2],
    pub(super) outer_norm: [&'a mut [f32]; 2],
    pub(super) qkv: &'a mut [f32],
    pub(super) out: &'a mut [f32],
    pub(super) up: &'a mut [f32],
    pub(super) down: &'a mut [f32],
}

impl<'a> Vectors<'a> {
    pub(super) fn length(width: usize, hidden: usize) -> usize {
        9 * width + hidden
    }

    pub(super) fn of(mut rest: &'a mut [f32], width: usize, hidden: usize) -> Self {
        let mut next = |count| take(&mut rest, count);
        Self {
            inner_norm: [next(width), next(width)],
            outer_norm: [next(width), next(width)],
            qkv: next(3 * width),
            out: next(width),
            up: next(hidden),
            down: next(width),
        }
    }
}

/// The sum of tasks' shares, always in the same order.
pub(super) struct Sums {
    /// Of attention and of the feed-forward, each scale and shift.
    pub(super) norms: [[Buffer; 2]; 2],
    pub(super) qkv: Buffer,
    pub(super) out: Buffer,
    pub(super) up: Buffer,
    pub(super) down: Buffer,
}

impl Sums {
    pub(super) fn of(shares: &[f32], [width, hidden]: [usize; 2], norms: NormPlace) -> Self {
        let mut sums = Buffer::zeros(Vectors::length(width, hidden));
        add_column_sums(shares, &mut sums);
        let Vectors { inner_norm, outer_norm, qkv, out, up, down } = Vectors::of(&mut sums, width, hidden);
        let norms = inner_and_outer([inner_norm, outer_norm], norms).map(|norm| norm.map(|vector| copy(vector)));
        Self { norms, qkv: copy(qkv), out: copy(out), up: copy(up), down: copy(down) }
    }
}

fn copy(values: &[f32]) -> Buffer {
    let mut buffer = Buffer::new(values.len());
    buffer.copy_from_slice(values);
    buffer
}
