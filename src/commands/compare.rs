use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;
use sensorium::retrieve::RetrievalReport;

#[derive(Args)]
pub struct Arguments {
    /// Run directories that are finished, e.g. those of several seeds
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut recalls: BTreeMap<String, Vec<[f64; 3]>> = BTreeMap::new();
    for run in &arguments.runs {
        let path = run.join("retrieval.json");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("{}: is the run finished?", path.display()))?;
        let report: RetrievalReport = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        for direction in report.directions {
            let own = direction.own_partner;
            let recall = [own.recall_at_1, own.recall_at_5, own.recall_at_10];
            recalls.entry(direction.name()).or_default().push(recall);
        }
    }
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&recalls)?),
        false => print(&recalls),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(recalls: &BTreeMap<String, Vec<[f64; 3]>>) {
    let width = recalls.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    println!("{:width$}  mean @1 / @5 / @10       each run's @1", "own partner");
    for (name, runs) in recalls {
        let mean = |k: usize| runs.iter().map(|run| run[k]).sum::<f64>() / runs.len() as f64;
        let each: Vec<String> = runs.iter().map(|run| format!("{:.3}", run[0])).collect();
        println!("{name:width$}  {:.3} / {:.3} / {:.3}    {}", mean(0), mean(1), mean(2), each.join(" "));
    }
}
