use burn::tensor::{Int, Tensor};

use crate::{coverage::Operation, flex};

/// The rows of a table that ids name.
///
/// # Shapes
/// `table` `[values, width]`, `ids` `[rows, tokens]` → `[rows, tokens, width]`
pub fn lookup(table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    if let Some(output) = flex::lookup(&table, &ids) {
        Operation::Lookup.count_fused();
        return output;
    }
    Operation::Lookup.count_composed();
    composed(table, ids)
}

pub(crate) fn composed(table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    let [rows, tokens] = ids.dims();
    let [_, width] = table.dims();
    table.select(0, ids.reshape([rows * tokens])).reshape([rows, tokens, width])
}
