use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// The operations of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Attention,
    LayerNorm,
    RmsNorm,
    BiasActivation,
    Linear,
    Lookup,
    CrossEntropy,
    Block,
    Adamw,
    SquaredNorm,
}

impl Operation {
    const ALL: [Self; 10] = [
        Self::Attention,
        Self::LayerNorm,
        Self::RmsNorm,
        Self::BiasActivation,
        Self::Linear,
        Self::Lookup,
        Self::CrossEntropy,
        Self::Block,
        Self::Adamw,
        Self::SquaredNorm,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::LayerNorm => "layer_norm",
            Self::RmsNorm => "rms_norm",
            Self::BiasActivation => "bias_activation",
            Self::Linear => "linear",
            Self::Lookup => "lookup",
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

static FUSED: [AtomicU64; 10] = [const { AtomicU64::new(0) }; 10];
static COMPOSED: [AtomicU64; 10] = [const { AtomicU64::new(0) }; 10];

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

/// How far operations may be fused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fusion {
    /// Everything is composed of Burn's own operations.
    Off,
    /// Single operations are fused, a block is composed of them.
    Operations,
    /// Whole blocks too.
    #[default]
    Blocks,
}

static FUSION: AtomicU8 = AtomicU8::new(Fusion::Blocks as u8);

/// Sets it for the whole process, to measure and to compare; the default is the fastest.
pub fn set_fusion(fusion: Fusion) {
    FUSION.store(fusion as u8, Ordering::Relaxed);
}

/// Whether fusion goes at least as far.
pub(crate) fn fuses(fusion: Fusion) -> bool {
    FUSION.load(Ordering::Relaxed) >= fusion as u8
}
