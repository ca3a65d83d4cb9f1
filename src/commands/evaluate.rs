use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, ValueEnum};
use sensorium::{
    AnyModel, Error, JudgedTable,
    adapt::{AdaptError, Predictor, Reading},
    contract::Name,
    embed,
    report::{Page, render},
    retrieval_sections,
    retrieve::{EmbeddingTable, RetrievalReport, retrieval, subsets},
    samples::{LoaderConfig, Prepared},
};
use sensorium_modalities::ModalityConfig;
use sensorium_state::commit;

use super::{DeviceArguments, SampleArguments, progress_bar};

/// What is asked of the model.
#[derive(Clone, Copy, ValueEnum)]
enum Task {
    /// Find samples across modalities
    Retrieval,
}

#[derive(Args)]
pub struct Arguments {
    /// A model directory, `runs/NAME/model`, or a run of `finetune`, judged on a table with labels
    model: PathBuf,
    #[command(flatten)]
    samples: SampleArguments,
    /// What to judge
    #[arg(long, value_enum, default_value = "retrieval")]
    task: Task,
    /// Of a fine-tuned model: judge each value of this column by itself, too (may be repeated)
    #[arg(long, value_name = "COLUMN")]
    by: Vec<String>,
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
    if Predictor::is_at(&arguments.model) {
        return cases(arguments);
    }
    let Task::Retrieval = arguments.task;
    let device = arguments.device.open()?;
    let model = AnyModel::open(&arguments.model, &device)?;
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
            sections: retrieval_sections(model.modalities(), data.dataset(), &table, &report)?,
        };
        commit(&path, render(&page).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Judges a fine-tuned model on a table with labels.
fn cases(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let device = arguments.device.open()?;
    let open = || -> Result<_, AdaptError> {
        let predictor = Predictor::open(&arguments.model, &device)?;
        Ok((predictor, Reading::open(arguments.samples.paths(), "".as_ref())?))
    };
    let (mut predictor, table) = open().map_err(Error::from)?;
    let judged = JudgedTable::new(&mut predictor, &table, &arguments.by, &mut progress_bar("telling", false))?;
    judged.remarks.iter().for_each(|remark| eprintln!("warning: {remark}"));
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&judged.judgement.report)?),
        false => println!("{judged}"),
    }
    if let Some(path) = &arguments.report {
        let page = Page {
            title: predictor.config().label.clone(),
            subtitle: format!("{} on {}", arguments.model.display(), arguments.samples.names()),
            facts: vec![("cases".to_owned(), judged.judgement.report.rows.to_string())],
            sections: judged.sections("How well cases are told", &predictor, &table),
        };
        commit(path, render(&page).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The model's modalities that no sample has, and that so go unjudged.
fn absent(model: &AnyModel, table: &EmbeddingTable) -> Vec<String> {
    let absent = model.modalities().iter().filter(|(name, _)| !table.modalities().any(|found| found == *name));
    let say = |(name, config): (&Name, &ModalityConfig)| match config.field() {
        Some(field) => format!("`{name}` (field `{field}`; `--field {field}=OTHER` reads another)"),
        None => format!("`{name}`"),
    };
    absent.map(say).collect()
}
