use burn::tensor::{Int, Tensor, activation::log_softmax};

use crate::{coverage::Operation, flex};

/// Mean over the items of `−log softmax(logits)[class]`.
///
/// # Shapes
/// `logits` `[items, classes]`, `classes` `[items]` → `[1]`
pub fn cross_entropy(logits: Tensor<2>, classes: Tensor<1, Int>) -> Tensor<1> {
    if let Some(output) = flex::cross_entropy(&logits, &classes) {
        Operation::CrossEntropy.count_fused();
        return output;
    }
    Operation::CrossEntropy.count_composed();
    composed(logits, classes)
}

pub(crate) fn composed(logits: Tensor<2>, classes: Tensor<1, Int>) -> Tensor<1> {
    let [items] = classes.dims();
    log_softmax(logits, 1).gather(1, classes.reshape([items, 1])).mean().neg()
}
