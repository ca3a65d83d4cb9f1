use burn::tensor::Tensor;
use ndarray::Array2;
use sensorium_contract::{Arrays, Name, Tokens, host_f32, tensor_bool};

use crate::Model;

impl Model {
    /// How many tokens the encoder of a modality makes of one row of its arrays.
    pub fn token_count(&self, name: &Name, arrays: &Arrays) -> usize {
        let tokens = self.encoders[self.number(name)].tokens(arrays, &self.device().inner());
        let [_, count, _] = tokens.values.dims();
        count
    }

    /// The vectors of one sample with some of its tokens left out: attention and pooling pass over
    /// them, so that each vector is what the model answers if the tokens were never there.
    ///
    /// Not for a modality that is pooled by its last token, whose place is told by how many there are.
    ///
    /// # Shapes
    /// `arrays` of one row, `kept` `[variants, tokens]` true where a token stays → `[variants,
    /// embedding]`, each of length 1
    pub fn embed_kept(&self, name: &Name, arrays: &Arrays, kept: &Array2<bool>) -> Array2<f32> {
        let (modality, device) = (self.number(name), self.device().inner());
        let Tokens { values, mask: _, segments } = self.encoders[modality].tokens(arrays, &device); // [1, tokens, width]
        let (variants, _) = kept.dim();
        let mask = tensor_bool::<2>(&kept.clone().into_dyn(), &device);
        let tokens = Tokens { values: values.repeat_dim(0, variants), mask: Some(mask), segments };
        let stage = self.trunks.alone(modality, tokens);
        let features = self.trunks.together(vec![(modality, stage)], false);
        let vectors: Tensor<2> = self.project(name, &features.pooled[0].vector);
        let [rows, width] = vectors.dims();
        let values = host_f32(vectors);
        // As many numbers as the tensor has.
        Array2::from_shape_vec((rows, width), values).unwrap_or_else(|error| unreachable!("{error}"))
    }
}
