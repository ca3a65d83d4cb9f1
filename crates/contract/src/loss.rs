use burn::tensor::Tensor;

/// One objective's share of a loss.
#[derive(Clone, Debug)]
pub struct LossPart {
    /// `contrastive image-text`, `masked audio` …
    pub name: String,
    /// Mean over the items, `[1]`.
    pub value: Tensor<1>,
    /// Factor in the sum.
    pub weight: f32,
    /// How many items `value` is the mean of.
    pub items: usize,
}

/// A scalar with its named parts.
#[derive(Clone, Debug, Default)]
pub struct Loss {
    /// The parts; an objective for which the batch held nothing is absent.
    pub parts: Vec<LossPart>,
}

impl Loss {
    /// The weighted sum of the parts, `[1]`; nothing if there are none.
    pub fn total(&self) -> Option<Tensor<1>> {
        let weighted = self.parts.iter().map(|part| part.value.clone().mul_scalar(part.weight));
        weighted.reduce(|sum, part| sum + part)
    }
}

/// A part's loss over a whole data set, beside that of the best constant prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct LossSummary {
    /// As in [`LossPart`].
    pub name: String,
    /// Mean over all items.
    pub value: f32,
    /// Number of items.
    pub items: usize,
    /// The least loss that a prediction which ignores the input can have on the same items, where
    /// that is defined.
    pub constant: Option<f32>,
}
