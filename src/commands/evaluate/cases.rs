use std::process::ExitCode;

use sensorium::{
    Error, Examination, JudgedTable,
    adapt::{AdaptError, Predictor},
    report::{Page, render},
};
use sensorium_state::commit;

use super::Arguments;
use crate::commands::progress_bar;

/// Judges a fine-tuned model on a table with labels, or without one on the cases that its run kept from it.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let device = arguments.compute.open(&arguments.model)?;
    let (mut examination, on) = match arguments.samples.is_empty() {
        true => {
            let (examination, on) = Examination::of_run(&arguments.model, &device)?;
            (examination, format!("the {on} cases"))
        }
        false => {
            let open = || -> Result<_, AdaptError> {
                let predictor = Predictor::open(&arguments.model, &device)?;
                let table = predictor.reading().open(arguments.samples.paths())?;
                table.warning.iter().for_each(|warning| eprintln!("warning: {warning}"));
                Ok(Examination::of_table(predictor, table.data))
            };
            (open().map_err(Error::from)?, arguments.samples.names())
        }
    };
    let mut progress = progress_bar("telling", arguments.quiet);
    let subsets = &arguments.classes.subsets;
    let judged = JudgedTable::new(&mut examination, &arguments.by, subsets, &mut progress)?;
    judged.remarks.iter().for_each(|remark| eprintln!("warning: {remark}"));
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&judged)?),
        false if arguments.samples.is_empty() => println!("On {on}:\n{judged}"),
        false => println!("{judged}"),
    }
    if let Some(path) = &arguments.report {
        let page = Page {
            title: examination.predictor().config().label.clone(),
            subtitle: format!("{} on {on}", arguments.model.display()),
            facts: vec![("cases".to_owned(), judged.judgement.report.rows.to_string())],
            sections: judged.sections("How well cases are told", &examination),
        };
        commit(path, render(&page).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
