use burn::tensor::{Tensor, TensorData};
use ndarray::Array2;
use sensorium_kernels::cross_entropy;

/// The label of a token that is not predicted.
pub const IGNORED: i64 = -100;

/// Mean cross-entropy over the tokens whose label is not [`IGNORED`], and how many they are: causal, masked
/// and sequence-to-sequence language modelling differ in their labels. Nothing if all are ignored.
///
/// # Shapes
/// `logits` `[rows, tokens, classes]`, `labels` `[rows, tokens]` → `[1]`
pub fn likelihood(logits: Tensor<3>, labels: &Array2<i64>) -> Option<(Tensor<1>, usize)> {
    let [rows, tokens, classes] = logits.dims();
    let predicted = labels.iter().enumerate().filter(|(_, label)| **label != IGNORED);
    let (places, labels): (Vec<i64>, Vec<i64>) = predicted.map(|(place, &label)| (place as i64, label)).unzip();
    if places.is_empty() {
        return None;
    }
    let device = logits.device().inner();
    let tensor = |values: &[i64]| Tensor::from_data(TensorData::from(values), &device);
    let mut logits = logits.reshape([rows * tokens, classes]);
    if places.len() < rows * tokens {
        logits = logits.select(0, tensor(&places)); // [predicted, classes]
    }
    Some((cross_entropy(logits, tensor(&labels)), labels.len()))
}

/// Labels of causal language modelling: at each token the next one, ignored where that is hidden or where
/// there is none.
///
/// # Shapes
/// `ids` and `real` `[rows, tokens]` → the same
pub fn next_tokens(ids: &Array2<i64>, real: &Array2<bool>) -> Array2<i64> {
    let (_, tokens) = ids.dim();
    Array2::from_shape_fn(ids.dim(), |(row, token)| match token + 1 {
        next if next < tokens && real[[row, next]] => ids[[row, next]],
        _ => IGNORED,
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use ndarray::arr2;

    use super::*;

    #[test]
    fn only_labels_that_are_not_ignored_count() {
        let logits = Tensor::<3>::from_data([[[0.0, 1.0], [5.0, -5.0]], [[2.0, 0.0], [1.0, 1.0]]], &Device::flex());
        let (loss, items) = likelihood(logits.clone(), &arr2(&[[1, IGNORED], [IGNORED, 0]])).unwrap();
        let expected = ((1.0 + (-1.0_f32).exp()).ln() + 2.0_f32.ln()) / 2.0;
        assert!((loss.into_scalar::<f32>() - expected).abs() < 1e-6 && items == 2);
        assert!(likelihood(logits, &arr2(&[[IGNORED; 2]; 2])).is_none());
    }

    #[test]
    fn the_next_token_is_predicted_if_it_is_real() {
        let labels = next_tokens(&arr2(&[[5, 6, 7], [8, 9, 0]]), &arr2(&[[true; 3], [true, true, false]]));
        assert_eq!(labels, arr2(&[[6, 7, IGNORED], [9, IGNORED, IGNORED]]));
    }
}
