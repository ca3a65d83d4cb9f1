use std::process::ExitCode;

use sensorium::{
    AnyModel, Error, Reading,
    contract::Name,
    embed,
    report::{Page, render},
    retrieval_sections,
    retrieve::{EmbeddingTable, RetrievalReport, retrieval, subsets},
};
use sensorium_state::commit;

use super::Arguments;

pub fn run(arguments: &Arguments, model: &AnyModel) -> anyhow::Result<ExitCode> {
    let data = arguments.prepared(model)?;
    let table = embed(model, &data, &mut arguments.progress())?;
    let absent = absent(model, &table);
    let report = RetrievalReport { several: subsets(&table), ..retrieval(&table) };
    let report = arguments.classes.of_subsets(report)?;
    anyhow::ensure!(
        !report.directions.is_empty(),
        "no sample has two of the model's modalities; none has {}",
        absent.join(", ")
    );
    absent.iter().for_each(|modality| eprintln!("warning: no sample has the modality {modality}"));
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => println!("{report}"),
    }
    if let Some(path) = &arguments.report {
        let page = Page {
            title: "Retrieval".to_owned(),
            subtitle: arguments.subtitle(),
            facts: Vec::from_iter(
                report.mean_recall_at_1().map(|mean| ("mean recall@1".to_owned(), format!("{mean:.3}"))),
            ),
            sections: retrieval_sections(&model.readings(), data.dataset(), &table, &report)?,
        };
        commit(path, render(&page).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Judges vectors that were embedded before.
pub fn stored(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let path = &arguments.model;
    if !arguments.samples.is_empty() || arguments.report.is_some() {
        let problem = "stored vectors are judged alone: neither samples nor --report go with them";
        return Err(Error::Usage(problem.to_owned()).into());
    }
    let table = EmbeddingTable::read(path)?;
    let report = RetrievalReport { several: subsets(&table), ..retrieval(&table) };
    anyhow::ensure!(!report.directions.is_empty(), "`{}`: no key has vectors of two modalities", path.display());
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => println!("{report}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The model's modalities that no sample has, and that so go unjudged.
fn absent(model: &AnyModel, table: &EmbeddingTable) -> Vec<String> {
    let readings = model.readings();
    let absent = readings.iter().filter(|(name, _)| !table.modalities().any(|found| found == *name));
    let say = |(name, reading): (&Name, &Reading)| match &reading.field {
        Some(field) => format!("`{name}` (field `{field}`; `--field {field}=OTHER` reads another)"),
        None => format!("`{name}`"),
    };
    absent.map(say).collect()
}
