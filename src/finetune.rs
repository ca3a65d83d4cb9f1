use std::{collections::BTreeSet, path::Path};

use burn::tensor::Device;
use sensorium_adapt::{
    AdaptRecipe, Adaptation, Adapted, Importance, Judgement, Predicted, Predictor, Proposal, Request, importance,
    judge_cases, write_predictions,
};
use sensorium_cases::{Case, CasesError, Sides, deal, sides};
use sensorium_metrics::Report;
use sensorium_model::Model;
use sensorium_report::{Page, Section, metric_sections, render};
use sensorium_samples::Dataset;
use sensorium_state::{RunDirectory, StateError, commit};
use sensorium_train::{Display, Stop};
use serde::Serialize;

use crate::{
    Error, documents,
    guard::{Guard, Trade},
    judged::{column_section, fold_sections, importance_section, mistakes_section},
    readings, start_from,
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
    pub judgement: Judgement,
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
    report: &'a Report,
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
    let divisions = divisions(&proposal)?;
    let guard = match (&proposal.recipe.request.guard, proposal.start()) {
        (Some(config), Some((start, _))) => Some(Guard::open(config, start.model())?),
        _ => None,
    };
    let run = RunDirectory::open_or_create(out)?;
    if before.is_none() {
        proposal.fit_time(&divisions[0], divisions.len(), device)?;
    }
    proposal.recipe.keep(out)?;
    let on = match (divisions.len(), divisions[0].test.is_empty()) {
        (1, true) => "validation",
        (1, false) => "test",
        _ => "cross-validation",
    };
    let mut predicted = Vec::new();
    let mut models = Vec::new();
    let mut trade = None;
    let mut relied_on = Vec::new();
    for (number, sides) in divisions.iter().enumerate() {
        let fold =
            (divisions.len() > 1).then(|| RunDirectory::open_or_create(&out.join(format!("fold-{}", number + 1))));
        let fold = fold.transpose()?;
        let held_out = if sides.test.is_empty() { &sides.validation } else { &sides.test };
        let judge = |adapted: &Adapted| answers(&proposal, vec![adapted.model.clone()], held_out);
        let documents = |adapted: &Adapted| documents::adapted(&proposal, adapted, sides);
        let adaptation = Adaptation { proposal: &proposal, sides, device, documents: &documents };
        match adaptation.run(fold.as_ref().unwrap_or(&run), stop.clone(), display())? {
            Ok(adapted) => {
                predicted.extend(judge(&adapted)?);
                if let Some(guard) = &guard {
                    trade = guard.trade(&proposal, &adapted, &sides.validation, guarding)?;
                }
                if number == 0 {
                    let table = proposal.data.choose(held_out)?;
                    relied_on = importance(&adapted.model, &proposal.recipe.data.reading, &table, proposal.seed())?;
                }
                models.push(adapted.model);
            }
            Err(signal) => return Ok(FineTuning::Interrupted { signal }),
        }
    }
    let (folds, apart) = (divisions.len(), kept_apart(&proposal)?);
    let on = match folds > 1 && !apart.is_empty() {
        true => {
            predicted = answers(&proposal, models, &apart)?;
            "test"
        }
        false => on,
    };
    let recipe = &proposal.recipe;
    let judgement = judge_cases(&recipe.objective, &predicted, &proposal.data, &[])?;
    write_predictions(&out.join("predictions.parquet"), &recipe.objective.task, &predicted)?;
    let tuned = FineTuned { judgement, on, importance: relied_on, trade };
    finish(&proposal, out, &tuned, folds)?;
    Ok(FineTuning::Finished(Box::new(tuned)))
}

/// Who is on which side: once, or once a fold.
fn divisions(proposal: &Proposal) -> Result<Vec<Sides>, Error> {
    let (cases, seed) = (&proposal.cases, proposal.seed());
    let share = proposal.recipe.data.validation_share;
    let divide =
        |chosen: &[Case]| sides(chosen, &cases.problem, share, seed).map_err(sensorium_adapt::AdaptError::from);
    let Some(folds) = proposal.recipe.request.folds else { return Ok(vec![divide(&cases.cases)?]) };
    let apart: BTreeSet<usize> = kept_apart(proposal)?.into_iter().collect();
    let labelled = cases.cases.iter().filter(|case| case.label.is_some() && !apart.contains(&case.index));
    let labelled: Vec<&Case> = labelled.collect();
    if folds < 2 || folds > labelled.len() {
        let problem = format!("expected 2 to {} folds, found {folds}", labelled.len());
        return Err(sensorium_adapt::AdaptError::from(CasesError::Option { option: "--folds", problem }).into());
    }
    let dealt = deal(&labelled, &cases.problem, folds, seed.named("folds"));
    let fold = |fold: usize| {
        let of = |is: bool| labelled.iter().zip(&dealt).filter(move |(_, own)| (**own == fold) == is);
        let rest: Vec<Case> = of(false).map(|(case, _)| (*case).clone()).collect();
        Ok(Sides { test: of(true).map(|(case, _)| case.index).collect(), ..divide(&rest)? })
    };
    (0..folds).map(fold).collect()
}

/// The cases that a split column keeps for testing.
fn kept_apart(proposal: &Proposal) -> Result<Vec<usize>, Error> {
    if proposal.recipe.request.split.is_none() {
        return Ok(Vec::new());
    }
    let share = proposal.recipe.data.validation_share;
    let sides = sides(&proposal.cases.cases, &proposal.cases.problem, share, proposal.seed());
    Ok(sides.map_err(sensorium_adapt::AdaptError::from)?.test)
}

/// Answers to the cases of these numbers, averaged over the models.
fn answers(proposal: &Proposal, models: Vec<Model>, cases: &[usize]) -> Result<Vec<Predicted>, Error> {
    let mut predictor = Predictor::of(models, proposal.recipe.data.reading.clone());
    let table: Dataset = proposal.data.choose(cases)?;
    let predicted = predictor.predict(&table, &[], &mut |_, _| {})?;
    Ok(predicted.into_iter().map(|row| Predicted { index: cases[row.index], ..row }).collect())
}

/// Writes what was found for machines and for people.
fn finish(proposal: &Proposal, out: &Path, tuned: &FineTuned, models: usize) -> Result<(), Error> {
    let recipe = &proposal.recipe;
    let FineTuned { judgement, on, importance, trade } = tuned;
    let judged = Judged { report: &judgement.report, importance, guard: trade.as_ref() };
    let json = serde_json::to_vec_pretty(&judged);
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
    sections.extend(metric_sections(&format!("On the {on} cases"), &judgement.report));
    sections.extend(importance_section(importance));
    sections.extend(trade.iter().flat_map(Trade::sections));
    sections.extend(mistakes_section(&readings(&recipe.modalities), &proposal.data, &judgement.mistakes));
    sections.extend(fold_sections(out, models)?);
    sections.push(column_section(&proposal.cases));
    let page = Page {
        title: format!("{} from {}", proposal.cases.label.name(), recipe.request.data.join(", ")),
        subtitle: proposal.cases.problem.to_string(),
        facts: documents::judged_facts(judgement),
        sections,
    };
    commit(&out.join("report.html"), render(&page).as_bytes())?;
    Ok(())
}
