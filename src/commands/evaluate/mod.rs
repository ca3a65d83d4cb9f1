//! What a model is asked, one file a task.

mod cases;
mod classes;
mod knn;
mod linear_probe;
mod retrieval;
mod zero_shot;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, ValueEnum};
use sensorium::{
    AnyModel, Error,
    adapt::Predictor,
    contract::Name,
    samples::{LoaderConfig, Prepared},
};

use super::{ComputeArguments, SampleArguments, progress_bar};

/// What is asked of the model.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Task {
    /// Find samples across modalities
    Retrieval,
    /// Tell classes by sentences that name them, without training
    ZeroShot,
    /// Tell classes by the nearest samples whose class is known
    Knn,
    /// Tell classes by a linear layer that is trained on the vectors
    LinearProbe,
}

#[derive(Args)]
#[command(mut_arg("data", |data| data.required(false)))]
pub struct Arguments {
    /// A model directory, `runs/NAME/model`, an imported model, or a run of `finetune`, judged on a table with labels or,
    /// without DATA, on the cases that were kept from its models; or vectors that `embed` wrote, E.parquet, without DATA
    model: PathBuf,
    #[command(flatten)]
    samples: SampleArguments,
    /// What to judge
    #[arg(long, value_enum, default_value = "retrieval")]
    task: Task,
    #[command(flatten)]
    classes: classes::ClassArguments,
    /// Of a fine-tuned model: judge each value of this column by itself, too (may be repeated)
    #[arg(long, value_name = "COLUMN")]
    by: Vec<String>,
    #[command(flatten)]
    compute: ComputeArguments,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Write a page with tables, charts and a picture wall
    #[arg(long, value_name = "HTML")]
    report: Option<PathBuf>,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

impl Arguments {
    fn prepared(&self, model: &AnyModel) -> anyhow::Result<Prepared> {
        let preparation = Arc::new(model.preparation().clone());
        Ok(Prepared::new(self.samples.open()?, preparation, LoaderConfig::default())?)
    }

    /// Of embedding the samples.
    fn progress(&self) -> impl FnMut(usize, usize) + use<> {
        progress_bar("embedding", self.quiet)
    }

    /// `runs/x/model on data.tar`
    fn subtitle(&self) -> String {
        format!("{} on {}", self.model.display(), self.samples.names())
    }
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if arguments.model.extension().is_some_and(|extension| extension == "parquet") {
        return retrieval::stored(&arguments);
    }
    if Predictor::is_at(&arguments.model) {
        return cases::run(&arguments);
    }
    if arguments.samples.is_empty() {
        let problem = "a model is judged on samples: name them after it (or give vectors, E.parquet, in its place)";
        return Err(Error::Usage(problem.to_owned()).into());
    }
    let device = arguments.compute.open(&arguments.model)?;
    let model = AnyModel::open(&arguments.model, &device)?;
    model.left_out().iter().for_each(|problem| eprintln!("warning: {problem}"));
    match arguments.task {
        Task::Retrieval => retrieval::run(&arguments, &model),
        Task::ZeroShot => zero_shot::run(&arguments, &model),
        Task::Knn => knn::run(&arguments, &model),
        Task::LinearProbe => linear_probe::run(&arguments, &model),
    }
}

/// `image,text`
fn names(text: &str) -> Result<Vec<Name>, String> {
    let mut names: Vec<Name> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(Name::new).collect();
    names.sort();
    names.dedup();
    if names.is_empty() { Err("expected names of modalities, as image,text".into()) } else { Ok(names) }
}
