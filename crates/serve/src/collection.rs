use sensorium_contract::{Name, Sample};

/// Items that can be searched and shown.
pub trait Collection: Send + Sync {
    /// Numbers in a vector.
    fn width(&self) -> usize;

    /// The modalities, and how many items have each.
    fn modalities(&self) -> Vec<(Name, usize)>;

    /// The `k` items of modality `to` that are nearest to a vector of length 1, best first.
    ///
    /// # Errors
    /// What failed, in words.
    fn nearest(&self, vector: &[f32], to: &Name, k: usize) -> Result<Vec<Hit>, String>;

    /// Up to `count` keys, spread over all items.
    fn some(&self, count: usize) -> Vec<String>;

    /// The modalities of an item; none if there is no such item.
    fn modalities_of(&self, key: &str) -> Vec<Name>;

    /// An item's fields as stored.
    ///
    /// # Errors
    /// Why they cannot be had: nothing says where they are, or they are there no more.
    fn read(&self, key: &str) -> Result<Sample, String>;
}

/// An item that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Its key.
    pub key: String,
    /// Cosine with the query.
    pub score: f32,
}
