use burn::tensor::{Bool, Tensor};

use super::compare::{assert_close, mask, numbers, tensor, values};
use crate::{
    Activation, BlockOptions, BlockWeights, NormPlace,
    block::{block, composed},
};

struct Case {
    rows: usize,
    tokens: usize,
    width: usize,
    hidden: usize,
    options: BlockOptions,
}

impl Case {
    fn new([rows, tokens, width, heads]: [usize; 4], causal: bool, activation: Activation) -> Self {
        let options = BlockOptions { heads, causal, norms: NormPlace::Before, activation, epsilon: 1e-5 };
        Self { rows, tokens, width, hidden: 2 * width + 3, options }
    }

    /// The same with the norms elsewhere.
    fn with(self, norms: NormPlace) -> Self {
        Self { options: BlockOptions { norms, ..self.options }, ..self }
    }

    /// `x` and the parameters, all with gradients.
    fn inputs(&self) -> (Tensor<3>, BlockWeights) {
        let Self { width, hidden, .. } = *self;
        let matrix = |rows: usize, columns, seed| {
            tensor([rows, columns], seed).mul_scalar(1.5 / (rows as f32).sqrt()).require_grad_again()
        };
        let vector = |length, seed| tensor([length], seed).require_grad();
        let weights = BlockWeights {
            norm1_gamma: vector(width, 1),
            norm1_beta: vector(width, 2),
            qkv_weight: matrix(width, 3 * width, 3),
            qkv_bias: vector(3 * width, 4),
            out_weight: matrix(width, width, 5),
            out_bias: vector(width, 6),
            norm2_gamma: vector(width, 7),
            norm2_beta: vector(width, 8),
            up_weight: matrix(width, hidden, 9),
            up_bias: vector(hidden, 10),
            down_weight: matrix(hidden, width, 11),
            down_bias: vector(width, 12),
        };
        (tensor([self.rows, self.tokens, width], 13).require_grad(), weights)
    }

    /// The output and all gradients of a loss that weighs real outputs at random.
    fn run(&self, mask: Option<&Tensor<2, Bool>>, fused: bool) -> Vec<Vec<f32>> {
        let (x, w) = self.inputs();
        let function = if fused { block } else { composed };
        let output = function(x.clone(), mask, w.clone(), self.options);
        let output = match mask {
            None => output,
            Some(mask) => {
                let hidden = mask.clone().bool_not().unsqueeze_dim::<3>(2);
                output.mask_fill(hidden.expand([self.rows, self.tokens, self.width]), 0.0)
            }
        };
        let weights = tensor([self.rows, self.tokens, self.width], 14);
        let gradients = (output.clone() * weights).sum().backward();
        let vector = |x: &Tensor<1>| values(x.grad(&gradients).expect("a gradient"));
        let matrix = |x: &Tensor<2>| values(x.grad(&gradients).expect("a gradient"));
        vec![
            values(output),
            values(x.grad(&gradients).expect("a gradient")),
            vector(&w.norm1_gamma),
            vector(&w.norm1_beta),
            matrix(&w.qkv_weight),
            vector(&w.qkv_bias),
            matrix(&w.out_weight),
            vector(&w.out_bias),
            vector(&w.norm2_gamma),
            vector(&w.norm2_beta),
            matrix(&w.up_weight),
            vector(&w.up_bias),
            matrix(&w.down_weight),
            vector(&w.down_bias),
        ]
    }

    fn check(&self, mask: Option<&Tensor<2, Bool>>) {
        let (found, expected) = (self.run(mask, true), self.run(mask, false));
        let Self { rows, tokens, width, options, .. } = self;
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let what = format!("{rows}x{tokens}x{width} {options:?} masked {}: value {index}", mask.is_some());
            assert_close(&what, found, expected, 2e-5);
        }
    }
}

trait RequireGradAgain {
    fn require_grad_again(self) -> Self;
}

impl RequireGradAgain for Tensor<2> {
    fn require_grad_again(self) -> Self {
        self.detach().require_grad()
    }
}

const NORMS: [NormPlace; 2] = [NormPlace::Before, NormPlace::After];

const SHAPES: [[usize; 4]; 8] = [
    [1, 1, 12, 1],
    [1, 3, 12, 3],
    [2, 65, 12, 2],
    [3, 5, 48, 6],
    [1, 65, 192, 3],
    [5, 32, 48, 4],
    [2, 130, 24, 1],
    [9, 17, 36, 2],
];

#[test]
fn equals_the_composed_form_in_all_shapes() {
    for shape in SHAPES {
        for (causal, norms) in [false, true].into_iter().flat_map(|causal| NORMS.map(|norms| (causal, norms))) {
            Case::new(shape, causal, Activation::Gelu).with(norms).check(None);
        }
    }
}

#[test]
fn equals_the_composed_form_under_masks() {
    for shape @ [rows, tokens, ..] in SHAPES {
        let prefix = mask(rows, tokens, |row, token| token <= (row * 7) % tokens);
        let holes = mask(rows, tokens, |row, token| token == 0 || (row + token * 5) % 3 != 0);
        let all = mask(rows, tokens, |_, _| true);
        for (causal, norms) in [false, true].into_iter().flat_map(|causal| NORMS.map(|norms| (causal, norms))) {
            for mask in [&prefix, &holes, &all] {
                Case::new(shape, causal, Activation::Gelu).with(norms).check(Some(mask));
            }
        }
    }
}

#[test]
fn equals_the_composed_form_with_other_instructions() {
    crate::flex::on_each_level(|| {
        for shape @ [rows, tokens, ..] in [[1, 1, 12, 1], [2, 65, 12, 2], [3, 5, 48, 6], [4, 35, 72, 2]] {
            let holes = mask(rows, tokens, |row, token| token == 0 || (row + token * 5) % 3 != 0);
            for norms in NORMS {
                Case::new(shape, true, Activation::Gelu).with(norms).check(None);
                Case::new(shape, false, Activation::Silu).with(norms).check(Some(&holes));
            }
        }
    });
}

#[test]
fn equals_the_composed_form_for_all_activations() {
    use Activation::{Gelu, GeluTanh, QuickGelu, Relu, Silu};
    for activation in [Gelu, GeluTanh, QuickGelu, Relu, Silu] {
        NORMS.into_iter().for_each(|norms| Case::new([2, 9, 24, 2], false, activation).with(norms).check(None));
    }
}

#[test]
fn a_sample_without_real_tokens_is_finite_and_harms_nobody() {
    for norms in NORMS {
        let case = Case::new([3, 4, 12, 2], false, Activation::Gelu).with(norms);
        let none = mask(3, 4, |row, _| row != 1);
        case.check(Some(&none));
        let nobody = mask(3, 4, |_, _| false);
        for fused in [true, false] {
            assert!(case.run(Some(&nobody), fused).iter().flatten().all(|x| x.is_finite()));
        }
    }
}

#[test]
fn padding_and_neighbours_change_no_bit_of_a_real_token() {
    for norms in NORMS {
        let case = Case::new([1, 5, 48, 3], true, Activation::Gelu).with(norms);
        let (x, w) = case.inputs();
        let alone = values(block(x.clone(), None, w.clone(), case.options));
        let others = tensor([2, 9, 48], 77);
        let padded = others.slice_assign([1..2, 0..5, 0..48], x);
        let lengths = mask(2, 9, |row, token| token < [7, 5][row]);
        let output = block(padded, Some(&lengths), w, case.options);
        assert_eq!(values(output.slice([1..2, 0..5, 0..48])), alone);
    }
}

#[test]
fn gives_the_same_bits_on_any_number_of_threads() {
    for norms in NORMS {
        let case = Case::new([7, 33, 48, 3], false, Activation::Gelu).with(norms);
        let lengths = mask(7, 33, |row, token| token < 10 + 3 * row);
        let expected = case.run(Some(&lengths), true);
        for threads in [1, 2, 3, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            assert_eq!(pool.install(|| case.run(Some(&lengths), true)), expected, "{threads} threads");
        }
    }
}

#[test]
fn gradients_equal_finite_differences() {
    NORMS.into_iter().for_each(check_gradients);
}

fn check_gradients(norms: NormPlace) {
    let case = Case::new([2, 3, 6, 2], true, Activation::GeluTanh).with(norms);
    let gradients = case.run(None, true);
    let (x, w) = case.inputs();
    let weights = tensor([2, 3, 6], 14);
    let loss = |x: Tensor<3>, w: BlockWeights| {
        values(
            (composed(x, None, w, case.options) * weights.clone())
                .cast(burn::tensor::DType::F64)
                .sum()
                .cast(burn::tensor::DType::F32),
        )[0]
    };
    let direction = numbers(2 * 3 * 6, 5);
    let step = 1e-2;
    let change = tensor([2, 3, 6], 5).mul_scalar(step);
    let slope = (loss(x.clone() + change.clone(), w.clone()) - loss(x - change, w.clone())) / (2.0 * step);
    let expected: f32 = gradients[1].iter().zip(&direction).map(|(g, d)| g * d).sum();
    assert!((slope - expected).abs() < 2e-3 * expected.abs().max(1.0), "{slope} {expected}");
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    let options = Case::new([16, 65, 192, 3], false, Activation::Gelu).options;
    let case = Case { rows: 16, tokens: 65, width: 192, hidden: 768, options };
    let (x, w) = case.inputs();
    let mut best = [f64::INFINITY; 2];
    for _ in 0..60 {
        let time = std::time::Instant::now();
        let output = block(x.clone(), None, w.clone(), options);
        best[0] = best[0].min(time.elapsed().as_secs_f64());
        let loss = output.sum();
        let time = std::time::Instant::now();
        let gradients = loss.backward();
        best[1] = best[1].min(time.elapsed().as_secs_f64());
        drop(gradients);
    }
    let flops = 2.0 * (16 * 65) as f64 * (12 * 192 * 192) as f64;
    println!(
        "forward {:.2} ms {:.1} GFLOP/s, backward {:.2} ms {:.1} GFLOP/s",
        best[0] * 1e3,
        flops / best[0] / 1e9,
        best[1] * 1e3,
        2.0 * flops / best[1] / 1e9
    );
}
