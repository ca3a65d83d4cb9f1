//! Classes in words, for zero-shot classification.

use std::{collections::BTreeMap, path::Path};

use ndarray::{Array2, Axis};
use sensorium_contract::{Embedder, Name, Sample, Value};
use sensorium_objectives::AnyObjective;
use sensorium_retrieve::classify::{SHARPNESS, class_vectors};
use serde::Deserialize;

use crate::{AnyModel, EMBEDDING_BATCH, Error};

/// What stands for the name of a class in a template.
const PLACE: &str = "{}";

/// Names of classes, and sentences that they are put into.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompts {
    /// Sentences with `{}` where the name stands.
    #[serde(default = "bare")]
    pub templates: Vec<String>,
    /// Each label with what it is called: a name, or several. If empty, labels are their own names.
    #[serde(default)]
    pub classes: BTreeMap<String, Called>,
}

/// What a class is called.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Called {
    /// One name.
    One(String),
    /// Several.
    Several(Vec<String>),
}

fn bare() -> Vec<String> {
    vec![PLACE.to_owned()]
}

impl Default for Prompts {
    fn default() -> Self {
        Self { templates: bare(), classes: BTreeMap::new() }
    }
}

impl Prompts {
    /// Reads a TOML file: `templates = ["a picture of {}"]` and `[classes]` with `label = "name"` or
    /// `label = ["name", "other name"]`.
    ///
    /// # Errors
    /// If it cannot be read, has other keys, or a template without `{}`.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let wrong = |problem: String| Error::Prompts { path: path.to_owned(), problem };
        let prompts: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        match prompts.templates.iter().find(|template| !template.contains(PLACE)) {
            Some(template) => Err(wrong(format!("`templates`: expected `{PLACE}` for the name, found `{template}`"))),
            None if prompts.templates.is_empty() => Err(wrong("`templates`: expected at least one, found none".into())),
            None => Ok(prompts),
        }
    }

    /// The labels that can be told: those of the file, or else those of the data.
    ///
    /// # Errors
    /// If the data have a label that the file does not name.
    pub fn labels(&self, of_data: Vec<String>, path: &Path) -> Result<Vec<String>, Error> {
        if self.classes.is_empty() {
            return Ok(of_data);
        }
        match of_data.iter().find(|label| !self.classes.contains_key(*label)) {
            Some(label) => Err(Error::Prompts {
                path: path.to_owned(),
                problem: format!("`classes` lacks the label `{label}`, which the data have"),
            }),
            None => Ok(self.classes.keys().cloned().collect()),
        }
    }

    /// All sentences of a label.
    fn sentences(&self, label: &str) -> Vec<String> {
        let names = match self.classes.get(label) {
            Some(Called::One(name)) => std::slice::from_ref(name),
            Some(Called::Several(names)) => names,
            None => &[label.to_owned()],
        };
        let fill = |name: &String| self.templates.iter().map(|template| template.replace(PLACE, name)).collect();
        names.iter().flat_map::<Vec<String>, _>(fill).collect()
    }

    /// One vector a label.
    ///
    /// # Errors
    /// If the model reads no texts, or cannot read one of the sentences.
    ///
    /// # Shapes
    /// → `[labels, embedding]`
    pub fn vectors(&self, model: &AnyModel, labels: &[String]) -> Result<Array2<f32>, Error> {
        let (name, field) = text_of(model)?;
        let (mut samples, mut class_of) = (Vec::new(), Vec::new());
        for (class, label) in labels.iter().enumerate() {
            for sentence in self.sentences(label) {
                samples.push(Sample { key: label.clone(), fields: [(field.clone(), Value::Text(sentence))].into() });
                class_of.push(class);
            }
        }
        let mut vectors = Vec::new();
        for samples in samples.chunks(EMBEDDING_BATCH) {
            vectors.push(embed_texts(model, &name, samples)?);
        }
        let views: Vec<_> = vectors.iter().map(|part| part.view()).collect();
        let all = ndarray::concatenate(Axis(0), &views).map_err(|_| Error::NoTexts)?;
        Ok(class_vectors(all.view(), &class_of, labels.len()))
    }
}

/// The modality that reads texts, and its field.
pub fn text_of(model: &AnyModel) -> Result<(Name, String), Error> {
    let mut readings = model.readings().into_iter();
    let text = readings.find_map(|(name, reading)| (reading.kind == "text").then_some((name, reading.field?)));
    text.ok_or(Error::NoTexts)
}

/// What a model multiplies cosines with before they become probabilities: what it learned, the mean
/// over its pairs of modalities; CLIP's own [`SHARPNESS`] where nothing was learned.
pub fn sharpness(model: &AnyModel) -> f64 {
    let AnyModel::Own(model) = model else { return SHARPNESS };
    let learned = model.objectives.iter().find_map(|objective| match objective {
        AnyObjective::Contrastive(contrastive) => Some(&contrastive.log_scale),
        _ => None,
    });
    let scales = learned.into_iter().flatten().map(|scale| f64::from(scale.val().into_scalar::<f32>().exp()));
    let (sum, count) = scales.fold((0.0, 0.0), |(sum, count), scale| (sum + scale, count + 1.0));
    if count > 0.0 { sum / count } else { SHARPNESS }
}

/// `[samples, embedding]`
fn embed_texts(model: &AnyModel, name: &Name, samples: &[Sample]) -> Result<Array2<f32>, Error> {
    let preparation = model.preparation();
    let decode = |sample: &Sample| {
        let mut decoded = preparation.decode(sample).map_err(|fault| Error::Prompt(fault.to_string()))?;
        decoded.retain(|modality, _| modality == name);
        match decoded.is_empty() {
            true => Err(Error::Prompt(format!("the prompt of `{}` is empty", sample.key))),
            false => Ok((sample.key.clone(), decoded)),
        }
    };
    let batch = preparation.collate(samples.iter().map(decode).collect::<Result<_, Error>>()?);
    model.embed(&batch).remove(name).map(|embeddings| embeddings.vectors).ok_or(Error::NoTexts)
}
