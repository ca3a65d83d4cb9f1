//! Multimodal foundation models: one Transformer, many recipes.
//!
//! The way from a recipe to a model is [`Pipeline::open`] (data, modalities, a new model) and
//! [`pretrain`] (training, the model directory, the report). A saved model is read by
//! [`load_model`]. `examples/` shows each in a few lines.

mod any;
mod data;
mod device;
mod documents;
mod error;
pub mod generation;
mod measure;
mod media;
mod page;
mod pipeline;
mod pretrain;
mod published;
mod retrieval;

pub use any::{AnyModel, fields};
pub use data::Data;
pub use device::{ComputeType, device, device_names, device_of};
pub use error::Error;
pub use measure::{StepCost, flops, matmul_peak, measure_evaluation, measure_steps, peak_memory};
pub use media::to_media;
pub use page::retrieval_sections;
pub use pipeline::Pipeline;
pub use pretrain::{Pretrained, Pretraining, check_expectations, pretrain};
pub use published::Published;
pub use retrieval::{EMBEDDING_BATCH, RetrievalEvaluator, embed};
pub use sensorium_contract as contract;
pub use sensorium_model::{Model, load as load_model};
pub use sensorium_recipe::Recipe;
pub use sensorium_report as report;
pub use sensorium_retrieve as retrieve;
pub use sensorium_samples as samples;
pub use sensorium_train as train;
