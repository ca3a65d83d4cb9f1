use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use sensorium::{
    Pipeline, Pretraining, check_expectations,
    train::{Display, Stop},
};
use sensorium_state::RunDirectory;

use super::{DeviceArguments, RecipeArguments, progress_bar};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    #[command(flatten)]
    device: DeviceArguments,
    /// Start from a model of ours, whose modalities of the same name and trunk are taken over, or from an imported
    /// checkpoint, whose towers and preprocessing take the place of the recipe's for the same kinds of data
    #[arg(long, value_name = "MODEL")]
    from: Option<PathBuf>,
    /// What stays as it is: modalities (a locked tower), or patterns of parameters, e.g. `--lock image`
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    lock: Vec<String>,
    /// The run directory; one that exists is continued [default: runs/NAME for NAME.toml]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the retrieval report as JSON instead of a table
    #[arg(long)]
    json: bool,
    /// No progress bar
    #[arg(long)]
    quiet: bool,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut recipe = arguments.recipe.read()?;
    recipe.train.lock.extend(arguments.lock);
    let device = arguments.device.open()?;
    let out = arguments.out.unwrap_or_else(|| arguments.recipe.default_run());
    let stop = Stop::on_signals()?;
    let mut progress = progress_bar("writing samples", arguments.quiet);
    // First, so that a recipe or data that cannot be used leave no run directory behind.
    let from = arguments.from.as_deref();
    let pipeline = Pipeline::open_from(recipe.clone(), from, &out.join("data"), &device, &mut progress)?;
    let run = RunDirectory::open_or_create(&out)?;
    let display = if arguments.quiet { Display::quiet() } else { Display::auto() };
    let trained = match sensorium::pretrain(pipeline, &run, stop, display)? {
        Pretraining::Finished(trained) => trained,
        Pretraining::Interrupted { signal } => {
            eprintln!("interrupted; the same command goes on from here");
            return Ok(ExitCode::from(128 + signal as u8));
        }
    };
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&trained.retrieval)?),
        // One modality alone finds nothing; its losses were shown.
        false if trained.retrieval.directions.is_empty() => {}
        false => println!("{}", trained.retrieval),
    }
    if !arguments.quiet {
        eprintln!("model:  {}\nreport: {}", out.join("model").display(), out.join("report.html").display());
    }
    check_expectations(&recipe, &trained.retrieval)?;
    Ok(ExitCode::SUCCESS)
}
