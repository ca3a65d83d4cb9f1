use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{
    buffer::{Buffer, numbers},
    fused::Fused,
    outer::{Outer, run_all},
    product::{Panels, Product, Start, Strided, Window},
    rows::column_sums,
};

/// Rows that one thread takes at a time.
const ROWS: usize = 96;

/// `x · weight`, with a bias if there is a third input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear {
    /// Whether the weight lies as `[outputs, inputs]`.
    pub(crate) transposed: bool,
}

fn product(left: &[f32], inner: usize, right: &Panels, columns: usize, start: Start) -> Buffer {
    let rows = left.len() / inner.max(1);
    let mut output = Buffer::new(rows * columns);
    let parts = output.par_chunks_mut(ROWS * columns).zip(left.par_chunks(ROWS * inner));
    parts.for_each(|(output, left)| {
        let rows = output.len() / columns;
        let (left, output) = (Strided::rows(left, inner), Window::new(output, columns));
        Product { left, right, rows, output, start }.run();
    });
    output
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
        let panels = Panels::pack_parallel(matrix, inputs, outputs);
        let mut shape = x.layout().shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        product(numbers(x), inputs, &panels, outputs, start).into_tensor(shape.into())
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
            let panels = Panels::pack_parallel(matrix, outputs, inputs);
            product(gradient, outputs, &panels, inputs, Start::Zero).into_tensor(x.layout().shape().clone())
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
