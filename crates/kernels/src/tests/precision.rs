use burn::tensor::{DType, FloatDType, Tensor};

use super::compare::{assert_close, tensor, values};
use crate::{AttentionOptions, Precision, attention, layer_norm, linear};

/// An output and the gradient of what went in.
fn with_gradient(x: &Tensor<3>, output: Tensor<3>) -> [Vec<f32>; 2] {
    let weights: Tensor<3> = tensor(output.dims(), 99);
    let gradients = (output.clone() * weights).sum().backward();
    let gradient = x.grad(&gradients).expect("a gradient");
    assert_eq!([output.dtype(), gradient.dtype()], [DType::F32; 2]);
    [values(output), values(gradient)]
}

#[test]
fn in_bf16_products_are_near_those_in_f32_and_norms_the_same() {
    let (weight, vector) = (tensor([48, 31], 2), tensor([48], 3));
    let options = AttentionOptions { heads: 2, causal: true };
    let attend = |x: Tensor<3>| attention(x, None, options);
    let multiply = |x: Tensor<3>| linear(x, weight.clone(), None);
    let norm = |x: Tensor<3>| layer_norm(x, vector.clone(), vector.clone(), 1e-5);
    let run = |precision: Precision, operation: &dyn Fn(Tensor<3>) -> Tensor<3>| {
        let x = tensor([3, 17, 48], 1).require_grad();
        precision.apply(|| with_gradient(&x, operation(x.clone())))
    };
    for (what, operation) in [("attention", &attend as &dyn Fn(Tensor<3>) -> Tensor<3>), ("linear", &multiply)] {
        let [found, expected] = [Precision::Bf16, Precision::F32].map(|precision| run(precision, operation));
        for (found, expected) in found.iter().zip(&expected) {
            assert_close(what, found, expected, 1e-2);
            assert_ne!(found, expected, "{what}: nothing was rounded");
        }
    }
    assert_eq!(run(Precision::Bf16, &norm), run(Precision::F32, &norm));
}

#[test]
fn in_bf16_a_product_is_that_of_rounded_numbers() {
    let round = |x: Vec<f32>| -> Vec<f32> {
        let length = x.len();
        let x = Tensor::<1>::from_data(burn::tensor::TensorData::new(x, [length]), &super::compare::device().inner());
        values(x.cast(FloatDType::BF16).cast(FloatDType::F32))
    };
    let (x, weight) = (tensor([1, 20, 48], 1), tensor([48, 31], 2));
    let rounded = |x: Tensor<2>| {
        let shape = x.dims();
        let data = burn::tensor::TensorData::new(round(values(x)), shape);
        Tensor::<2>::from_data(data, &super::compare::device())
    };
    let expected = rounded(x.clone().squeeze_dim(0)).matmul(rounded(weight.clone()));
    let found = Precision::Bf16.apply(|| linear(x, weight, None));
    assert_eq!(values(found), round(values(expected)));
}

#[test]
fn the_precision_of_before_comes_back() {
    Precision::Bf16.apply(|| {
        let failed = std::panic::catch_unwind(|| Precision::F32.apply(|| panic!("on purpose")));
        assert!(failed.is_err() && Precision::now() == Precision::Bf16);
    });
    assert_eq!(Precision::now(), Precision::F32);
}
