use burn::tensor::Tensor;

/// Keys and values of the tokens that a trunk has read, so that the next ones need not read them again.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    pub(crate) blocks: Vec<BlockCache>,
    /// Tokens read.
    pub(crate) tokens: usize,
}

impl Cache {
    /// How many tokens were read.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

/// Keys and values, each `[rows, key_heads, keys, head_width]`.
type KeyValue = (Tensor<4>, Tensor<4>);

#[derive(Clone, Debug, Default)]
pub(crate) struct BlockCache {
    own: Option<KeyValue>,
    memory: Option<KeyValue>,
}

impl BlockCache {
    /// Adds the keys and values of new tokens, and gives all.
    pub(crate) fn extend(&mut self, key: Tensor<4>, value: Tensor<4>) -> KeyValue {
        let all = match self.own.take() {
            Some((keys, values)) => (Tensor::cat(vec![keys, key], 2), Tensor::cat(vec![values, value], 2)),
            None => (key, value),
        };
        self.own.insert(all).clone()
    }

    /// Keys and values of an encoder's features, read once.
    pub(crate) fn memory(&mut self, read: impl FnOnce() -> KeyValue) -> KeyValue {
        self.memory.get_or_insert_with(read).clone()
    }
}
