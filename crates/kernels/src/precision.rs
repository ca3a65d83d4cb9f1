use std::cell::Cell;

use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};

/// The type in which the products of a training step are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, 8 of them the exponent, so that losses need no scaling. Weights, sums, norms, softmax, losses and the
    /// optimiser stay in 32 (mixed precision, Micikevicius et al. 2018; what PyTorch's autocast casts).
    Bf16,
}

thread_local! {
    static PRODUCTS: Cell<Precision> = const { Cell::new(Precision::F32) };
}

impl Precision {
    /// Does what the function does, with the products that this thread computes in this type, and later those of the
    /// backward pass through them.
    pub fn apply<T>(self, work: impl FnOnce() -> T) -> T {
        struct Before(Precision);
        impl Drop for Before {
            fn drop(&mut self) {
                PRODUCTS.set(self.0);
            }
        }
        let _before = Before(PRODUCTS.replace(self));
        work()
    }

    /// The type of tensors that go into products.
    pub fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
        }
    }

    pub(crate) fn now() -> Self {
        PRODUCTS.get()
    }
}

/// `left · right` of the last two axes, computed in the [`Precision`] of this thread; the result has the type of `left`.
pub fn matmul<const D: usize>(left: Tensor<D>, right: Tensor<D>) -> Tensor<D> {
    match Precision::now() {
        Precision::F32 => left.matmul(right),
        low => {
            let dtype: FloatDType = left.dtype().into();
            left.cast(low.dtype()).matmul(right.cast(low.dtype())).cast(dtype)
        }
    }
}
