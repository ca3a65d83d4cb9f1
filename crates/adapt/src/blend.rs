//! Between what a model was and what fine-tuning made of it (WiSE-FT, Wortsman et al. 2022).

use std::collections::BTreeMap;

use sensorium_model::Model;
use sensorium_state::{NamedTensor, export, import};

use crate::{AdaptError, Start, StartConfig, start::by_name};

impl Start {
    /// The fine-tuned model with the weights that it took over moved back: at a `share` of 0 they are those of
    /// the start, at 1 they stay. What is new, as its head, stays as it is.
    ///
    /// # Errors
    /// Never for models of one build.
    pub fn moved_back(&self, config: &StartConfig, tuned: Model, share: f32) -> Result<Model, AdaptError> {
        let sources = self.sources(config, &tuned);
        let tensor = |tensor: NamedTensor| match sources.get(&tensor.name) {
            Some(source) => between(source, &tensor, share, &tensor.name),
            None => tensor,
        };
        let tensors = by_name(export(&tuned).into_iter().map(tensor));
        Ok(import(tuned, &tensors)?)
    }

    /// The start with the weights that were taken over moved towards the fine-tuned ones: all that it could do
    /// can be asked of it again, also with modalities that the fine-tuned model lacks.
    ///
    /// # Errors
    /// Never for models of one build.
    pub fn moved_on(&self, config: &StartConfig, tuned: &Model, share: f32) -> Result<Model, AdaptError> {
        let tuned_tensors = by_name(export(tuned).into_iter());
        let mut tensors: BTreeMap<String, NamedTensor> = by_name(export(self.model()).into_iter());
        for (name, source) in self.sources(config, tuned) {
            let moved = between(&source, &tuned_tensors[&name], share, &source.name);
            if let Some(whole) = tensors.get_mut(&source.name) {
                // Of a text's positions, the tuned model may have the first ones only.
                whole.values[..moved.values.len()].copy_from_slice(&moved.values);
            }
        }
        Ok(import(self.model().clone(), &tensors)?)
    }
}

/// Exactly the one at 0 and exactly the other at 1.
fn between(from: &NamedTensor, to: &NamedTensor, share: f32, name: &str) -> NamedTensor {
    let values = from.values.iter().zip(&to.values).map(|(from, to)| (1.0 - share) * from + share * to).collect();
    NamedTensor { name: name.to_owned(), shape: from.shape.clone(), values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_exact_and_the_middle_is_the_mean() {
        let tensor = |values: [f32; 2]| NamedTensor { name: "w".into(), shape: vec![2], values: values.to_vec() };
        let (a, b) = (tensor([0.1, -3.0]), tensor([0.7, 5.0]));
        assert_eq!(between(&a, &b, 0.0, "w"), a);
        assert_eq!(between(&a, &b, 1.0, "w"), b);
        assert_eq!(between(&a, &b, 0.5, "w").values[1], 1.0);
    }
}
