//! Types that every part of Sensorium agrees on.
//!
//! The way of the data is `Sample → Batch → Tokens → Features → Loss`; each arrow is a type of
//! this crate. It depends on nothing else of the project.
//!
//! # Names of dimensions
//! | name | meaning |
//! |---|---|
//! | `batch` | samples in a batch |
//! | `rows` | samples of a batch that take part in a pass |
//! | `tokens` | tokens of one sample, padded to the longest of the batch |
//! | `width` | features of one token inside a trunk |
//! | `heads`, `head_width` | attention heads, features of one head |
//! | `embedding` | features of a projected vector, the space that modalities share |
//! | `classes` | possible values of a categorical target |
//! | `mels`, `frames` | bands and time steps of a spectrogram |
//! | `channels`, `height`, `width` | of a picture, in this order |

mod array;
mod batch;
mod constant;
mod fault;
mod loss;
mod modality;
mod name;
mod pass;
mod sample;
mod seed;
mod system;
mod tokens;

pub use array::{Array, Arrays, host_f32, tensor_bool, tensor_f32, tensor_i64};
pub use batch::{Batch, Decoded, Item, Part, Preparation, Target};
pub use constant::Constants;
pub use fault::{Fault, SampleFault};
pub use loss::{Loss, LossPart, LossSummary};
pub use modality::{Head, MaskTarget, Masked, Modality, Truth, Values};
pub use name::Name;
pub use pass::{Attention, Corruption, Outputs, Pass, PassOutput, PassPlan, Presence};
pub use sample::{Sample, Value};
pub use seed::{Rng, Seed};
pub use system::{Embedder, Embeddings, Objective, StepContext, StepGradients, Trainable};
pub use tokens::{Features, Pool, Pooled, Segment, Tokens};
