use std::process::ExitCode;

use sensorium::{
    AnyModel, Classified, LabelledColumn, LabelledTable,
    retrieve::classify::{Neighbours, Vote},
};

use super::{
    Arguments,
    classes::{Asked, How},
};

pub fn run(arguments: &Arguments, model: &AnyModel) -> anyhow::Result<ExitCode> {
    let asked = Asked::new(arguments, model, None)?;
    let train = asked.train(arguments, model)?;
    let vote = Vote { k: arguments.classes.k as usize, ..Vote::default() };
    let against = match &train {
        Some(_) => "the samples of --train",
        None => "all other samples (those of the same key left out)",
    };
    let method = format!(
        "The {} nearest of {against} vote for their class, each with exp(cosine / {}) (Wu et al. 2018).",
        vote.k, vote.temperature
    );
    let names = train.as_ref().unwrap_or(&asked.labelled).classes();
    let how = How { task: "knn", title: "Nearest neighbours", method, names: names.clone() };
    // Labels that the voters do not know are counted as missed, not left out.
    let names = with_all(names, &asked.labelled);
    let how = How { names: names.clone(), ..how };
    let queries = asked.labelled.table.clone();
    asked.answer(arguments, model, how, |column| {
        let known = train.as_ref().map(|train| train.column(&column.modalities, &names)).transpose()?;
        let (voters, table) = match (&known, &train) {
            (Some(known), Some(train)) => (known, &train.table),
            _ => (&column, &queries),
        };
        let identities = table.identities(&voters.column);
        let own = known.is_none().then_some(&identities[..]);
        let neighbours = neighbours(voters, &identities, names.len());
        let probabilities = neighbours.vote(column.column.vectors.view(), own, vote);
        Classified::new(column, &names, probabilities, Vec::new())
    })
}

fn neighbours<'a>(voters: &'a LabelledColumn, identities: &'a [usize], count: usize) -> Neighbours<'a> {
    Neighbours { vectors: voters.column.vectors.view(), classes: &voters.classes, identities, count }
}

/// The classes, and after them those that only the judged samples have.
pub fn with_all(mut names: Vec<String>, labelled: &LabelledTable) -> Vec<String> {
    let more: Vec<String> = labelled.classes().into_iter().filter(|name| !names.contains(name)).collect();
    names.extend(more);
    names
}
