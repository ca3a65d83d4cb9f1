//! What the tasks share that tell classes.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;
use sensorium::{
    AnyModel, Classified, Error, LabelledColumn, LabelledTable, classified_sections,
    contract::Name,
    metrics::Metric,
    report::{Page, render},
    retrieve::RetrievalReport,
    samples::Prepared,
};
use sensorium_modalities::Fitted;
use sensorium_state::commit;

use super::{Arguments, names};

#[derive(Args)]
pub struct ClassArguments {
    /// The field that says each sample's class (zero-shot, knn, linear-probe)
    #[arg(long, value_name = "FIELD")]
    label: Option<String>,
    /// Samples whose classes are known; without, the others of the same data (knn, linear-probe)
    #[arg(long, value_name = "DATA")]
    train: Vec<String>,
    /// TOML with `templates = ["a picture of {}"]` and `[classes]` label = "name" (zero-shot)
    #[arg(long, value_name = "TOML")]
    pub prompts: Option<PathBuf>,
    /// How many neighbours vote (knn)
    #[arg(short, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub k: u32,
    /// Modalities that are there, others being absent, e.g. `--subset image,text` (may be repeated);
    /// without, each alone and all together
    #[arg(long = "subset", value_name = "NAMES", value_parser = names)]
    pub subsets: Vec<Vec<Name>>,
}

/// A task's samples and classes.
pub struct Asked {
    pub label: String,
    pub data: Prepared,
    pub labelled: LabelledTable,
    /// The sets of modalities to judge.
    pub subsets: Vec<Vec<Name>>,
}

impl ClassArguments {
    /// The directions whose query is one of the subsets that were asked for.
    pub fn of_subsets(&self, mut report: RetrievalReport) -> anyhow::Result<RetrievalReport> {
        if self.subsets.is_empty() {
            return Ok(report);
        }
        report.directions.retain(|direction| self.subsets.contains(&direction.from));
        report.several.retain(|direction| self.subsets.contains(&direction.from));
        let found = !(report.directions.is_empty() && report.several.is_empty());
        anyhow::ensure!(found, "no sample has the modalities of a --subset and one more to be found");
        Ok(report)
    }
}

impl Asked {
    /// Embeds the samples to be judged. `but` is a modality that is left out unless it is asked for.
    pub fn new(arguments: &Arguments, model: &AnyModel, but: Option<&Name>) -> anyhow::Result<Self> {
        let label = arguments.classes.label.clone().ok_or(Error::Usage("this task needs --label FIELD".into()))?;
        let data = arguments.prepared(model)?;
        let labelled = LabelledTable::embed(model, &data, &label, &mut arguments.progress())?;
        let subsets = subsets(&arguments.classes.subsets, model, &labelled, &label, but)?;
        Ok(Self { label, data, labelled, subsets })
    }

    /// Embeds the samples of `--train`, if it is given.
    pub fn train(&self, arguments: &Arguments, model: &AnyModel) -> anyhow::Result<Option<LabelledTable>> {
        if arguments.classes.train.is_empty() {
            return Ok(None);
        }
        let dataset = arguments.samples.others(&arguments.classes.train).open().context("--train")?;
        let data = Prepared::new(dataset, self.data.preparation().clone(), Default::default())?;
        let table = LabelledTable::embed(model, &data, &self.label, &mut arguments.progress());
        Ok(Some(table.context("--train")?))
    }

    /// Predicts each subset and shows the result.
    pub fn answer(
        self,
        arguments: &Arguments,
        model: &AnyModel,
        how: How,
        predict: impl Fn(LabelledColumn) -> Result<Classified, Error>,
    ) -> anyhow::Result<ExitCode> {
        let of = |modalities: &Vec<Name>| predict(self.labelled.column(modalities, &how.names)?);
        let subsets = self.subsets.iter().map(of).collect::<Result<Vec<_>, Error>>()?;
        let task = sensorium::Task::new(how.task, how.method, &self.label, how.names.len(), subsets);
        match arguments.json {
            true => println!("{}", serde_json::to_string_pretty(&task)?),
            false => print!("{task}"),
        }
        if let Some(path) = &arguments.report {
            let accuracy = task.subsets.first().and_then(|subset| subset.report.get(Metric::Accuracy));
            let share = |value: f64| format!("{value:.3}");
            let page = Page {
                title: format!("{} of `{}`", how.title, self.label),
                subtitle: arguments.subtitle(),
                facts: vec![
                    ("accuracy".to_owned(), accuracy.map_or_else(String::new, share)),
                    ("a guess".to_owned(), share(task.chance)),
                    ("classes".to_owned(), how.names.len().to_string()),
                    ("samples".to_owned(), task.subsets.first().map_or(0, |subset| subset.report.rows).to_string()),
                ],
                sections: classified_sections(&model.readings(), self.data.dataset(), &self.labelled, &task),
            };
            commit(path, render(&page).as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// How a task is done.
pub struct How {
    pub task: &'static str,
    pub title: &'static str,
    /// In a few sentences, for the reader of a report.
    pub method: String,
    /// The classes.
    pub names: Vec<String>,
}

/// The sets that were asked for, or each modality alone and all together.
fn subsets(
    asked: &[Vec<Name>],
    model: &AnyModel,
    labelled: &LabelledTable,
    label: &str,
    but: Option<&Name>,
) -> anyhow::Result<Vec<Vec<Name>>> {
    let told = |name: &Name| reads(model, name, label);
    if let Some(name) = asked.iter().flatten().find(|name| told(name)) {
        eprintln!("warning: the modality `{name}` reads the label field `{label}`: it is told the answer");
    }
    if !asked.is_empty() {
        return Ok(asked.to_vec());
    }
    let usable = |name: &&Name| Some(*name) != but && !told(name);
    let mut sets: Vec<Vec<Name>> = labelled.table.modalities().filter(usable).map(|name| vec![name.clone()]).collect();
    let all: Vec<Name> = sets.concat();
    let usage = "no modality is left to judge: name some with --subset";
    anyhow::ensure!(!all.is_empty(), Error::Usage(usage.into()));
    if all.len() > 1 && labelled.table.fuse(&all).is_ok_and(|column| !column.rows.is_empty()) {
        sets.push(all);
    }
    Ok(sets)
}

/// Whether a modality reads the field that holds the label.
fn reads(model: &AnyModel, name: &Name, label: &str) -> bool {
    let field = model.readings().remove(name).and_then(|reading| reading.field);
    let column = match model {
        AnyModel::Own(model) => match model.modalities().fitted.get(name) {
            Some(Fitted::Table(table)) => {
                let schema = table.schema();
                let numeric = schema.numeric.iter().map(|column| &column.name);
                numeric.chain(schema.categorical.iter().map(|column| &column.name)).any(|column| column == label)
            }
            _ => false,
        },
        AnyModel::Published(_) => false,
    };
    field.as_deref() == Some(label) || column
}
