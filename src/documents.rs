//! What is written beside a model for people and for machines.

use std::fmt::Write;

use sensorium_adapt::{Adapted, Judgement, Proposal};
use sensorium_cases::Sides;
use sensorium_model::{Model, Topology};
use sensorium_recipe::Recipe;
use sensorium_retrieve::RetrievalReport;
use sensorium_samples::Checksum;
use sensorium_state::parameter_count;
use serde_json::{Map, Value, json};

use crate::pretrain::Origin;

/// `card.md`: what the model is, what it was trained on, and what it reached.
pub(crate) fn card(recipe: &Recipe, model: &Model, data: &str, report: &RetrievalReport) -> String {
    let mut text = format!("# A Sensorium model\n\n{}. {} parameters.\n", subtitle(recipe), parameter_count(model));
    let _ = write!(text, "\n## Data\n\n{}\n", data.trim().replace("\n# ", "\n### ").trim_start_matches("# "));
    for (name, modality) in &model.preparation().modalities {
        for remark in modality.remarks() {
            let _ = writeln!(text, "* {name}: {remark}");
        }
    }
    text.push_str("\n## Retrieval on the held-out samples\n\n");
    text.push_str("| direction | R@1 | R@5 | R@10 | median rank | chance R@1 |\n|---|---|---|---|---|---|\n");
    for direction in &report.directions {
        let own = &direction.own_partner;
        let _ = writeln!(
            text,
            "| {} | {:.3} | {:.3} | {:.3} | {} | {:.4} |",
            direction.name(),
            own.recall_at_1,
            own.recall_at_5,
            own.recall_at_10,
            own.median_rank,
            own.chance
        );
    }
    text
}

/// `lineage.json`: where the model comes from.
pub(crate) fn lineage(recipe: &Recipe, steps: u64, origin: &Origin, report: &RetrievalReport) -> String {
    let checksum = |(name, checksum): &(&str, Checksum)| {
        let Checksum { samples, read, blake3 } = checksum;
        ((*name).to_owned(), json!({ "samples": samples, "checksum_of": read, "blake3": blake3 }))
    };
    let data: Map<String, Value> = origin.data.iter().map(checksum).collect();
    let lineage = json!({
        "started_from": origin.from,
        "steps": steps,
        "version": env!("CARGO_PKG_VERSION"),
        "recipe": recipe,
        "data": data,
        "measured": { "retrieval": report },
    });
    format!("{lineage:#}\n")
}

/// One line about a recipe.
pub(crate) fn subtitle(recipe: &Recipe) -> String {
    let names: Vec<&str> = recipe.modalities.keys().map(|name| &**name).collect();
    let topology = match recipe.model.topology {
        Topology::Shared { .. } => "one shared trunk",
        Topology::Towers { .. } => "a tower each",
        Topology::Fused { .. } => "a tower each and a joint trunk",
    };
    format!("{} through {topology}, seed {}", names.join(", "), recipe.seed)
}

/// The few numbers to know first.
pub(crate) fn facts(model: &Model, steps: u64, report: &RetrievalReport) -> Vec<(String, String)> {
    let mut facts =
        vec![("parameters".to_owned(), parameter_count(model).to_string()), ("steps".to_owned(), steps.to_string())];
    facts.extend(report.mean_recall_at_1().map(|mean| ("mean recall@1".to_owned(), format!("{mean:.3}"))));
    if let Some(direction) = report.directions.first() {
        facts.push(("held-out samples".to_owned(), direction.candidates.to_string()));
    }
    facts
}

/// `card.md` and `lineage.json` of a fine-tuned model.
pub(crate) fn adapted(proposal: &Proposal, adapted: &Adapted, sides: &Sides) -> [String; 2] {
    let recipe = &proposal.recipe;
    let names: Vec<&str> = recipe.modalities.keys().map(|name| &**name).collect();
    let mut card = format!(
        "# A Sensorium model\n\nTells `{}` ({}) from {}, any of which may be missing. {} parameters, \
         {} trained.\n\n## Data\n\n{}: \
         {} cases to learn from, {} to validate on, {} to test on.\n\n```\n{}```\n",
        proposal.cases.label.name(),
        proposal.cases.problem,
        names.join(", "),
        parameter_count(&adapted.model),
        adapted.trained,
        recipe.request.data.join(", "),
        sides.train.len(),
        sides.validation.len(),
        sides.test.len(),
        proposal.cases,
    );
    for warning in &proposal.cases.warnings {
        let _ = writeln!(card, "* {warning}");
    }
    if let (Some(start), Some(taken)) = (&recipe.start, &adapted.taken) {
        let new: Vec<&str> = taken.new.iter().map(|name| &**name).collect();
        let _ = write!(card, "\n## Start\n\n`{}`: {} tensors taken over", start.model.display(), taken.tensors.len());
        let _ = writeln!(card, "{}", if new.is_empty() { String::new() } else { format!("; new: {}", new.join(", ")) });
    }
    if let Some(best) = &adapted.best {
        let _ = writeln!(card, "\n## Held-out cases\n\n{} {:.4} at step {}.", best.metric, best.value, best.step);
    }
    let lineage = json!({
        "started_from": recipe.start.as_ref().map(|start| &start.model),
        "steps": adapted.steps,
        "trained_parameters": adapted.trained,
        "version": env!("CARGO_PKG_VERSION"),
        "recipe": recipe,
        "cases": { "train": sides.train.len(), "validation": sides.validation.len(), "test": sides.test.len() },
        "measured": { "best": adapted.best },
    });
    [card, format!("{lineage:#}\n")]
}

/// The few numbers to know first of predictions.
pub(crate) fn judged_facts(judgement: &Judgement) -> Vec<(String, String)> {
    let mut facts = vec![("cases".to_owned(), judgement.report.rows.to_string())];
    let known = judgement.report.measures.iter().filter_map(|measure| Some((measure.metric, measure.value?)));
    facts.extend(known.take(3).map(|(metric, value)| (metric.to_string(), format!("{value:.3}"))));
    facts
}
