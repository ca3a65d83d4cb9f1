use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Instant};

use clap::Args;
use sensorium::{
    AnyModel, embed_to_file, origin,
    retrieve::Embedded,
    samples::{LoaderConfig, Prepared},
};

use super::{ComputeArguments, SampleArguments, progress_bar};

#[derive(Args)]
pub struct Arguments {
    /// A model directory: of a run, or imported
    model: PathBuf,
    #[command(flatten)]
    samples: SampleArguments,
    /// The Parquet file to write: key, modality, source, content, vector. A run that was interrupted goes on with the
    /// parts in E.parquet.parts
    #[arg(long, value_name = "E.parquet")]
    out: PathBuf,
    #[command(flatten)]
    compute: ComputeArguments,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let device = arguments.compute.open(&arguments.model)?;
    let model = AnyModel::open(&arguments.model, &device)?;
    model.left_out().iter().for_each(|problem| eprintln!("warning: {problem}"));
    let samples = arguments.samples.samples();
    let dataset = samples.open()?;
    let origin = origin(&arguments.model, &samples, &dataset)?;
    // Each sample is wanted once.
    let config = LoaderConfig { cache_mb: 0, ..LoaderConfig::default() };
    let data = Prepared::new(dataset, Arc::new(model.preparation().clone()), config)?;
    let mut bar = progress_bar("embedding", arguments.quiet);
    let (begin, mut before) = (Instant::now(), None);
    let mut progress = |done, all| {
        before.get_or_insert(done);
        bar(done, all);
    };
    let Embedded { vectors, damaged } = embed_to_file(&model, &data, origin, &arguments.out, &mut progress)?;
    if damaged > 0 {
        eprintln!("warning: {damaged} damaged samples were left out");
    }
    let (all, before) = (data.dataset().len(), before.unwrap_or(0));
    let speed = (all - before) as f64 / begin.elapsed().as_secs_f64();
    let already = if before > 0 { format!(", {before} of them before") } else { String::new() };
    println!("{vectors} vectors of {all} samples{already} in {} ({speed:.0} samples/s)", arguments.out.display());
    Ok(ExitCode::SUCCESS)
}
