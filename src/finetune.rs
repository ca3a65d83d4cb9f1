use std::path::Path;

use burn::tensor::Device;
use sensorium_adapt::{AdaptRecipe, Adaptation, Adapted, Importance, Proposal, Request, importance, write_predictions};
use sensorium_report::{Page, Section, render};
use sensorium_state::{RunDirectory, StateError, commit};
use sensorium_train::{Display, Stop};
use serde::Serialize;

use crate::{
    Error, Examination, JudgedTable, documents,
    examination::{Divisions, held_out},
    guard::{Guard, Trade},
    judged::{column_section, fold_sections, importance_section},
    start_from,
};

/// How a fine-tuning ended.
pub enum FineTuning {
    /// All is written.
    Finished(Box<FineTuned>),
    /// A signal came; the state is saved, and the same call goes on from there.
    Interrupted {
        /// The signal's number.
        signal: i32,
    },
}

/// What a finished fine-tuning gives.
pub struct FineTuned {
    /// How well held-out cases are told.
    pub judged: JudgedTable,
    /// Which cases those are: `test`, `validation` or `cross-validation`.
    pub on: &'static str,
    /// What the model relies on.
    pub importance: Vec<Importance>,
    /// What was gained and what was forgotten, if a guard was asked for.
    pub trade: Option<Trade>,
}

/// What `judgement.json` holds.
#[derive(Serialize)]
struct Judged<'a> {
    #[serde(flatten)]
    judged: &'a JudgedTable,
    importance: &'a [Importance],
    #[serde(skip_serializing_if = "Option::is_none")]
    guard: Option<&'a Trade>,
}

/// Learns a label from a table, or goes on with the run that is in the directory, and writes
/// `model/` (of a cross-validation `fold-N/model`), `predictions.parquet`, `judgement.json` and
/// `report.html` there. `show` is called with the proposal before anything runs, `guarding`
/// with how much of how much of the guard is measured.
///
/// # Errors
/// If the table, the disk or the optimisation fail; the run directory then holds the last checkpoint.
pub fn finetune(
    request: Request,
    out: &Path,
    device: &Device,
    stop: &Stop,
    display: &mut dyn FnMut() -> Display,
    show: &mut dyn FnMut(&Proposal),
    guarding: &mut dyn FnMut(usize, usize),
) -> Result<FineTuning, Error> {
    let before = AdaptRecipe::of_run(out, &request)?;
    let mut proposal = match before.clone() {
        Some(recipe) => {
            let start = recipe.start.as_ref().map(|start| start_from(&start.model)).transpose()?;
            Proposal::resume(recipe, start, Path::new(""))?
        }
        None => {
            let start = request.from.as_deref().map(start_from).transpose()?;
            Proposal::new(request, start, Path::new(""))?
        }
    };
    show(&proposal);
    let divisions = Divisions::of(&proposal)?;
    let guard = match (&proposal.recipe.request.guard, proposal.start()) {
        (Some(config), Some((start, _))) => Some(Guard::open(config, start.model())?),
        _ => None,
    };
    let run = RunDirectory::open_or_create(out)?;
    let folds = divisions.sides.len();
    if before.is_none() {
        proposal.fit_time(&divisions.sides[0], folds, device)?;
    }
    proposal.recipe.keep(out)?;
    let mut models = Vec::new();
    let mut trade = None;
    for (number, sides) in divisions.sides.iter().enumerate() {
        let fold = (folds > 1).then(|| RunDirectory::open_or_create(&out.join(format!("fold-{}", number + 1))));
        let fold = fold.transpose()?;
        let documents = |adapted: &Adapted| documents::adapted(&proposal, adapted, sides);
        let adaptation = Adaptation { proposal: &proposal, sides, device, documents: &documents };
        match adaptation.run(fold.as_ref().unwrap_or(&run), stop.clone(), display())? {
            Ok(adapted) => {
                if let Some(guard) = &guard {
                    trade = guard.trade(&proposal, &adapted, &sides.validation, guarding)?;
                }
                models.push(adapted.model);
            }
            Err(signal) => return Ok(FineTuning::Interrupted { signal }),
        }
    }
    let new_to = |(model, sides)| Ok((model, proposal.data.choose(held_out(sides))?));
    let told: Vec<_> = models.iter().zip(&divisions.sides).map(new_to).collect::<Result<_, Error>>()?;
    let relied_on = importance(&told, &proposal.recipe.data.reading, proposal.seed())?;
    let mut examination = Examination::of_divisions(&proposal, &divisions, models);
    let judged = JudgedTable::new(&mut examination, &[], &[], &mut |_, _| {})?;
    write_predictions(&out.join("predictions.parquet"), &proposal.recipe.objective.task, &judged.predicted)?;
    let tuned = FineTuned { judged, on: divisions.on(), importance: relied_on, trade };
    finish(&proposal, out, &tuned, &examination, folds)?;
    Ok(FineTuning::Finished(Box::new(tuned)))
}

/// Writes what was found for machines and for people.
fn finish(
    proposal: &Proposal,
    out: &Path,
    tuned: &FineTuned,
    examination: &Examination,
    folds: usize,
) -> Result<(), Error> {
    let recipe = &proposal.recipe;
    let FineTuned { judged, on, importance, trade } = tuned;
    let json = serde_json::to_vec_pretty(&Judged { judged, importance, guard: trade.as_ref() });
    let json = json.map_err(|reason| StateError::Json { path: out.into(), reason })?;
    commit(&out.join("judgement.json"), &json)?;
    let mut sections = vec![Section::Prose {
        title: String::new(),
        text: match *on {
            "validation" => "These cases also decided when training ended and how sure answers are, so that the numbers \
                             are a little too good. `sensorium evaluate` on cases that were kept apart gives honest ones."
                .to_owned(),
            _ => "These cases were seen by no model that tells them here.".to_owned(),
        },
    }];
    sections.extend(judged.sections(&format!("On the {on} cases"), examination));
    sections.extend(importance_section(importance));
    sections.extend(trade.iter().flat_map(Trade::sections));
    sections.extend(fold_sections(out, folds)?);
    sections.push(column_section(&proposal.cases));
    let page = Page {
        title: format!("{} from {}", proposal.cases.label.name(), recipe.request.data.join(", ")),
        subtitle: proposal.cases.problem.to_string(),
        facts: documents::judged_facts(&judged.judgement),
        sections,
    };
    commit(&out.join("report.html"), render(&page).as_bytes())?;
    Ok(())
}
