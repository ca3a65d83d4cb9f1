//! Pictures for a sentence: `cargo run --release --example search -- runs/emoji/model samples.tar "red heart"`

use std::{path::Path, sync::Arc};

use sensorium::{
    contract::{Embedder, Name, Sample, Value},
    device, embed, load_model,
    retrieve::exact,
    samples::{Dataset, LoaderConfig, Prepared, SourceConfig},
};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, samples, words] = arguments.as_slice() else { anyhow::bail!("usage: search MODEL SAMPLES WORDS") };
    let model = load_model(Path::new(model), &device("auto")?)?;
    let samples = Dataset::open(&[SourceConfig::new(samples)], Path::new(""))?;
    let preparation = Arc::new(model.preparation().clone());
    let data = Prepared::new(samples, preparation.clone(), LoaderConfig::default())?;
    let table = embed(&model, &data, &mut |_, _| ())?;
    let fields = [("text".to_owned(), Value::Text(words.clone()))].into();
    let query = preparation.decode(&Sample { key: "query".into(), fields })?;
    let query = model.embed(&preparation.collate(vec![("query".into(), query)]));
    let images = table.column(&Name::new("image"))?;
    for neighbour in &exact::search(query[&Name::new("text")].vectors.view(), images.vectors.view(), 5)[0] {
        println!("{:.3}  {}", neighbour.score, table.keys()[images.rows[neighbour.row]]);
    }
    Ok(())
}
