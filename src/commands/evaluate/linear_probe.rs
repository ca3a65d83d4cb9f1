use std::process::ExitCode;

use ndarray::Array2;
use sensorium::{
    AnyModel, Classified, Error, LabelledColumn, LabelledTable,
    contract::Seed,
    metrics::fold,
    retrieve::classify::{Labelled, Probe, Swept, best_penalty},
};

use super::{
    Arguments,
    classes::{Asked, How},
    knn::with_all,
};

/// Parts that samples are dealt into by their keys.
const FOLDS: usize = 5;

pub fn run(arguments: &Arguments, model: &AnyModel) -> anyhow::Result<ExitCode> {
    let asked = Asked::new(arguments, model, None)?;
    let train = asked.train(arguments, model)?;
    let from = match &train {
        Some(_) => "fitted to the samples of --train".to_owned(),
        None => format!("fitted {FOLDS} times, each time to the other {} fifths of the samples, by key", FOLDS - 1),
    };
    let method = format!(
        "Multinomial logistic regression on the vectors as they are, {from}. The strength of the L2 penalty is the \
         one of the least log loss on a fifth of what it is fitted to."
    );
    let names = with_all(train.as_ref().unwrap_or(&asked.labelled).classes(), &asked.labelled);
    let how = How { task: "linear-probe", title: "Linear probe", method, names: names.clone() };
    let keys = asked.labelled.table.keys().to_vec();
    asked.answer(arguments, model, how, |column| {
        let (probabilities, swept) = match &train {
            Some(train) => with_train(train, &column, &names)?,
            None => in_folds(&column, &folds(&column, &keys), names.len()),
        };
        Classified::new(column, &names, probabilities, swept)
    })
}

fn with_train(
    train: &LabelledTable,
    column: &LabelledColumn,
    names: &[String],
) -> Result<(Array2<f64>, Vec<Swept>), Error> {
    let known = train.column(&column.modalities, names)?;
    let folds = folds(&known, train.table.keys());
    let data = Labelled::new(known.column.vectors.view(), known.classes);
    let (probe, swept) = fitted(&data, &folds, 0, names.len());
    Ok((probe.probabilities(Labelled::new(column.column.vectors.view(), Vec::new()).vectors.view()), swept))
}

/// Each fold by a probe that was fitted to the others. What was swept is that of the first.
fn in_folds(column: &LabelledColumn, folds: &[usize], classes: usize) -> (Array2<f64>, Vec<Swept>) {
    let data = Labelled::new(column.column.vectors.view(), column.classes.clone());
    let mut probabilities = Array2::zeros((data.classes.len(), classes));
    let mut first = Vec::new();
    for fold in 0..FOLDS {
        let (inside, outside): (Vec<usize>, Vec<usize>) = (0..folds.len()).partition(|&row| folds[row] == fold);
        let others: Vec<usize> = outside.iter().map(|&row| folds[row]).collect();
        let (probe, swept) = fitted(&data.select(&outside), &others, (fold + 1) % FOLDS, classes);
        let found = probe.probabilities(data.select(&inside).vectors.view());
        inside.iter().zip(found.outer_iter()).for_each(|(&row, found)| probabilities.row_mut(row).assign(&found));
        if fold == 0 {
            first = swept;
        }
    }
    (probabilities, first)
}

/// A probe on all rows, with the penalty that does best on one fold when fitted to the others.
fn fitted(data: &Labelled, folds: &[usize], held_out: usize, classes: usize) -> (Probe, Vec<Swept>) {
    let (inside, outside): (Vec<usize>, Vec<usize>) = (0..folds.len()).partition(|&row| folds[row] == held_out);
    let swept = Probe::sweep(&data.select(&outside), &data.select(&inside), classes);
    (Probe::fit(data, classes, best_penalty(&swept)), swept)
}

/// The fold of each row, a function of the sample's key alone.
fn folds(column: &LabelledColumn, keys: &[String]) -> Vec<usize> {
    column.column.rows.iter().map(|&sample| fold(&keys[sample], FOLDS, Seed::new(0))).collect()
}
