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
    module::{ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};
use clap::Parser;
use sensorium::{
    Model, Pipeline, Recipe,
    contract::{Batch, StepContext, Trainable},
    device,
};

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
    /// Where a built-in set is kept
    #[arg(long, default_value = "runs/compare")]
    data: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let recipe = Recipe::read(&arguments.recipe, &arguments.overrides)?;
    let open = |name: &str| Pipeline::open(recipe.clone(), &arguments.data, &device(name)?, &mut |_, _| ());
    let (first, second) = (open(&arguments.first)?, open(&arguments.second)?);
    let context = StepContext { seed: recipe.root_seed(), step: 0 };
    let order = first.train.order(recipe.train.batch, context.seed.named("order"));
    let batch = first.train.train(order, context.seed, 0..1).next().context("the recipe has no data")??.batch;
    let first = compute(&arguments.first, &first.model, &batch, context);
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
    burn::module::Module::visit(model, &mut reader);
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
    let mut worst = 0.0;
    for ((name, a), (_, b)) in first.losses.iter().zip(&second.losses) {
        let difference = (a - b).abs() / a.abs().max(f64::MIN_POSITIVE);
        println!("{name:44} {a:12.6} {b:12.6} {difference:10.1e}");
        worst = larger(worst, difference);
    }
    Ok(worst)
}

/// Prints the largest difference in each part of the model, relative to the tensor's norm, and
/// returns the largest of all.
fn compare_gradients(first: &Computed, second: &Computed) -> anyhow::Result<f64> {
    let (a, b) = (&first.gradients, &second.gradients);
    ensure!(a.keys().eq(b.keys()), "the devices computed gradients of different parameters");
    let whole = a.values().map(|gradient| norm(gradient).powi(2)).sum::<f64>().sqrt();
    let mut parts: BTreeMap<String, (f64, &str, usize)> = BTreeMap::new();
    for (path, a) in a {
        let distance: Vec<f32> = a.iter().zip(&b[path]).map(|(a, b)| a - b).collect();
        let difference = norm(&distance) / norm(a).max(NEGLIGIBLE * whole);
        let part = path.split('.').take(PART_NAMES).collect::<Vec<_>>().join(".");
        let part = parts.entry(part).or_insert((-1.0, path, 0));
        let worst = larger(part.0, difference);
        *part = (worst, if worst == part.0 { part.1 } else { path }, part.2 + 1);
    }
    println!("\n{:34} {:>7} {:>10}   where", "gradients of", "tensors", "difference");
    for (part, (worst, path, count)) in &parts {
        println!("{part:34} {count:7} {worst:10.1e}   {path}");
    }
    println!("norm of all: {whole:.6}\n");
    Ok(parts.values().fold(0.0, |worst, part| larger(worst, part.0)))
}

/// As `f64::max`, but NaN is the largest of all.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a >= b { a } else { b }
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}
