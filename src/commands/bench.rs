use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use sensorium::{Pipeline, StepCost, measure_steps, read_bandwidth};
use sensorium_kernels::coverage;
use serde::Serialize;

use super::{DeviceArguments, RecipeArguments, progress_bar};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    #[command(flatten)]
    device: DeviceArguments,
    /// Steps to measure, after one that warms up
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Where a built-in set is kept
    #[arg(long, default_value = "runs/bench")]
    data: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let recipe = arguments.recipe.read()?;
    let device = arguments.device.open()?;
    let pipeline =
        Pipeline::open(recipe, &arguments.data, &device, &mut progress_bar("writing samples", arguments.json))?;
    let cost = measure_steps(&pipeline, &device, arguments.steps)?;
    // Last, since it takes memory of its own.
    let bench = Bench { bandwidth: read_bandwidth(&device), cost };
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&bench)?),
        false => print(&bench),
    }
    Ok(ExitCode::SUCCESS)
}

/// A step beside what the device can do.
#[derive(Serialize)]
struct Bench {
    #[serde(flatten)]
    cost: StepCost,
    /// Bytes per second that the device reads from memory.
    bandwidth: f64,
}

fn print(bench: &Bench) {
    let Bench { cost, bandwidth } = bench;
    let share = |part: f64| part / cost.step_ms * 100.0;
    println!("{:.1} samples/s, {:.0} ms a step of {} samples", cost.samples_per_second, cost.step_ms, cost.batch);
    let parts = [
        ("data", cost.data_ms),
        ("forward", cost.forward_ms),
        ("backward", cost.backward_ms),
        ("optimiser", cost.optimizer_ms),
    ];
    for (name, ms) in parts {
        println!("  {name:10} {ms:8.1} ms  {:5.1} %", share(ms));
    }
    println!(
        "{:.1} GFLOP a step, {:.1} % of the {:.0} GFLOP/s that a large matrix product reaches here",
        cost.flops_per_step / 1e9,
        cost.utilisation * 100.0,
        cost.peak_flops / 1e9
    );
    let (products, memory) = (cost.flops_per_step / cost.peak_flops * 1e3, cost.bytes_per_step / bandwidth * 1e3);
    println!(
        "roofline: products {products:.0} ms, memory {memory:.1} ms ({:.1} GB/s); the step takes {:.2} times the longer",
        bandwidth / 1e9,
        cost.step_ms / products.max(memory)
    );
    if let Some(bytes) = cost.peak_memory {
        println!("peak memory {} MiB", bytes >> 20);
    }
    println!("operation            fused  composed");
    for row in coverage().iter().filter(|row| row.fused + row.composed > 0) {
        println!("  {:18} {:5}  {:8}", row.operation, row.fused, row.composed);
    }
}
