use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use sensorium_families::export;

use super::{DeviceArguments, import::print};

#[derive(Args)]
pub struct Arguments {
    /// A model directory that `import` wrote
    model: PathBuf,
    /// The directory to write: config.json, model.safetensors, tokenizer and preprocessing
    to: PathBuf,
    #[command(flatten)]
    device: DeviceArguments,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let device = arguments.device.open()?;
    let exported = export(&arguments.model, &arguments.to, &device)?;
    print(&exported);
    println!("written     {}", arguments.to.display());
    Ok(ExitCode::SUCCESS)
}
