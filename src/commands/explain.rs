use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use sensorium::{
    AnyModel, Error, Explanation, Model, Shown,
    contract::{Name, Sample},
    explain, readings,
    report::{Bar, Bars, Media, Page, Section, render},
    to_media,
};
use sensorium_modalities::ModalityConfig;
use sensorium_state::commit;

use super::{DeviceArguments, Question};

#[derive(Args)]
pub struct Arguments {
    /// A model directory, `runs/NAME/model`
    model: PathBuf,
    #[command(flatten)]
    question: Question,
    /// What to write: a `.png` with the map drawn over the picture or the spectrogram, or an `.html` page with all
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    device: DeviceArguments,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let page = match arguments.out.extension().and_then(|extension| extension.to_str()) {
        Some("html") => true,
        Some("png") => false,
        _ => return Err(usage(format!("--out: expected a .png or .html file, found `{}`", arguments.out.display()))),
    };
    let device = arguments.device.open()?;
    let model = AnyModel::open_parts(&arguments.model, &device)?;
    let query = arguments.question.query(&AnyModel::Own(model.clone()))?;
    let (sample, given) = (query.sample(), query.modalities());
    let [first, second] = given else {
        return Err(usage("give two of --image, --audio, --row and --text: one is explained by the other".into()));
    };
    let is_text = |name: &Name| matches!(model.architecture().modalities[name], ModalityConfig::Text(_));
    let pairs = [(first, second), (second, first)].into_iter().filter(|(of, _)| !is_text(of));
    let found = pairs.map(|(of, with)| explain(&model, sample, of, with)).collect::<Result<Vec<_>, Error>>()?;
    match (page, found.iter().find_map(|found| Some((found, plane(found)?)))) {
        (true, _) => commit(&arguments.out, render(&to_page(&arguments, &model, sample, given, &found)).as_bytes())?,
        (false, Some((found, plane))) => commit(&arguments.out, &plane.drawn(&found.parts))?,
        (false, None) => return Err(usage("columns are drawn as bars on a page: --out FILE.html".into())),
    }
    found.iter().for_each(print);
    Ok(ExitCode::SUCCESS)
}

fn usage(problem: String) -> anyhow::Error {
    Error::Usage(problem).into()
}

fn plane(found: &Explanation) -> Option<&sensorium::Plane> {
    match &found.shown {
        Shown::Plane(plane) => Some(plane),
        Shown::Columns(_) => None,
    }
}

fn print(found: &Explanation) {
    let Explanation { of, cosine, parts, shown, removal } = found;
    println!("{of}: cosine {cosine:.3}");
    if let Shown::Columns(names) = shown {
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let largest = parts.iter().fold(f32::MIN_POSITIVE, |largest, part| largest.max(part.abs()));
        for (name, part) in names.iter().zip(parts) {
            println!("  {name:width$} {part:+.3} {}", "█".repeat((part.abs() / largest * 24.0).round() as usize));
        }
    }
    println!(
        "  without the {} most important of {} parts {:.3}, without as many at random {:.3}, without the least \
         important {:.3}{}",
        removal.parts,
        parts.len(),
        removal.most,
        removal.random,
        removal.least,
        if removal.most < removal.random { "" } else { ": the map tells nothing here" }
    );
}

fn to_page(arguments: &Arguments, model: &Model, sample: &Sample, given: &[Name], found: &[Explanation]) -> Page {
    let readings = readings(&model.architecture().modalities);
    let mut sections = Vec::new();
    let shown = |name: &Name| (format!("{name}, as it was given"), to_media(&readings, name, sample));
    let mut items: Vec<(String, Vec<Media>)> = given.iter().map(shown).collect();
    for (found, plane) in found.iter().filter_map(|found| Some((found, plane(found)?))) {
        for (what, bytes) in
            [("as the model saw it", plane.plain()), ("what carries the match", plane.drawn(&found.parts))]
        {
            let picture = Media::Picture { bytes: bytes.into(), mime: "image/png".to_owned() };
            items.push((format!("{}, {what}", found.of), vec![picture]));
        }
    }
    let note = "Red is for the match, blue against it; the strongest colour is the largest number.";
    sections.push(Section::Drawings { title: "What carries the match".into(), note: note.into(), items });
    sections.push(Section::Bars {
        title: "In numbers".to_owned(),
        note: "Parts are left out, so that the model answers as if they were never there (occlusion, Zeiler & Fergus \
               2014). A map that says something makes the match fall further than chance does."
            .to_owned(),
        bars: found.iter().flat_map(bars).collect(),
    });
    let fact = |found: &Explanation| (format!("cosine, {} explained", found.of), format!("{:.3}", found.cosine));
    Page {
        title: "What carries a match".to_owned(),
        subtitle: arguments.model.display().to_string(),
        facts: found.iter().map(fact).collect(),
        sections,
    }
}

fn bars(found: &Explanation) -> Vec<Bars> {
    let bar = |name: String, value: f32| Bar { name, value: Some(f64::from(value)), ..Bar::default() };
    let Explanation { of, cosine, parts, shown, removal } = found;
    let check = Bars {
        title: format!("{of}: cosine without {} of {} parts", removal.parts, parts.len()),
        bars: vec![
            bar("nothing left out".into(), *cosine),
            bar("the least important".into(), removal.least),
            bar("at random, mean of 8".into(), removal.random),
            bar("the most important".into(), removal.most),
        ],
        ..Bars::default()
    };
    let columns = match shown {
        Shown::Plane(_) => None,
        Shown::Columns(names) => Some(Bars {
            title: format!("{of}: what the cosine loses without a column"),
            bars: names.iter().zip(parts).map(|(name, part)| bar(name.clone(), *part)).collect(),
            ..Bars::default()
        }),
    };
    columns.into_iter().chain([check]).collect()
}
