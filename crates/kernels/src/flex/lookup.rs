use std::sync::Arc;

use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{
    buffer::{Buffer, indices, numbers},
    fused::Fused,
    rows::add_column_sums,
};

/// Rows that one thread copies at a time.
const ROWS: usize = 64;

/// Rows of a table by their numbers.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    ids: Arc<Vec<usize>>,
    /// Rows and tokens of the ids.
    shape: [usize; 2],
}

impl Lookup {
    /// For a tensor of ids; nothing for an integer type that is not read here.
    pub(crate) fn new(ids: &FlexTensor, shape: [usize; 2]) -> Option<Self> {
        Some(Self { ids: Arc::new(indices(ids)?), shape })
    }
}

impl Fused<1> for Lookup {
    type Saved = ();

    fn forward(&self, [table]: &[FlexTensor; 1], _: bool) -> (FlexTensor, Option<()>) {
        let [rows, tokens] = self.shape;
        let width = table.layout().shape()[1];
        let table = numbers(table);
        let mut output = Buffer::new(self.ids.len() * width);
        let parts = output.par_chunks_mut((ROWS * width).max(1)).zip(self.ids.par_chunks(ROWS));
        parts.for_each(|(output, ids)| {
            for (row, &id) in output.chunks_exact_mut(width.max(1)).zip(ids) {
                row.copy_from_slice(&table[id * width..][..width]);
            }
        });
        (output.into_tensor([rows, tokens, width].into()), Some(()))
    }

    fn backward(self, [table]: [FlexTensor; 1], (): (), gradient: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let shape = table.layout().shape().clone();
        let width = shape[1];
        let mut output = Buffer::zeros(shape.num_elements());
        // In the order of the tokens, whatever the number of threads.
        for (row, &id) in numbers(&gradient).chunks_exact(width.max(1)).zip(self.ids.iter()) {
            add_column_sums(row, &mut output[id * width..][..width]);
        }
        [Some(output.into_tensor(shape))]
    }
}
