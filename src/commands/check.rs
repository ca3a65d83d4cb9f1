use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::Args;
use sensorium::{Pipeline, contract::Pass, measure_evaluation, measure_steps, peak_memory};
use sensorium_state::export;
use serde::Serialize;

use super::{DeviceArguments, RecipeArguments, progress_bar};

/// Least number of steps of the dry run that times are read off.
const DRY_STEPS: usize = 4;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    #[command(flatten)]
    device: DeviceArguments,
    /// Where a built-in set is kept
    #[arg(long, default_value = "runs/check")]
    data: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// What a recipe would do.
#[derive(Serialize)]
struct Plan {
    samples: usize,
    held_out_samples: usize,
    sources: Vec<String>,
    passes: Vec<String>,
    parameters: BTreeMap<String, usize>,
    parameters_in_all: usize,
    steps: u64,
    steps_per_epoch: u64,
    flops_per_step: f64,
    seconds_per_step: f64,
    evaluations: u64,
    seconds_per_evaluation: f64,
    seconds_in_all: f64,
    memory: Option<u64>,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let recipe = arguments.recipe.read()?;
    recipe.train.check()?;
    let device = arguments.device.open()?;
    let pipeline =
        Pipeline::open(recipe, &arguments.data, &device, &mut progress_bar("writing samples", arguments.json))?;
    let plan = plan(&pipeline, &device)?;
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&plan)?),
        false => print(&plan),
    }
    Ok(ExitCode::SUCCESS)
}

fn plan(pipeline: &Pipeline, device: &burn::tensor::Device) -> anyhow::Result<Plan> {
    let recipe = &pipeline.recipe;
    let order = pipeline.train.order(recipe.train.batch, recipe.root_seed());
    let steps_per_epoch = order.steps_per_epoch();
    let steps = recipe.train.total_steps(steps_per_epoch)?;
    let mut parameters = BTreeMap::new();
    for tensor in export(&pipeline.model) {
        let part = part(&tensor.name, pipeline);
        *parameters.entry(part).or_default() += tensor.values.len();
    }
    let cost = measure_steps(pipeline, device, DRY_STEPS)?;
    let seconds_per_evaluation = measure_evaluation(pipeline)?;
    let evaluations = steps.div_ceil(recipe.train.evaluation_interval(steps, steps_per_epoch));
    let sources = [&pipeline.train, &pipeline.validation].into_iter().flat_map(|data| data.dataset().description());
    Ok(Plan {
        samples: pipeline.train.dataset().len(),
        held_out_samples: pipeline.validation.dataset().len(),
        sources: sources.map(|source| source.to_string()).collect(),
        passes: pipeline.model.passes().iter().map(Pass::to_string).collect(),
        parameters_in_all: parameters.values().sum(),
        parameters,
        steps,
        steps_per_epoch,
        flops_per_step: cost.flops_per_step,
        seconds_per_step: cost.step_ms / 1e3,
        evaluations,
        seconds_per_evaluation,
        seconds_in_all: cost.step_ms / 1e3 * steps as f64 + seconds_per_evaluation * evaluations as f64,
        memory: peak_memory(),
    })
}

/// `encoders.0.patch.weight` is of `encoder image`, `trunks…` of `trunks`.
fn part(parameter: &str, pipeline: &Pipeline) -> String {
    let mut words = parameter.split('.');
    let first = words.next().unwrap_or_default();
    let number = words.next().and_then(|word| word.parse::<usize>().ok());
    let name = number.and_then(|number| pipeline.model.preparation().modalities.keys().nth(number));
    match (first, name) {
        ("encoders", Some(name)) => format!("encoder {name}"),
        ("projections", Some(name)) => format!("projection {name}"),
        _ => first.to_owned(),
    }
}

fn print(plan: &Plan) {
    println!("data        {} samples, {} held out", plan.samples, plan.held_out_samples);
    for source in &plan.sources {
        println!("  {}", source.replace('\n', "\n  "));
    }
    println!("passes      {}", plan.passes.join("; "));
    println!("parameters  {}", plan.parameters_in_all);
    for (part, count) in &plan.parameters {
        println!("  {part:20} {count:>12}");
    }
    println!("steps       {} ({} an epoch)", plan.steps, plan.steps_per_epoch);
    println!("FLOPs       {:.1} GFLOP a step", plan.flops_per_step / 1e9);
    println!(
        "time        {:.2} s a step, {} evaluations of {:.1} s, {:.0} s in all (from a dry run on this device)",
        plan.seconds_per_step, plan.evaluations, plan.seconds_per_evaluation, plan.seconds_in_all
    );
    if let Some(memory) = plan.memory {
        println!("memory      {} MiB at most", memory >> 20);
    }
}
