use std::process::ExitCode;

use sensorium::{
    Error, JudgedTable,
    adapt::{AdaptError, Predictor, Reading},
    report::{Page, render},
};
use sensorium_state::commit;

use super::Arguments;
use crate::commands::progress_bar;

/// Judges a fine-tuned model on a table with labels.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let device = arguments.compute.open(&arguments.model)?;
    let open = || -> Result<_, AdaptError> {
        let predictor = Predictor::open(&arguments.model, &device)?;
        Ok((predictor, Reading::open(arguments.samples.paths(), "".as_ref())?))
    };
    let (mut predictor, table) = open().map_err(Error::from)?;
    let judged = JudgedTable::new(&mut predictor, &table, &arguments.by, &mut progress_bar("telling", false))?;
    judged.remarks.iter().for_each(|remark| eprintln!("warning: {remark}"));
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&judged.judgement.report)?),
        false => println!("{judged}"),
    }
    if let Some(path) = &arguments.report {
        let page = Page {
            title: predictor.config().label.clone(),
            subtitle: format!("{} on {}", arguments.model.display(), arguments.samples.names()),
            facts: vec![("cases".to_owned(), judged.judgement.report.rows.to_string())],
            sections: judged.sections("How well cases are told", &predictor, &table),
        };
        commit(path, render(&page).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
