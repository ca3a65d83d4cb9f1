use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::{Args, ValueEnum};
use sensorium::{
    Data, Model, Recipe,
    contract::Name,
    embed, load_model,
    report::{Page, render},
    retrieval_sections,
    retrieve::{EmbeddingTable, RetrievalReport, retrieval, subsets},
    samples::{Dataset, LoaderConfig, Prepared, SourceConfig},
};
use sensorium_modalities::ModalityConfig;
use sensorium_state::commit;

use super::DeviceArguments;

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
    /// Samples: files, a folder, a glob (`shards/{000..127}.tar`), or a recipe, whose held-out samples are taken
    #[arg(required = true)]
    data: Vec<String>,
    /// Read a field under another name, e.g. `--field text=caption` (may be repeated)
    #[arg(long = "field", value_name = "NEW=OLD", value_parser = renamed)]
    fields: Vec<(String, String)>,
    /// What to judge
    #[arg(long, value_enum, default_value = "retrieval")]
    task: Task,
    #[command(flatten)]
    device: DeviceArguments,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Write a page with tables and a picture wall
    #[arg(long, value_name = "HTML")]
    report: Option<PathBuf>,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Task::Retrieval = arguments.task;
    let device = arguments.device.open()?;
    let model = load_model(&arguments.model, &device)?;
    let dataset = open(&arguments.data, &arguments.fields)?;
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
        let modalities = &model.architecture().modalities;
        let page = Page {
            title: "Retrieval".to_owned(),
            subtitle: format!("{} on {}", arguments.model.display(), arguments.data.join(", ")),
            facts: vec![("mean recall@1".to_owned(), format!("{:.3}", report.mean_recall_at_1()))],
            sections: retrieval_sections(modalities, data.dataset(), &table, &report)?,
        };
        commit(&path, render(&page).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `NEW=OLD`
fn renamed(text: &str) -> Result<(String, String), String> {
    let (new, old) = text.split_once('=').ok_or("expected NEW=OLD")?;
    Ok((new.to_owned(), old.to_owned()))
}

/// The model's modalities that no sample has, and that so go unjudged.
fn absent(model: &Model, table: &EmbeddingTable) -> Vec<String> {
    let modalities = model.architecture().modalities.iter();
    let absent = modalities.filter(|(name, _)| !table.modalities().any(|found| found == *name));
    let say = |(name, config): (&Name, &ModalityConfig)| match config.field() {
        Some(field) => format!("`{name}` (field `{field}`; `--field {field}=OTHER` reads another)"),
        None => format!("`{name}`"),
    };
    absent.map(say).collect()
}

fn open(data: &[String], fields: &[(String, String)]) -> anyhow::Result<Dataset> {
    if let [recipe] = data
        && recipe.ends_with(".toml")
    {
        let recipe = Recipe::read(recipe.as_ref(), &[])?;
        let folder = std::env::temp_dir().join("sensorium-data");
        return Ok(Data::open(&recipe, &folder, &mut |_, _| {})?.validation);
    }
    let source = |path: &String| SourceConfig { fields: fields.iter().cloned().collect(), ..SourceConfig::new(path) };
    let sources: Vec<SourceConfig> = data.iter().map(source).collect();
    Dataset::open(&sources, &std::env::current_dir().context("the current directory")?).map_err(anyhow::Error::from)
}
