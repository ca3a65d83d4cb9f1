use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, ValueEnum};
use sensorium::{
    AnyModel,
    contract::Name,
    embed,
    report::{Page, render},
    retrieval_sections,
    retrieve::{EmbeddingTable, RetrievalReport, retrieval, subsets},
    samples::{LoaderConfig, Prepared},
};
use sensorium_state::commit;

use super::{ComputeArguments, SampleArguments};

/// What is asked of the model.
#[derive(Clone, Copy, ValueEnum)]
enum Task {
    /// Find samples across modalities
    Retrieval,
}

#[derive(Args)]
pub struct Arguments {
    /// A model directory, `runs/NAME/model`
    model: PathBuf,
    #[command(flatten)]
    samples: SampleArguments,
    /// What to judge
    #[arg(long, value_enum, default_value = "retrieval")]
    task: Task,
    #[command(flatten)]
    compute: ComputeArguments,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Write a page with tables and a picture wall
    #[arg(long, value_name = "HTML")]
    report: Option<PathBuf>,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Task::Retrieval = arguments.task;
    let device = arguments.compute.open(&arguments.model)?;
    let model = AnyModel::open(&arguments.model, &device)?;
    model.left_out().iter().for_each(|problem| eprintln!("warning: {problem}"));
    let dataset = arguments.samples.open()?;
    let preparation = Arc::new(model.preparation().clone());
    let data = Prepared::new(dataset, preparation, LoaderConfig::default());
    let table = embed(&model, &data)?;
    let absent = absent(&model, &table);
    let report = RetrievalReport { several: subsets(&table), ..retrieval(&table) };
    anyhow::ensure!(
        !report.directions.is_empty(),
        "no sample has two of the model's modalities; none has {}",
        absent.join(", ")
    );
    absent.iter().for_each(|modality| eprintln!("warning: no sample has the modality {modality}"));
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => println!("{report}"),
    }
    if let Some(path) = arguments.report {
        let page = Page {
            title: "Retrieval".to_owned(),
            subtitle: format!("{} on {}", arguments.model.display(), arguments.samples.names()),
            facts: vec![("mean recall@1".to_owned(), format!("{:.3}", report.mean_recall_at_1()))],
            sections: retrieval_sections(&model.fields(), data.dataset(), &table, &report)?,
        };
        commit(&path, render(&page).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The model's modalities that no sample has, and that so go unjudged.
fn absent(model: &AnyModel, table: &EmbeddingTable) -> Vec<String> {
    let fields = model.fields();
    let absent = fields.iter().filter(|(name, _)| !table.modalities().any(|found| found == *name));
    let say = |(name, field): (&Name, &Option<String>)| match field {
        Some(field) => format!("`{name}` (field `{field}`; `--field {field}=OTHER` reads another)"),
        None => format!("`{name}`"),
    };
    absent.map(say).collect()
}
