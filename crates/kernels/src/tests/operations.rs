use burn::tensor::{Bool, Int, Tensor, TensorData};

use super::compare::{assert_close, device, mask, numbers, tensor, values};
use crate::{
    Activation, AdamwOptions, AttentionOptions, adamw, adamw_step, attention, bias_activation, cross_entropy, flex,
    layer_norm, linear, logits, lookup, squared_norm,
};

const SHAPES: [[usize; 3]; 6] = [[1, 1, 12], [1, 3, 12], [2, 65, 48], [3, 5, 192], [33, 17, 36], [2, 300, 24]];

/// The output and the gradients of the inputs, of a loss that weighs outputs at random.
fn with_gradients<const D: usize>(
    output: Tensor<D>,
    inputs: [&Tensor<3>; 1],
    others: [Option<&Tensor<1>>; 2],
    matrix: Option<&Tensor<2>>,
) -> Vec<Vec<f32>> {
    let weights: Tensor<D> = tensor(output.dims(), 99);
    let gradients = (output.clone() * weights).sum().backward();
    let mut found = vec![values(output)];
    found.extend(inputs.iter().map(|x| values(x.grad(&gradients).expect("a gradient"))));
    found.extend(others.into_iter().flatten().map(|x| values(x.grad(&gradients).expect("a gradient"))));
    found.extend(matrix.map(|x| values(x.grad(&gradients).expect("a gradient"))));
    found
}

fn assert_all_close(what: &str, found: &[Vec<f32>], expected: &[Vec<f32>]) {
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_close(&format!("{what}: value {index}"), found, expected, 1e-5);
    }
}

#[test]
fn layer_norm_equals_its_composed_form() {
    for shape @ [_, _, width] in SHAPES {
        let run = |function: fn(Tensor<3>, Tensor<1>, Tensor<1>, f64) -> Tensor<3>| {
            let x = tensor(shape, 1).add_scalar(3.0).detach().require_grad();
            let (gamma, beta) = (tensor([width], 2).require_grad(), tensor([width], 3).require_grad());
            let output = function(x.clone(), gamma.clone(), beta.clone(), 1e-5);
            with_gradients(output, [&x], [Some(&gamma), Some(&beta)], None)
        };
        assert_all_close(&format!("{shape:?}"), &run(layer_norm), &run(crate::norm::composed));
    }
}

#[test]
fn bias_activation_equals_its_composed_form() {
    use Activation::{Gelu, GeluTanh, QuickGelu, Relu, Silu};
    for shape @ [_, _, width] in SHAPES {
        for activation in [Gelu, GeluTanh, QuickGelu, Relu, Silu] {
            let run = |function: fn(Tensor<3>, Tensor<1>, Activation) -> Tensor<3>| {
                let x = tensor(shape, 1).mul_scalar(6.0).detach().require_grad();
                let bias = tensor([width], 2).require_grad();
                let output = function(x.clone(), bias.clone(), activation);
                with_gradients(output, [&x], [Some(&bias), None], None)
            };
            assert_all_close(
                &format!("{shape:?} {activation:?}"),
                &run(bias_activation),
                &run(crate::activation::composed),
            );
        }
    }
}

#[test]
fn linear_equals_its_composed_form() {
    for shape @ [_, _, width] in SHAPES {
        for outputs in [1, 31, 200] {
            for biased in [true, false] {
                let run = |function: fn(Tensor<3>, Tensor<2>, Option<Tensor<1>>) -> Tensor<3>| {
                    let x = tensor(shape, 1).require_grad();
                    let weight = tensor([width, outputs], 2).require_grad();
                    let bias = biased.then(|| tensor([outputs], 3).require_grad());
                    let output = function(x.clone(), weight.clone(), bias.clone());
                    with_gradients(output, [&x], [bias.as_ref(), None], Some(&weight))
                };
                assert_all_close(&format!("{shape:?} {outputs} {biased}"), &run(linear), &run(crate::linear::composed));
            }
        }
    }
}

#[test]
fn logits_equal_their_composed_form() {
    for shape @ [_, _, width] in SHAPES {
        for values in [1, 31, 200] {
            for biased in [true, false] {
                let run = |function: fn(Tensor<3>, Tensor<2>, Option<Tensor<1>>) -> Tensor<3>| {
                    let x = tensor(shape, 1).require_grad();
                    let table = tensor([values, width], 2).require_grad();
                    let bias = biased.then(|| tensor([values], 3).require_grad());
                    let output = function(x.clone(), table.clone(), bias.clone());
                    with_gradients(output, [&x], [bias.as_ref(), None], Some(&table))
                };
                let composed = |x, table: Tensor<2>, bias| crate::linear::composed(x, table.transpose(), bias);
                assert_all_close(&format!("{shape:?} {values} {biased}"), &run(logits), &run(composed));
            }
        }
    }
}

#[test]
fn attention_equals_its_composed_form() {
    for [rows, tokens, width] in SHAPES {
        for (heads, causal) in [(1, false), (2, true), (3, false), (6, true)] {
            let masks = [
                None,
                Some(mask(rows, tokens, |row, token| token < 1 + (row * 5) % tokens)),
                Some(mask(rows, tokens, |row, token| token != 1 && row != 1)),
            ];
            for mask in &masks {
                let run = |function: fn(Tensor<3>, Option<&Tensor<2, Bool>>, AttentionOptions) -> Tensor<3>| {
                    let qkv = tensor([rows, tokens, 3 * width], 1).mul_scalar(2.0).detach().require_grad();
                    let output = function(qkv.clone(), mask.as_ref(), AttentionOptions { heads, causal });
                    with_gradients(only_real(output, mask.as_ref()), [&qkv], [None, None], None)
                };
                let what = format!("{rows} {tokens} {width} {heads} {causal} {}", mask.is_some());
                assert_all_close(&what, &run(attention), &run(crate::attention::composed));
            }
        }
    }
}

fn only_real(x: Tensor<3>, mask: Option<&Tensor<2, Bool>>) -> Tensor<3> {
    let shape = x.dims();
    match mask {
        None => x,
        Some(mask) => x.mask_fill(mask.clone().bool_not().unsqueeze_dim::<3>(2).expand(shape), 0.0),
    }
}

#[test]
fn a_token_that_sees_no_key_gives_zeros_without_disturbing_gradients() {
    for function in [attention, crate::attention::composed] {
        let qkv = tensor([2, 3, 36], 1).require_grad();
        let nobody = mask(2, 3, |row, _| row == 0);
        let output = function(qkv.clone(), Some(&nobody), AttentionOptions { heads: 2, causal: false });
        let gradients = output.clone().square().sum().backward();
        assert!(values(output)[36..].iter().all(|&x| x == 0.0));
        assert!(values(qkv.grad(&gradients).expect("a gradient")).iter().all(|x| x.is_finite()));
    }
}

#[test]
fn cross_entropy_equals_its_composed_form() {
    for [items, classes] in [[1, 1], [3, 7], [64, 64], [50, 1003]] {
        let targets: Vec<i64> = (0..items as i64).map(|item| item * 5 % classes as i64).collect();
        let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, vec![items]), &device());
        let run = |function: fn(Tensor<2>, Tensor<1, Int>) -> Tensor<1>| {
            let logits = tensor([items, classes], 1).mul_scalar(20.0).detach().require_grad();
            let loss = function(logits.clone(), targets.clone());
            let gradients = loss.clone().mul_scalar(3.0).backward();
            vec![values(loss), values(logits.grad(&gradients).expect("a gradient"))]
        };
        assert_all_close(&format!("{items} {classes}"), &run(cross_entropy), &run(crate::cross_entropy::composed));
    }
}

#[test]
fn lookup_equals_its_composed_form() {
    for [values_of_table, width, rows, tokens] in [[1, 1, 1, 1], [7, 12, 3, 5], [300, 33, 5, 65]] {
        // Some rows come up several times, others never.
        let ids: Vec<i64> = (0..(rows * tokens) as i64).map(|at| at * at % values_of_table as i64).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, vec![rows, tokens]), &device());
        let run = |function: fn(Tensor<2>, Tensor<2, Int>) -> Tensor<3>| {
            let table = tensor([values_of_table, width], 1).require_grad();
            let output = function(table.clone(), ids.clone());
            let weights: Tensor<3> = tensor(output.dims(), 99);
            let gradients = (output.clone() * weights).sum().backward();
            vec![values(output), values(table.grad(&gradients).expect("a gradient"))]
        };
        assert_eq!(run(lookup), run(crate::lookup::composed), "{values_of_table} {width}");
    }
}

#[test]
fn adamw_equals_its_composed_form_and_keeps_what_others_hold() {
    let plain = |length, seed| tensor::<1>([length], seed).inner();
    let options = |step| AdamwOptions {
        learning_rate: 1e-2,
        beta1: 0.9,
        beta2: 0.98,
        epsilon: 1e-8,
        decay: 0.1,
        gradient_scale: 0.5,
        step,
    };
    for length in [1, 7, 40_001] {
        let held = plain(length, 1);
        let before = values(held.clone());
        let (mut found, mut expected) = (held.clone(), held.clone());
        let (mut found_moments, mut expected_moments) = (None, None);
        for step in 1..4 {
            let gradient = plain(length, 10 + step as u64);
            let next = adamw_step(found, gradient.clone(), found_moments, options(step));
            (found, found_moments) = (next.parameter, Some(next.moments));
            let next = adamw::composed(expected, gradient, expected_moments, options(step));
            (expected, expected_moments) = (next.parameter, Some(next.moments));
        }
        assert_close("parameter", &values(found), &values(expected), 2e-6);
        let second = |moments: Option<crate::AdamwMoments<1>>| values(moments.expect("moments").second);
        assert_close("second moment", &second(found_moments), &second(expected_moments), 2e-6);
        assert_eq!(values(held), before);
    }
}

#[test]
fn squared_norm_is_the_sum_of_squares() {
    for length in [1, 100, 50_000] {
        let expected: f64 = numbers(length, 3).iter().map(|x| f64::from(*x).powi(2)).sum();
        let found = values(squared_norm(&tensor::<1>([length], 3).inner()))[0];
        assert!((f64::from(found) / expected - 1.0).abs() < 1e-6, "{found} {expected}");
    }
}

#[test]
fn operations_equal_their_composed_forms_with_other_instructions() {
    crate::flex::on_each_level(|| {
        layer_norm_equals_its_composed_form();
        bias_activation_equals_its_composed_form();
        linear_equals_its_composed_form();
        logits_equal_their_composed_form();
        cross_entropy_equals_its_composed_form();
        lookup_equals_its_composed_form();
        adamw_equals_its_composed_form_and_keeps_what_others_hold();
        squared_norm_is_the_sum_of_squares();
    });
}

#[test]
fn the_cpu_backend_fuses_f32_and_leaves_f64_alone() {
    let (x, vector) = (tensor([2, 9, 12], 1), tensor([12], 2));
    let (matrix, options) = (tensor([12, 7], 3), AttentionOptions { heads: 2, causal: false });
    assert!(flex::layer_norm(&x, &vector, &vector, 1e-5).is_some());
    assert!(flex::bias_activation(&x, &vector, Activation::Gelu).is_some());
    assert!(flex::linear(&x, &matrix, None).is_some());
    assert!(flex::attention(&x, Some(&mask(2, 9, |_, token| token < 5)), options).is_some());
    assert!(flex::squared_norm(&vector.clone().inner()).is_some());
    let double = |x: Tensor<1>| x.cast(burn::tensor::DType::F64);
    assert!(
        flex::layer_norm(&x.cast(burn::tensor::DType::F64), &double(vector.clone()), &double(vector), 1e-5).is_none()
    );
}
