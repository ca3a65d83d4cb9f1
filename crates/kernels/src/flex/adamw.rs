use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{
    buffer::{Buffer, contiguous, numbers},
    rows::{get, put},
    simd::{Kernel, Simd, dispatch},
};
use crate::AdamwOptions;

/// Numbers that one thread takes at a time. Sums are made of parts of this size, so it is part of
/// the results.
const PART: usize = 1 << 14;

/// The parameter and its two moments after a step; written in place where nobody else holds them.
pub(crate) fn step(
    parameter: FlexTensor,
    gradient: FlexTensor,
    moments: Option<[FlexTensor; 2]>,
    options: AdamwOptions,
) -> [FlexTensor; 3] {
    let gradient = contiguous(gradient);
    let shape = gradient.layout().shape().clone();
    let moments =
        moments.unwrap_or_else(|| [(); 2].map(|()| Buffer::zeros(shape.num_elements()).into_tensor(shape.clone())));
    let [first, second] = moments;
    let mut tensors = [parameter, first, second].map(whole);
    let [parameter, first, second] = tensors.each_mut().map(|tensor| tensor.storage_mut::<f32>());
    let parts = parameter.par_chunks_mut(PART).zip(first.par_chunks_mut(PART));
    let parts = parts.zip(second.par_chunks_mut(PART)).zip(numbers(&gradient).par_chunks(PART));
    parts.for_each(|(((parameter, first), second), gradient)| {
        dispatch(Step { parameter, first, second, gradient, options });
    });
    tensors
}

/// The tensor alone in its memory's order, so that its storage is its elements.
fn whole(tensor: FlexTensor) -> FlexTensor {
    let elements = tensor.layout().num_elements();
    if tensor.is_contiguous() && tensor.layout().start_offset() == 0 && tensor.storage::<f32>().len() == elements {
        return tensor;
    }
    tensor.to_contiguous()
}

struct Step<'a> {
    parameter: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    gradient: &'a [f32],
    options: AdamwOptions,
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { parameter, first, second, gradient, options } = self;
        let AdamwOptions { learning_rate, beta1, beta2, epsilon, decay, gradient_scale, step } = options;
        let number = |x: f64| s.splat(x as f32);
        let step = step as i32;
        let scale = number(gradient_scale);
        let (keep1, add1) = (number(beta1), number(1.0 - beta1));
        let (keep2, add2) = (number(beta2), number(1.0 - beta2));
        let correction = number(1.0 / (1.0 - beta2.powi(step)));
        let (epsilon, rate) = (number(epsilon), number(-learning_rate / (1.0 - beta1.powi(step))));
        let shrink = number(1.0 - learning_rate * decay);
        for i in (0..parameter.len()).step_by(S::LANES) {
            let gradient = s.mul(get(s, gradient, i), scale);
            let mean = s.fma(get(s, first, i), keep1, s.mul(gradient, add1));
            let square = s.fma(get(s, second, i), keep2, s.mul(s.mul(gradient, gradient), add2));
            put(s, first, i, mean);
            put(s, second, i, square);
            let change = s.div(mean, s.add(s.sqrt(s.mul(square, correction)), epsilon));
            put(s, parameter, i, s.fma(change, rate, s.mul(get(s, parameter, i), shrink)));
        }
    }
}

/// The sum of the squares of all elements, the same on any number of threads.
pub(crate) fn squared_norm(x: FlexTensor) -> FlexTensor {
    let x = contiguous(x);
    let parts: Vec<f64> = numbers(&x).par_chunks(PART).map(|x| f64::from(dispatch(Squares { x }))).collect();
    let mut sum = Buffer::new(1);
    sum[0] = parts.iter().sum::<f64>() as f32;
    sum.into_tensor([1].into())
}

struct Squares<'a> {
    x: &'a [f32],
}

impl Kernel for Squares<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut sums = [s.splat(0.0); 4];
        for i in (0..self.x.len()).step_by(4 * S::LANES) {
            for (j, sum) in sums.iter_mut().enumerate() {
                let at = i + j * S::LANES;
                if at < self.x.len() {
                    let x = get(s, self.x, at);
                    *sum = s.fma(x, x, *sum);
                }
            }
        }
        s.sum(s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3])))
    }
}
