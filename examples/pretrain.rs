//! Pretrains a recipe: `cargo run --release --example pretrain -- configs/emoji.toml runs/example`

use std::path::Path;

use sensorium::{
    Pipeline, Pretraining, Recipe, device, pretrain,
    train::{Display, Stop},
};
use sensorium_state::RunDirectory;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, recipe, out] = arguments.as_slice() else { anyhow::bail!("usage: pretrain RECIPE OUT") };
    let recipe = Recipe::read(Path::new(recipe), &[])?;
    let run = RunDirectory::open_or_create(Path::new(out))?;
    let pipeline = Pipeline::open(recipe, &run.path().join("data"), &device("auto")?, &mut |_, _| {})?;
    if let Pretraining::Finished(trained) = pretrain(pipeline, &run, Stop::on_signals()?, Display::auto())? {
        println!("{}", trained.retrieval);
    }
    Ok(())
}
