use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use sensorium::{
    AnyModel, Error, answers_page,
    contract::Name,
    report::render,
    retrieve::{Index, index::Hit},
};
use sensorium_state::{checksum, commit};

use super::{DeviceArguments, Question};

#[derive(Args)]
pub struct Arguments {
    /// The model directory that the index's vectors were made with
    model: PathBuf,
    /// A directory that `index` wrote
    index: PathBuf,
    #[command(flatten)]
    question: Question,
    /// Modalities to answer with (default: all but those of the question)
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    to: Vec<String>,
    /// How many answers
    #[arg(short, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    k: u32,
    /// Compare with every vector instead of asking the graph
    #[arg(long)]
    exact: bool,
    /// Write a page with what was found
    #[arg(long, value_name = "HTML")]
    html: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArguments,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let device = arguments.device.open()?;
    let index = Index::open(&arguments.index)?;
    if let Some(origin) = index.origin()
        && origin.model != checksum(&arguments.model)?
    {
        return Err(Error::OtherModel { index: arguments.index, model: arguments.model }.into());
    }
    let model = AnyModel::open(&arguments.model, &device)?;
    let query = arguments.question.query(&model)?;
    let (asked, vector) = query.embed(&model)?;
    let to = targets(&index, &asked, &arguments.to);
    let hits = index.search(vector.view(), &to, arguments.k as usize, arguments.exact)?;
    match arguments.json {
        true => println!("{}", json(&hits)?),
        false => print(&hits),
    }
    if let Some(path) = &arguments.html {
        let (page, absent) = answers_page(&model, &index, &query, &asked, &hits)?;
        commit(path, render(&page).as_bytes())?;
        if absent > 0 {
            eprintln!("warning: {absent} of the items are not where they were embedded from; the page has their keys");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What was named, or all modalities but those of the question, or all if there are no others.
fn targets(index: &Index, asked: &[Name], named: &[String]) -> Vec<Name> {
    if !named.is_empty() {
        return named.iter().map(|name| Name::new(name)).collect();
    }
    let others: Vec<Name> = index.modalities().filter(|name| !asked.contains(name)).cloned().collect();
    if others.is_empty() { index.modalities().cloned().collect() } else { others }
}

fn json(hits: &[Hit]) -> serde_json::Result<String> {
    let hit = |hit: &Hit| {
        let Hit { key, modality, score, source } = hit;
        serde_json::json!({ "key": key, "modality": modality, "score": score, "source": source })
    };
    serde_json::to_string_pretty(&hits.iter().map(hit).collect::<Vec<_>>())
}

fn print(hits: &[Hit]) {
    let width = |of: fn(&Hit) -> &str, title: &str| {
        hits.iter().map(|hit| of(hit).chars().count()).chain([title.len()]).max().unwrap_or(0).min(60)
    };
    let (key, modality) = (width(|hit| &hit.key, "key"), width(|hit| &hit.modality, "modality"));
    println!("{:key$}  {:modality$}  {:>7}  source", "key", "modality", "score");
    for hit in hits {
        println!("{:key$}  {:modality$}  {:>7.3}  {}", hit.key, &*hit.modality, hit.score, hit.source);
    }
}
