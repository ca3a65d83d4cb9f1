use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::Args;
use sensorium_families::open;
use sensorium_state::{read_arrays, write_arrays};

use super::ComputeArguments;

#[derive(Args)]
pub struct Arguments {
    /// A model directory that `import` wrote, or a published checkpoint
    model: PathBuf,
    /// Input tensors by the reference implementation's names (input_ids, attention_mask, pixel_values …)
    #[arg(long, value_name = "IN.safetensors")]
    inputs: PathBuf,
    /// Where to write what the model answers
    #[arg(long, value_name = "OUT.safetensors")]
    out: PathBuf,
    #[command(flatten)]
    compute: ComputeArguments,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let device = arguments.compute.open(&arguments.model)?;
    let checkpoint = open(&arguments.model, &device)?;
    let answers = checkpoint.forward(&read_arrays(&arguments.inputs)?)?;
    for (name, answer) in &answers {
        println!("{name:28} {:?}", answer.shape());
    }
    write_arrays(&arguments.out, &answers, &BTreeMap::new())?;
    Ok(ExitCode::SUCCESS)
}
