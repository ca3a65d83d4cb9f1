//! How fast samples are read: `cargo run --release -p sensorium-samples --example read_speed -- PATH...`

use std::{error::Error, path::Path, sync::Arc, time::Instant};

use sensorium_contract::{Preparation, Seed};
use sensorium_samples::{Dataset, LoaderConfig, Prepared, SourceConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let sources: Vec<SourceConfig> = std::env::args().skip(1).map(SourceConfig::new).collect();
    let start = Instant::now();
    let dataset = Dataset::open(&sources, Path::new("."))?;
    println!("opened {} samples in {:.1?}", dataset.len(), start.elapsed());
    dataset.description().iter().for_each(|description| println!("{description}"));
    let start = Instant::now();
    let sound = (0..dataset.len()).filter(|&index| dataset.read(index).is_ok()).count();
    println!("one thread: {:.0} samples/s, {sound} sound", dataset.len() as f64 / start.elapsed().as_secs_f64());
    let preparation = Arc::new(Preparation::default());
    for workers in [0, 1, 2] {
        let config = LoaderConfig { workers: Some(workers), cache_mb: 0, max_damaged: 1.0, ..Default::default() };
        let prepared = Prepared::new(dataset.clone(), preparation.clone(), config)?;
        let (order, seed) = (prepared.order(128, Seed::new(0)), Seed::new(0));
        let steps = 3 * order.steps_per_epoch();
        let (start, mut samples) = (Instant::now(), 0);
        for loaded in prepared.train(order, seed, 0..steps) {
            samples += loaded?.batch.len();
        }
        println!("{workers} workers, shuffled: {:.0} samples/s", samples as f64 / start.elapsed().as_secs_f64());
    }
    Ok(())
}
