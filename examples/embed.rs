//! Embeds files: `cargo run --release --example embed -- runs/emoji/model samples.tar`

use std::{path::Path, sync::Arc};

use sensorium::{
    device, embed, load_model,
    samples::{Dataset, LoaderConfig, Prepared, SourceConfig},
};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, samples] = arguments.as_slice() else { anyhow::bail!("usage: embed MODEL SAMPLES") };
    let model = load_model(Path::new(model), &device("auto")?)?;
    let samples = Dataset::open(&[SourceConfig::new(samples)], Path::new(""))?;
    let data = Prepared::new(samples, Arc::new(model.preparation().clone()), LoaderConfig::default())?;
    let table = embed(&model, &data, &mut |_, _| ())?;
    for modality in table.modalities() {
        let column = table.column(modality)?;
        println!("{modality}: {} vectors of {} numbers", column.vectors.nrows(), column.vectors.ncols());
    }
    Ok(())
}
