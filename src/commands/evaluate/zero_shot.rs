use std::{path::Path, process::ExitCode};

use sensorium::{AnyModel, Classified, Prompts, retrieve::classify::zero_shot, sharpness, text_of};

use super::{
    Arguments,
    classes::{Asked, How},
};

pub fn run(arguments: &Arguments, model: &AnyModel) -> anyhow::Result<ExitCode> {
    let path = arguments.classes.prompts.as_deref();
    let prompts = path.map(Prompts::read).transpose()?.unwrap_or_default();
    let (text, _) = text_of(model)?;
    let asked = Asked::new(arguments, model, Some(&text))?;
    let names = prompts.labels(asked.labelled.classes(), path.unwrap_or(Path::new("")))?;
    let vectors = prompts.vectors(model, &names)?;
    let sharpness = sharpness(model);
    let method = format!(
        "Each class is the mean of the unit vectors of its prompts ({} templates), of length 1 again (Radford et al. \
         2021). A sample is taken for the class of the largest cosine. Probabilities are those of {sharpness:.1} times \
         the cosines. Nothing was trained.",
        prompts.templates.len()
    );
    let how = How { task: "zero-shot", title: "Zero-shot", method, names: names.clone() };
    asked.answer(arguments, model, how, |column| {
        let probabilities = zero_shot(column.column.vectors.view(), vectors.view(), sharpness);
        Classified::new(column, &names, probabilities, Vec::new())
    })
}
