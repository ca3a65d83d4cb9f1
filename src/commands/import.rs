use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use sensorium_families::{Imported, import};

use super::DeviceArguments;

#[derive(Args)]
pub struct Arguments {
    /// A directory with config.json and model.safetensors, or its shards with their index
    from: PathBuf,
    /// The model directory to write
    to: PathBuf,
    #[command(flatten)]
    device: DeviceArguments,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let device = arguments.device.open()?;
    let imported = import(&arguments.from, &arguments.to, &device)?;
    print(&imported);
    println!("written     {}", arguments.to.display());
    Ok(ExitCode::SUCCESS)
}

/// What a checkpoint holds, what was left out of it and why.
pub fn print(imported: &Imported) {
    println!("family      {} ({})", imported.family, imported.class);
    println!("parameters  {}", imported.parameters);
    let tensors = imported.tensors.iter().map(|(dtype, count)| format!("{count} {dtype}"));
    println!("tensors     {}", tensors.collect::<Vec<_>>().join(", "));
    if !imported.files.is_empty() {
        println!("with        {}", imported.files.join(", "));
    }
    for left in &imported.left_out {
        println!("left out    {}: {}", left.name, left.reason);
    }
}
