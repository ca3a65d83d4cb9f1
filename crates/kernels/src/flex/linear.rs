use std::ops::Range;

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{
    buffer::{Buffer, numbers},
    fused::Fused,
    outer::{Outer, run_all},
    panels::{Panels, Strided},
    product::{Product, Start, Window},
    rows::column_sums,
    simd::panel_width,
};

/// Rows that one thread takes at a time, at most.
const ROWS: usize = 96;

/// Numbers of the right operand that are packed at a time, about: they stay in the third cache.
const PACKED: usize = 2 << 20;

/// `x · weight`, with a bias if there is a third input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear {
    /// Whether the weight lies as `[outputs, inputs]`.
    pub(crate) transposed: bool,
}

/// `start + left · right`, with few columns or few inner indices of the right operand packed at a time: a table of
/// words would take as much memory again.
fn product(left: &[f32], right: Strided, [inner, columns]: [usize; 2], start: Start) -> Buffer {
    let rows = left.len() / inner.max(1);
    let parts = rows.div_ceil(ROWS).next_multiple_of(rayon::current_num_threads());
    let part = rows.div_ceil(parts.max(1)).max(1);
    let mut output = Buffer::new(rows * columns);
    for Piece { inner: k, columns: place } in cut(inner, columns) {
        let piece = Strided { values: &right.values[k.start * right.row + place.start * right.column..], ..right };
        let panels = Panels::pack_parallel(piece, k.len(), place.len());
        let start = match start {
            _ if k.start > 0 => Start::Output,
            Start::Bias(bias) => Start::Bias(&bias[place.clone()]),
            start => start,
        };
        let parts = output.par_chunks_mut(part * columns).zip(left.par_chunks(part * inner));
        parts.for_each(|(output, left)| {
            let rows = output.len() / columns;
            let (_, output) = Window::new(output, columns).split(place.start);
            Product { left: Strided::rows(&left[k.start..], inner), right: &panels, rows, output, start }.run();
        });
    }
    output
}

/// Part of a right operand.
struct Piece {
    inner: Range<usize>,
    columns: Range<usize>,
}

/// All of a right operand, along its longer side.
fn cut(inner: usize, columns: usize) -> Vec<Piece> {
    let piece = |inner, columns| Piece { inner, columns };
    let steps = |length: usize, other: usize| {
        let step = (PACKED / other.max(1)).max(1).next_multiple_of(panel_width());
        (0..length).step_by(step).map(move |first| first..(first + step).min(length))
    };
    match columns >= inner {
        true => steps(columns, inner).map(|columns| piece(0..inner, columns)).collect(),
        false => steps(inner, columns).map(|inner| piece(inner, 0..columns)).collect(),
    }
}

impl Linear {
    /// Inputs and outputs.
    fn sizes(self, weight: &FlexTensor) -> [usize; 2] {
        let shape = weight.layout().shape();
        if self.transposed { [shape[1], shape[0]] } else { [shape[0], shape[1]] }
    }

    /// The output; its rows are as many as those of `x`.
    fn output(self, x: &FlexTensor, weight: &FlexTensor, start: Start) -> FlexTensor {
        let [inputs, outputs] = self.sizes(weight);
        let matrix = match self.transposed {
            false => Strided::rows(numbers(weight), outputs),
            true => Strided::columns(numbers(weight), inputs),
        };
        let mut shape = x.layout().shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        product(numbers(x), matrix, [inputs, outputs], start).into_tensor(shape.into())
    }

    /// The gradients of `x` and of the weight.
    fn reverse(
        self,
        x: &FlexTensor,
        weight: &FlexTensor,
        gradient: &FlexTensor,
        [x_wanted, weight_wanted]: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let [inputs, outputs] = self.sizes(weight);
        let gradient = numbers(gradient);
        let dx = x_wanted.then(|| {
            let matrix = match self.transposed {
                false => Strided::columns(numbers(weight), outputs),
                true => Strided::rows(numbers(weight), inputs),
            };
            product(gradient, matrix, [outputs, inputs], Start::Zero).into_tensor(x.layout().shape().clone())
        });
        let dweight = weight_wanted.then(|| {
            let mut output = Buffer::new(inputs * outputs);
            let (left, right) = (numbers(x), gradient);
            let outer = match self.transposed {
                false => Outer { left, right, inputs, outputs, output: &mut output, fresh: true },
                true => Outer {
                    left: right,
                    right: left,
                    inputs: outputs,
                    outputs: inputs,
                    output: &mut output,
                    fresh: true,
                },
            };
            run_all(vec![outer]);
            output.into_tensor(weight.layout().shape().clone())
        });
        [dx, dweight]
    }
}

impl Fused<2> for Linear {
    type Saved = ();

    fn forward(&self, [x, weight]: &[FlexTensor; 2], _: bool) -> (FlexTensor, Option<()>) {
        (self.output(x, weight, Start::Zero), Some(()))
    }

    fn backward(
        self,
        [x, weight]: [FlexTensor; 2],
        (): (),
        gradient: FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        self.reverse(&x, &weight, &gradient, wanted)
    }
}

impl Fused<3> for Linear {
    type Saved = ();

    fn forward(&self, [x, weight, bias]: &[FlexTensor; 3], _: bool) -> (FlexTensor, Option<()>) {
        (self.output(x, weight, Start::Bias(numbers(bias))), Some(()))
    }

    fn backward(
        self,
        [x, weight, bias]: [FlexTensor; 3],
        (): (),
        gradient: FlexTensor,
        [x_wanted, weight_wanted, bias_wanted]: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [dx, dweight] = self.reverse(&x, &weight, &gradient, [x_wanted, weight_wanted]);
        let length = numbers(&bias).len();
        let dbias = bias_wanted.then(|| column_sums(numbers(&gradient), length).into_tensor([length].into()));
        [dx, dweight, dbias]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_operands_are_packed_in_pieces_and_change_no_bit() {
        for (inner, columns) in [(3, PACKED), (PACKED / 16 + 5, 40)] {
            assert!(cut(inner, columns).len() > 1);
            let left: Vec<f32> = (0..2 * inner).map(|i| (i % 7) as f32 - 3.1).collect();
            let right: Vec<f32> = (0..inner * columns).map(|i| (i % 11) as f32 - 5.3).collect();
            let bias: Vec<f32> = (0..columns).map(|i| (i % 5) as f32).collect();
            let (matrix, start) = (Strided::rows(&right, columns), Start::Bias(&bias));
            let found = product(&left, matrix, [inner, columns], start);
            let panels = Panels::pack(matrix, inner, columns);
            let mut expected = Buffer::new(2 * columns);
            let output = Window::new(&mut expected, columns);
            Product { left: Strided::rows(&left, inner), right: &panels, rows: 2, output, start }.run();
            assert_eq!(*found, *expected);
        }
    }
}
