//! One file a command.

pub mod bench;
pub mod check;
pub mod compare;
pub mod data;
pub mod embed;
pub mod evaluate;
pub mod explain;
pub mod export;
pub mod finetune;
pub mod forward;
pub mod generate;
pub mod import;
pub mod index;
pub mod predict;
pub mod pretrain;
mod question;
pub mod search;
pub mod serve;

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use burn::tensor::Device;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use sensorium::{
    ComputeType, Error, Recipe, Samples, adapt::AdaptError, retrieve::RetrieveError, samples::Dataset,
    serve::ServeError, train::TrainError,
};
use sensorium_model::ModelError;

pub use question::Question;

/// The largest integer of TOML, which the recipe is saved as.
const LARGEST_SEED: u64 = i64::MAX as u64;

/// A recipe and what overrides it.
#[derive(Args)]
pub struct RecipeArguments {
    /// A recipe, `configs/*.toml`
    pub recipe: PathBuf,
    /// Override a key of the recipe, e.g. `--set train.epochs=5` (may be repeated)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Override the recipe's seed
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=LARGEST_SEED))]
    pub seed: Option<u64>,
}

impl RecipeArguments {
    pub fn read(&self) -> Result<Recipe, Error> {
        let mut recipe = Recipe::read(&self.recipe, &self.overrides)?;
        recipe.seed = self.seed.unwrap_or(recipe.seed);
        Ok(recipe)
    }

    /// `runs/NAME` for `configs/NAME.toml`.
    pub fn default_run(&self) -> PathBuf {
        PathBuf::from("runs").join(self.recipe.file_stem().unwrap_or_default())
    }
}

/// Samples to read.
#[derive(Args)]
pub struct SampleArguments {
    /// Samples: files, a folder, a glob (`shards/{000..127}.tar`), or a recipe, whose held-out samples are taken
    #[arg(required = true)]
    data: Vec<String>,
    /// Read a field under another name, e.g. `--field text=caption` (may be repeated)
    #[arg(long = "field", value_name = "NEW=OLD", value_parser = renamed)]
    fields: Vec<(String, String)>,
}

impl SampleArguments {
    /// As given.
    pub fn names(&self) -> String {
        self.data.join(", ")
    }

    /// The files, folders or globs.
    pub fn paths(&self) -> &[String] {
        &self.data
    }

    /// Other samples, read with the same names of fields.
    pub fn others(&self, data: &[String]) -> Self {
        Self { data: data.to_vec(), fields: self.fields.clone() }
    }

    pub fn samples(&self) -> Samples {
        Samples { data: self.data.clone(), fields: self.fields.clone() }
    }

    pub fn open(&self) -> Result<Dataset, Error> {
        self.samples().open()
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}

/// `NEW=OLD`
fn renamed(text: &str) -> Result<(String, String), String> {
    let (new, old) = text.split_once('=').ok_or("expected NEW=OLD")?;
    Ok((new.to_owned(), old.to_owned()))
}

/// Where to compute.
#[derive(Args)]
pub struct DeviceArguments {
    /// auto, flex (CPU), and those that the build has: wgpu, vulkan, cuda, cuda:1 …
    #[arg(long, default_value = "auto")]
    device: String,
}

impl DeviceArguments {
    pub fn open(&self) -> Result<Device, Error> {
        sensorium::device(&self.device)
    }
}

/// Where and in which type an imported model is computed.
#[derive(Args)]
pub struct ComputeArguments {
    #[command(flatten)]
    device: DeviceArguments,
    /// The type that an imported model is computed in, whatever its file holds; on the CPU f32 is the fastest
    #[arg(long, default_value = "f32", value_parser = ["f32", "f16", "bf16"])]
    dtype: String,
}

impl ComputeArguments {
    /// The device for the model in this directory.
    pub fn open(&self, model: &Path) -> anyhow::Result<Device> {
        let compute = match self.dtype.as_str() {
            "f16" => ComputeType::F16,
            "bf16" => ComputeType::Bf16,
            _ => ComputeType::F32,
        };
        let imported = model.join("config.json").exists();
        anyhow::ensure!(
            imported || compute == ComputeType::F32,
            "--dtype: only imported models are computed in {}, `{}` is none",
            self.dtype,
            model.display()
        );
        Ok(sensorium::device_of(&self.device.device, compute)?)
    }
}

/// A bar for work that is not training; hidden where nobody looks.
pub fn progress_bar(what: &'static str, quiet: bool) -> impl FnMut(usize, usize) {
    let bar = if quiet || !std::io::stderr().is_terminal() { ProgressBar::hidden() } else { ProgressBar::new(0) };
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:24} {pos}/{len} {per_sec} {eta}") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    move |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        if done >= all {
            bar.finish_and_clear();
        }
    }
}

/// An error with its causes, but for those that it quotes already.
pub fn message(error: &anyhow::Error) -> String {
    let add = |text: String, cause: &dyn std::error::Error| match cause.to_string() {
        cause if text.contains(&cause) => text,
        cause => format!("{text}: {cause}"),
    };
    error.chain().fold(String::new(), |text, cause| if text.is_empty() { cause.to_string() } else { add(text, cause) })
}

/// 2 for wrong usage or a wrong recipe, 1 for a failed run.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let of_serve = error.downcast_ref::<ServeError>();
    let wrong =
        matches!(of_serve, Some(ServeError::NeedsKey { .. } | ServeError::Key { .. } | ServeError::Setting { .. }));
    if wrong || matches!(error.downcast_ref(), Some(RetrieveError::Options(_))) {
        return ExitCode::from(2);
    }
    match error.downcast_ref::<Error>() {
        Some(
            Error::Recipe(_)
            | Error::Train(TrainError::Config { .. })
            | Error::Device { .. }
            | Error::Usage(_)
            | Error::OtherModel { .. }
            | Error::NoLabel { .. }
            | Error::Prompts { .. }
            | Error::NoTexts
            | Error::Adapt(
                AdaptError::Cases(_)
                | AdaptError::Recipe(_)
                | AdaptError::Start { .. }
                | AdaptError::Train(TrainError::Config { .. })
                | AdaptError::NothingToRead { .. }
                | AdaptError::OtherRequest { .. }
                | AdaptError::OtherTable { .. },
            ),
        ) => ExitCode::from(2),
        Some(Error::Model(ModelError::Impossible { .. } | ModelError::NotJoint(_) | ModelError::Objective(_))) => {
            ExitCode::from(2)
        }
        _ => ExitCode::FAILURE,
    }
}
