use std::sync::Arc;

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{
    buffer::{Buffer, indices, numbers},
    fused::Fused,
    math::exp,
    rows::{get, put},
    simd::{Kernel, Simd, dispatch},
};

/// Mean cross-entropy of rows of logits with known classes.
#[derive(Clone, Debug)]
pub(crate) struct CrossEntropy {
    classes: Arc<Vec<usize>>,
}

impl CrossEntropy {
    /// For an integer tensor of classes; nothing for an integer type that is not read here.
    pub(crate) fn new(classes: &FlexTensor) -> Option<Self> {
        Some(Self { classes: Arc::new(indices(classes)?) })
    }

    /// The loss of each row, and with `gradients` the derivative by its logits, times `factor`.
    fn losses(&self, logits: &[f32], gradients: Option<(&mut [f32], f32)>) -> Vec<f64> {
        let width = logits.len() / self.classes.len().max(1);
        let rows = logits.par_chunks(width.max(1)).zip(self.classes.par_iter());
        let loss = |(logits, &class): (&[f32], &usize), gradient: Option<(&mut [f32], f32)>| {
            assert!(class < width, "class {class} of {width}");
            dispatch(Row { logits, class, gradient })
        };
        match gradients {
            None => rows.with_min_len(8).map(|row| loss(row, None)).collect(),
            Some((gradients, factor)) => {
                let rows = rows.zip(gradients.par_chunks_mut(width.max(1))).with_min_len(8);
                rows.map(|(row, gradient)| loss(row, Some((gradient, factor)))).collect()
            }
        }
    }
}

impl Fused<1> for CrossEntropy {
    type Saved = ();

    fn forward(&self, [logits]: &[FlexTensor; 1], _: bool) -> (FlexTensor, Option<()>) {
        let losses = self.losses(numbers(logits), None);
        let mut mean = Buffer::new(1);
        mean[0] = (losses.iter().sum::<f64>() / losses.len() as f64) as f32;
        (mean.into_tensor([1].into()), Some(()))
    }

    fn backward(
        self,
        [logits]: [FlexTensor; 1],
        (): (),
        gradient: FlexTensor,
        _: [bool; 1],
    ) -> [Option<FlexTensor>; 1] {
        let factor = numbers(&gradient)[0] / self.classes.len() as f32;
        let mut output = Buffer::new(numbers(&logits).len());
        self.losses(numbers(&logits), Some((&mut output, factor)));
        [Some(output.into_tensor(logits.layout().shape().clone()))]
    }
}

struct Row<'a> {
    logits: &'a [f32],
    class: usize,
    gradient: Option<(&'a mut [f32], f32)>,
}

impl Kernel for Row<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let Self { logits, class, gradient } = self;
        let whole = logits.len() / S::LANES * S::LANES;
        let mut largest = s.splat(f32::NEG_INFINITY);
        for i in (0..whole).step_by(S::LANES) {
            largest = s.max(largest, get(s, logits, i));
        }
        let largest = logits[whole..].iter().copied().fold(s.largest(largest), f32::max);
        let mut sum = s.splat(0.0);
        for i in (0..whole).step_by(S::LANES) {
            sum = s.add(sum, exp(s, s.sub(get(s, logits, i), s.splat(largest))));
        }
        let rest: f32 = logits[whole..].iter().map(|x| (x - largest).exp()).sum();
        let sum = s.sum(sum) + rest;
        if let Some((gradient, factor)) = gradient {
            let scale = s.splat(factor / sum);
            for i in (0..logits.len()).step_by(S::LANES) {
                let e = exp(s, s.sub(get(s, logits, i), s.splat(largest)));
                put(s, gradient, i, s.mul(e, scale));
            }
            gradient[class] -= factor;
        }
        f64::from(sum).ln() + f64::from(largest) - f64::from(logits[class])
    }
}
