use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use sensorium::adapt::{Predictor, write_predictions};

use super::{DeviceArguments, progress_bar};

#[derive(Args)]
pub struct Arguments {
    /// A run of `finetune`, or its model directory
    model: PathBuf,
    /// New cases: a table with the same columns, any of which may be missing
    #[arg(required = true)]
    data: Vec<String>,
    /// Where to write: key, prediction, a probability for each class, and which modalities each row had
    #[arg(long, default_value = "predictions.parquet")]
    out: PathBuf,
    #[command(flatten)]
    device: DeviceArguments,
    /// No progress bar
    #[arg(long)]
    quiet: bool,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let device = arguments.device.open()?;
    let open = Predictor::open(&arguments.model, &device);
    let mut predictor = open.map_err(sensorium::Error::from)?;
    let table = predictor.reading().open(&arguments.data).map_err(sensorium::Error::from)?.data;
    let mut progress = progress_bar("telling", arguments.quiet);
    let predicted = predictor.predict(&table, &[], &mut progress).map_err(sensorium::Error::from)?;
    write_predictions(&arguments.out, &predictor.config().task, &predicted).map_err(sensorium::Error::from)?;
    // All models read the same.
    let read = predictor.models().iter().take(1).flat_map(|model| model.preparation().modalities.values());
    let remarks = predictor.remarks().into_iter().chain(read.flat_map(|modality| modality.remarks()));
    remarks.for_each(|remark| eprintln!("warning: {remark}"));
    let blind = predicted.iter().filter(|row| row.present.is_empty()).count();
    if blind > 0 {
        eprintln!(
            "warning: {blind} rows have nothing that the model reads; they get the frequencies of its training cases"
        );
    }
    if !arguments.quiet {
        eprintln!("{} rows: {}", predicted.len(), arguments.out.display());
    }
    Ok(ExitCode::SUCCESS)
}
