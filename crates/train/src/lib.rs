//! The step loop: a model that turns batches into gradients, trained from files to a checkpoint.
//!
//! ```text
//! batches → gradients → clip → AdamW → average → records → evaluation → checkpoint
//! ```
//! [`fit`] knows neither a modality nor a model: it takes a
//! [`Trainable`](sensorium_contract::Trainable), a stream of batches and [`Evaluator`]s. Everything that a step depends on is a
//! function of the recipe and of the step's number, and all that outlives a step is in the
//! checkpoint, so that a run which is stopped anywhere and started again ends in the same weights
//! and the same `metrics.jsonl`, bit for bit.

mod adamw;
mod average;
mod checkpoint;
mod config;
mod error;
mod evaluate;
mod events;
mod fit;
mod gradients;
mod journal;
mod progress;
mod schedule;
mod split;
mod stop;
#[cfg(test)]
mod tests;
mod training;

pub use adamw::AdamW;
pub use average::Average;
pub use checkpoint::best_module;
pub use config::{GroupConfig, OptimizerConfig, TrainConfig};
pub use error::TrainError;
pub use evaluate::{Best, Evaluator, HeldOutBatches, HeldOutLosses, Metric};
pub use events::EventFile;
pub use fit::{BatchStream, Batches, Ended, FREE_KEYS, Outcome, Session, fit};
pub use gradients::FlatGradients;
pub use progress::Display;
pub use schedule::{Curve, ScheduleConfig, Warmup};
pub use split::split_batch;
pub use stop::Stop;
