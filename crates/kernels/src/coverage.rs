use std::sync::atomic::{AtomicU64, Ordering};

/// The operations of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Attention,
    LayerNorm,
    BiasActivation,
    Linear,
    CrossEntropy,
    Block,
    Adamw,
    SquaredNorm,
}

impl Operation {
    const ALL: [Self; 8] = [
        Self::Attention,
        Self::LayerNorm,
        Self::BiasActivation,
        Self::Linear,
        Self::CrossEntropy,
        Self::Block,
        Self::Adamw,
        Self::SquaredNorm,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::LayerNorm => "layer_norm",
            Self::BiasActivation => "bias_activation",
            Self::Linear => "linear",
            Self::CrossEntropy => "cross_entropy",
            Self::Block => "block",
            Self::Adamw => "adamw_step",
            Self::SquaredNorm => "squared_norm",
        }
    }

    pub(crate) fn count_fused(self) {
        FUSED[self as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_composed(self) {
        COMPOSED[self as usize].fetch_add(1, Ordering::Relaxed);
    }
}

static FUSED: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
static COMPOSED: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// How often one operation ran in each form since the process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The function's name.
    pub operation: &'static str,
    /// Calls that ran as one hand-written operation.
    pub fused: u64,
    /// Calls that fell back to a composition of tensor operations.
    pub composed: u64,
}

/// What ran fused and what fell back since the process started, so that a silent fall-back shows.
pub fn coverage() -> Vec<Coverage> {
    let row = |operation: Operation| Coverage {
        operation: operation.name(),
        fused: FUSED[operation as usize].load(Ordering::Relaxed),
        composed: COMPOSED[operation as usize].load(Ordering::Relaxed),
    };
    Operation::ALL.into_iter().map(row).collect()
}
