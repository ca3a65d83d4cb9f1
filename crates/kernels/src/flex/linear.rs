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
#[derive(Clone, Debug)]
pub(crate) struct Linear;

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

/// The output; its rows are as many as those of `x`.
fn forward(x: &FlexTensor, weight: &FlexTensor, start: Start) -> FlexTensor {
    let [inputs, outputs] = sizes(weight);
    let panels = Panels::pack_parallel(Strided::rows(numbers(weight), outputs), inputs, outputs);
    let mut shape = x.layout().shape().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    product(numbers(x), inputs, &panels, outputs, start).into_tensor(shape.into())
}

fn sizes(weight: &FlexTensor) -> [usize; 2] {
    let shape = weight.layout().shape();
    [shape[0], shape[1]]
}

fn backward(
    x: &FlexTensor,
    weight: &FlexTensor,
    gradient: &FlexTensor,
    [x_wanted, weight_wanted]: [bool; 2],
) -> [Option<FlexTensor>; 2] {
    let [inputs, outputs] = sizes(weight);
    let gradient = numbers(gradient);
    let dx = x_wanted.then(|| {
        let panels = Panels::pack_parallel(Strided::columns(numbers(weight), outputs), outputs, inputs);
        product(gradient, outputs, &panels, inputs, Start::Zero).into_tensor(x.layout().shape().clone())
    });
    let dweight = weight_wanted.then(|| {
        let mut output = Buffer::new(inputs * outputs);
        run_all(vec![Outer { left: numbers(x), right: gradient, inputs, outputs, output: &mut output, fresh: true }]);
        output.into_tensor(weight.layout().shape().clone())
    });
    [dx, dweight]
}

impl Fused<2> for Linear {
    type Saved = ();

    fn forward(&self, [x, weight]: &[FlexTensor; 2], _: bool) -> (FlexTensor, Option<()>) {
        (forward(x, weight, Start::Zero), Some(()))
    }

    fn backward(
        self,
        [x, weight]: [FlexTensor; 2],
        (): (),
        gradient: FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        backward(&x, &weight, &gradient, wanted)
    }
}

impl Fused<3> for Linear {
    type Saved = ();

    fn forward(&self, [x, weight, bias]: &[FlexTensor; 3], _: bool) -> (FlexTensor, Option<()>) {
        (forward(x, weight, Start::Bias(numbers(bias))), Some(()))
    }

    fn backward(
        self,
        [x, weight, bias]: [FlexTensor; 3],
        (): (),
        gradient: FlexTensor,
        [x_wanted, weight_wanted, bias_wanted]: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [dx, dweight] = backward(&x, &weight, &gradient, [x_wanted, weight_wanted]);
        let length = numbers(&bias).len();
        let dbias = bias_wanted.then(|| column_sums(numbers(&gradient), length).into_tensor([length].into()));
        [dx, dweight, dbias]
    }
}
