//! Multimodal foundation models: one Transformer, many recipes.
//!
//! The way from a recipe to a model is [`Pipeline::open`] (data, modalities, a new model) and
//! [`pretrain`] (training, the model directory, the report). A saved model is read by
//! [`load_model`]. `examples/` shows each in a few lines.

mod any;
mod classified;
mod data;
mod device;
mod documents;
mod error;
mod examination;
mod explain;
mod finetune;
mod found;
pub mod generation;
mod guard;
mod heat;
mod judged;
mod labelled;
mod measure;
mod media;
mod page;
mod pipeline;
mod pretrain;
mod prompts;
mod published;
mod query;
mod retrieval;
mod serving;
mod stored;

pub use any::{AnyModel, Reading, readings};
pub use classified::{Classified, Task, classified_sections};
pub use data::{Data, Samples};
pub use device::{ComputeType, device, device_names, device_of};
pub use error::Error;
pub use examination::Examination;
pub use explain::{Explanation, Removal, Shown, explain};
pub use finetune::{FineTuned, FineTuning, finetune};
pub use found::{answers_page, find_samples};
pub use guard::{Kept, Trade, TradePoint};
pub use heat::Plane;
pub use judged::{JudgedTable, Subset, column_section, mistakes_section};
pub use labelled::{LabelledColumn, LabelledTable};
pub use measure::{StepCost, matmul_peak, measure_evaluation, measure_steps, peak_memory, read_bandwidth};
pub use media::to_media;
pub use page::retrieval_sections;
pub use pipeline::Pipeline;
pub use pretrain::{Pretrained, Pretraining, check_expectations, pretrain};
pub use prompts::{Called, Prompts, sharpness, text_of};
pub use published::Published;
pub(crate) use published::start_from;
pub use query::Query;
pub use retrieval::{EMBEDDING_BATCH, RetrievalEvaluator, embed};
pub use sensorium_adapt as adapt;
pub use sensorium_contract as contract;
pub use sensorium_metrics as metrics;
pub use sensorium_model::{Model, load as load_model};
pub use sensorium_recipe::Recipe;
pub use sensorium_report as report;
pub use sensorium_retrieve as retrieve;
pub use sensorium_samples as samples;
pub use sensorium_serve as serve;
pub use sensorium_train as train;
pub use serving::IndexedItems;
pub use stored::{embed_to_file, origin};
