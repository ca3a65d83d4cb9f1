//! Times one training step of a small CLIP (image tower 6 × 192 over 65 tokens, text tower 4 × 192
//! over 32 tokens, batch 64), composed, with fused operations, and with fused blocks.
//!
//! `cargo run --release -p sensorium-kernels --example clip_step [STEPS]`; `RAYON_NUM_THREADS`
//! sets the threads.

use std::time::Instant;

use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use sensorium_kernels::{
    Activation, AdamwMoments, AdamwOptions, BlockOptions, BlockWeights, Fusion, NormPlace, adamw_step, block, coverage,
    cross_entropy, layer_norm, linear, set_fusion, squared_norm,
};

const WIDTH: usize = 192;
const BATCH: usize = 64;

/// A parameter of any rank with its moments.
struct Parameter {
    value: Tensor<2>,
    moments: Option<AdamwMoments<2>>,
}

struct Model {
    parameters: Vec<Parameter>,
    device: Device,
}

/// Hands out the parameters in the order of their creation.
struct Reader<'a>(std::slice::Iter<'a, Parameter>);

impl Reader<'_> {
    fn matrix(&mut self) -> Tensor<2> {
        self.0.next().expect("a parameter").value.clone()
    }

    fn vector(&mut self) -> Tensor<1> {
        let matrix = self.matrix();
        let [_, length] = matrix.dims();
        matrix.reshape([length])
    }

    fn block(&mut self) -> BlockWeights {
        BlockWeights {
            norm1_gamma: self.vector(),
            norm1_beta: self.vector(),
            qkv_weight: self.matrix(),
            qkv_bias: self.vector(),
            out_weight: self.matrix(),
            out_bias: self.vector(),
            norm2_gamma: self.vector(),
            norm2_beta: self.vector(),
            up_weight: self.matrix(),
            up_bias: self.vector(),
            down_weight: self.matrix(),
            down_bias: self.vector(),
        }
    }
}

fn numbers(count: usize, scale: f32) -> Vec<f32> {
    let mut state = count as u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale
    };
    (0..count).map(|_| next()).collect()
}

fn tensor<const D: usize>(shape: [usize; D], scale: f32, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers(shape.iter().product(), scale), shape.to_vec()), device)
}

impl Model {
    fn new(device: Device) -> Self {
        let mut model = Self { parameters: Vec::new(), device };
        let add = |model: &mut Self, shape: [usize; 2], scale: f32| {
            let value = tensor(shape, scale, &model.device).require_grad();
            model.parameters.push(Parameter { value, moments: None });
        };
        for (layers, tokens) in [(6, 65), (4, 32)] {
            if tokens == 65 {
                add(&mut model, [192, WIDTH], 0.1);
                add(&mut model, [1, WIDTH], 0.02);
            } else {
                add(&mut model, [2000, WIDTH], 1.0);
            }
            add(&mut model, [tokens, WIDTH], 0.02);
            for _ in 0..layers {
                let vector = |model: &mut Self, length| add(model, [1, length], 0.5);
                let matrix =
                    |model: &mut Self, rows: usize, columns| add(model, [rows, columns], 1.0 / (rows as f32).sqrt());
                vector(&mut model, WIDTH);
                vector(&mut model, WIDTH);
                matrix(&mut model, WIDTH, 3 * WIDTH);
                vector(&mut model, 3 * WIDTH);
                matrix(&mut model, WIDTH, WIDTH);
                vector(&mut model, WIDTH);
                vector(&mut model, WIDTH);
                vector(&mut model, WIDTH);
                matrix(&mut model, WIDTH, 4 * WIDTH);
                vector(&mut model, 4 * WIDTH);
                matrix(&mut model, 4 * WIDTH, WIDTH);
                vector(&mut model, WIDTH);
            }
            add(&mut model, [1, WIDTH], 1.0);
            add(&mut model, [1, WIDTH], 0.1);
            add(&mut model, [WIDTH, 128], 0.1);
        }
        model
    }

    fn loss(&self, pixels: &Tensor<3>, ids: &Tensor<1, Int>) -> Tensor<1> {
        let mut reader = Reader(self.parameters.iter());
        let patches = linear(pixels.clone(), reader.matrix(), None);
        let class = reader.matrix().reshape([1, 1, WIDTH]).expand([BATCH, 1, WIDTH]);
        let x = Tensor::cat(vec![class, patches], 1);
        let image = tower(x, &mut reader, 6, 0, false);
        let x = reader.matrix().select(0, ids.clone()).reshape([BATCH, 32, WIDTH]);
        let text = tower(x, &mut reader, 4, 31, true);
        let logits = image.matmul(text.transpose()).mul_scalar(14.0);
        let classes = Tensor::<1, Int>::arange(0..BATCH as i64, &self.device);
        (cross_entropy(logits.clone(), classes.clone()) + cross_entropy(logits.transpose(), classes)).mul_scalar(0.5)
    }

    /// The same model without gradients.
    fn inner(&self) -> Self {
        let parameter = |parameter: &Parameter| Parameter { value: parameter.value.clone().inner(), moments: None };
        Self { parameters: self.parameters.iter().map(parameter).collect(), device: self.device.clone().inner() }
    }

    fn step(&mut self, gradients: &mut Gradients, step: usize) {
        let mut norm = 0.0;
        let found: Vec<Tensor<2>> = self
            .parameters
            .iter()
            .map(|parameter| parameter.value.grad_remove(gradients).expect("a gradient"))
            .collect();
        for gradient in &found {
            norm += squared_norm(gradient).into_scalar::<f32>();
        }
        let options = AdamwOptions {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.98,
            epsilon: 1e-8,
            decay: 0.01,
            gradient_scale: (1.0 / f64::from(norm.sqrt())).min(1.0),
            step,
        };
        for (parameter, gradient) in self.parameters.iter_mut().zip(found) {
            let empty = Tensor::empty([1, 1], &self.device);
            let value = std::mem::replace(&mut parameter.value, empty).inner();
            let next = adamw_step(value, gradient, parameter.moments.take(), options);
            parameter.value = Tensor::from_inner(next.parameter).require_grad();
            parameter.moments = Some(next.moments);
        }
    }
}

fn tower(x: Tensor<3>, reader: &mut Reader, layers: usize, pooled: usize, causal: bool) -> Tensor<2> {
    let [_, tokens, _] = x.dims();
    let mut x = x + reader.matrix().reshape([1, tokens, WIDTH]);
    for _ in 0..layers {
        let options =
            BlockOptions { heads: 3, causal, activation: Activation::Gelu, epsilon: 1e-5, norms: NormPlace::Before };
        x = block(x, None, reader.block(), options);
    }
    let x = layer_norm(x.narrow(1, pooled, 1), reader.vector(), reader.vector(), 1e-5);
    let x = linear(x, reader.matrix(), None).reshape([BATCH, 128]);
    let length = x.clone().square().sum_dim(1).sqrt();
    x / length
}

/// Processor time of all threads so far, in ms; 0 where the system does not tell.
fn processor_time() -> f64 {
    let ticks = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| {
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
    });
    ticks.unwrap_or(0.0) * 10.0
}

fn main() {
    let steps: usize = std::env::args().nth(1).and_then(|steps| steps.parse().ok()).unwrap_or(6);
    let device = Device::flex().autodiff();
    let pixels = tensor([BATCH, 64, 192], 1.7, &device);
    let ids: Vec<i64> = numbers(BATCH * 32, 1.0).iter().map(|x| ((x + 1.0) * 999.0) as i64).collect();
    let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, vec![BATCH * 32]), &device);
    let only = std::env::args().nth(2);
    for (name, fusion) in [("composed", Fusion::Off), ("operations", Fusion::Operations), ("blocks", Fusion::Blocks)] {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        set_fusion(fusion);
        let mut model = Model::new(device.clone());
        let mut times: Vec<[f64; 4]> = Vec::new();
        let mut losses = Vec::new();
        let mut processor = 0.0;
        for step in 0..=steps {
            if step == 1 {
                processor = processor_time();
            }
            let start = Instant::now();
            let loss = model.loss(&pixels, &ids);
            let forward = start.elapsed();
            losses.push(loss.clone().into_scalar::<f32>());
            let mut gradients = loss.backward();
            let backward = start.elapsed();
            model.step(&mut gradients, step + 1);
            let all = start.elapsed();
            times.push([forward, backward - forward, all - backward, all].map(|time| time.as_secs_f64() * 1e3));
        }
        let processor = (processor_time() - processor) / steps as f64;
        let inner = model.inner();
        let (still, unlabelled) = (pixels.clone().inner(), ids.clone().inner());
        let inference = (0..steps).map(|_| {
            let start = Instant::now();
            inner.loss(&still, &unlabelled);
            start.elapsed().as_secs_f64() * 1e3
        });
        let inference = inference.fold(f64::INFINITY, f64::min);
        times.remove(0);
        let least = |index: usize| times.iter().map(|times| times[index]).fold(f64::INFINITY, f64::min);
        let mut all: Vec<f64> = times.iter().map(|times| times[3]).collect();
        all.sort_by(f64::total_cmp);
        println!(
            "{name:<11} min forward {:.0} backward {:.0} optimiser {:.0} step {:.0} ms | inference {inference:.0} ms | median step {:.0} ms | processor {processor:.0} ms | loss {:.6} -> {:.6}",
            least(0),
            least(1),
            least(2),
            least(3),
            all[all.len() / 2],
            losses[0],
            losses[steps],
        );
    }
    for row in coverage() {
        println!("{:<16} fused {:>6} composed {:>6}", row.operation, row.fused, row.composed);
    }
}
