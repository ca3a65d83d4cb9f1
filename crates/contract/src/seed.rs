use rand::SeedableRng;

/// The random generator of everything that is drawn on the host.
pub type Rng = rand_chacha::ChaCha8Rng;

/// A place in a tree of random streams.
///
/// Whatever is drawn (order, augmentation, masks, initial weights) is a function of the recipe's
/// seed and of names on the way to it, never of threads or of what was drawn before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The root of a recipe.
    pub fn new(seed: u64) -> Self {
        Self(*blake3::hash(&seed.to_le_bytes()).as_bytes())
    }

    /// The branch with this name.
    pub fn named(&self, name: &str) -> Self {
        Self(*blake3::keyed_hash(&self.0, name.as_bytes()).as_bytes())
    }

    /// The branch with this number.
    pub fn number(&self, number: u64) -> Self {
        Self(*blake3::keyed_hash(&self.0, &number.to_le_bytes()).as_bytes())
    }

    /// A generator that starts here.
    pub fn rng(&self) -> Rng {
        Rng::from_seed(self.0)
    }
}
