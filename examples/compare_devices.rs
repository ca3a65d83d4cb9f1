//! Computes loss and gradients of one batch on two devices, and says how far they are apart.
//!
//! ```text
//! cargo run --release --features wgpu --example compare_devices -- configs/emoji.toml flex wgpu --set train.batch=8
//! ```
//! Weights, masks and augmentation are drawn on the host, so both devices are given the same numbers.
//! The end is an error if a loss, or the gradient of a parameter, differs by more than a thousandth.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use anyhow::{Context, ensure};
use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};
use clap::Parser;
use sensorium::{
    Model, Pipeline, Recipe,
    contract::{Batch, StepContext, Trainable},
    device,
};
use sensorium_kernels::{Fusion, set_fusion};

/// The largest relative difference that rounding explains.
const TOLERANCE: f64 = 1e-3;
/// A gradient this much smaller than the whole is itself little but rounding.
const NEGLIGIBLE: f64 = 1e-6;
/// So many leading names of a parameter's path say which part of the model it belongs to.
const PART_NAMES: usize = 2;

/// Compare the loss and the gradients of one batch on two devices
#[derive(Parser)]
struct Arguments {
    /// A recipe, `configs/*.toml`
    recipe: PathBuf,
    /// The device to trust
    first: String,
    /// The device to check
    second: String,
    /// Override a key of the recipe (may be repeated)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Compose the second device's operations of Burn's own, as other devices than the CPU do
    #[arg(long)]
    composed: bool,
    /// Where a built-in set is kept
    #[arg(long, default_value = "runs/compare")]
    data: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let recipe = Recipe::read(&arguments.recipe, &arguments.overrides)?;
    let (first, second) = (device(&arguments.first)?, device(&arguments.second)?);
    let open = |device| Pipeline::open(recipe.clone(), &arguments.data, device, &mut |_, _| ());
    let (first, second) = (open(&first)?, open(&second)?);
    let context = StepContext { seed: recipe.root_seed(), step: 0 };
    let order = first.train.order(recipe.train.batch, context.seed.named("order"));
    let batch = first.train.train(order, context.seed, 0..1).next().context("the recipe has no data")??.batch;
    let first = compute(&arguments.first, &first.model, &batch, context);
    if arguments.composed {
        set_fusion(Fusion::Off);
    }
    let second = compute(&arguments.second, &second.model, &batch, context);
    let (losses, gradients) = (compare_losses(&first, &second)?, compare_gradients(&first, &second)?);
    // Written so that NaN is no agreement.
    ensure!(losses <= TOLERANCE && gradients <= TOLERANCE, "{} and {} disagree", arguments.first, arguments.second);
    println!("{} and {} agree within {TOLERANCE:e}", arguments.first, arguments.second);
    Ok(())
}

/// What one device made of the batch.
struct Computed {
    /// By name; the weighted sum is the last.
    losses: Vec<(String, f64)>,
    /// By the parameter's path.
    gradients: BTreeMap<String, Vec<f32>>,
}

fn compute(name: &str, model: &Model, batch: &Batch, context: StepContext) -> Computed {
    let start = Instant::now();
    let step = model.gradients(std::slice::from_ref(batch), context);
    let total = step.loss.total().map(|value| ("total".to_owned(), value));
    let parts = step.loss.parts.into_iter().map(|part| (part.name, part.value));
    let losses = parts.chain(total).map(|(name, value)| (name, value.into_scalar::<f64>())).collect();
    let mut reader = Reader { left: step.gradients, path: Vec::new(), read: BTreeMap::new() };
    model.visit(&mut reader);
    let on = model.projections[0].weight.device();
    println!("{name}: {} samples in {:.1} s on {on:?}", batch.len(), start.elapsed().as_secs_f64());
    Computed { losses, gradients: reader.read }
}

/// Brings gradients to the host.
struct Reader {
    left: GradientsParams,
    path: Vec<String>,
    read: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for Reader {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.left.remove::<D>(param.id) {
            self.read.insert(self.path.join("."), gradient.into_data().iter::<f32>().collect());
        }
    }
}

/// Prints each loss, and returns the largest relative difference.
fn compare_losses(first: &Computed, second: &Computed) -> anyhow::Result<f64> {
    ensure!(first.losses.len() == second.losses.len(), "the devices computed different losses");
    println!("\n{:44} {:>12} {:>12} {:>10}", "loss", "first", "second", "difference");
    let mut differences = Vec::new();
    for ((name, a), (_, b)) in first.losses.iter().zip(&second.losses) {
        let difference = (a - b).abs() / a.abs().max(f64::MIN_POSITIVE);
        println!("{name:44} {a:12.6} {b:12.6} {difference:10.1e}");
        differences.push((difference, name.as_str()));
    }
    Ok(largest(&differences).0)
}

/// Prints the largest difference in each part of the model, relative to the tensor's norm, and
/// returns the largest of all.
fn compare_gradients(first: &Computed, second: &Computed) -> anyhow::Result<f64> {
    let (a, b) = (&first.gradients, &second.gradients);
    ensure!(a.keys().eq(b.keys()), "the devices computed gradients of different parameters");
    let whole = a.values().map(|gradient| norm(gradient).powi(2)).sum::<f64>().sqrt();
    let mut parts: BTreeMap<String, Vec<(f64, &str)>> = BTreeMap::new();
    for (path, a) in a {
        let distance: Vec<f32> = a.iter().zip(&b[path]).map(|(a, b)| a - b).collect();
        let difference = norm(&distance) / norm(a).max(NEGLIGIBLE * whole);
        let part = path.split('.').take(PART_NAMES).collect::<Vec<_>>().join(".");
        parts.entry(part).or_default().push((difference, path));
    }
    println!("\n{:34} {:>7} {:>10}   where", "gradients of", "tensors", "difference");
    for (part, differences) in &parts {
        let (difference, path) = largest(differences);
        println!("{part:34} {:7} {difference:10.1e}   {path}", differences.len());
    }
    println!("norm of all: {whole:.6}\n");
    Ok(largest(&parts.into_values().flatten().collect::<Vec<_>>()).0)
}

/// The largest difference, and where; NaN is larger than all numbers.
fn largest<'a>(differences: &[(f64, &'a str)]) -> (f64, &'a str) {
    let without_sign = differences.iter().map(|(difference, place)| (difference.abs(), *place));
    without_sign.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::NAN, "nothing was computed"))
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}
