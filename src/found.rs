//! What a search found, to be looked at.

use std::collections::HashMap;

use sensorium_contract::{Name, Sample};
use sensorium_report::{Exhibit, Gallery, Page, Section};
use sensorium_retrieve::{
    Index,
    index::{Description, Hit},
};
use sensorium_samples::Dataset;

use crate::{AnyModel, Error, Query, stored::samples_of, to_media};

/// The samples of the given keys and sources, where they still are what they were.
pub fn find_samples(dataset: &Dataset, wanted: &[(&str, &str)]) -> Vec<Option<Sample>> {
    let mut places: HashMap<&str, Option<usize>> = wanted.iter().map(|(_, source)| (*source, None)).collect();
    let mut missing = places.len();
    for index in 0..dataset.len() {
        if missing == 0 {
            break;
        }
        if let Some(place @ None) = places.get_mut(dataset.place(index).as_str()) {
            *place = Some(index);
            missing -= 1;
        }
    }
    let read = |(key, source): &(&str, &str)| {
        let sample = dataset.read(places.get(source).copied().flatten()?).ok()?;
        (sample.key == *key).then_some(sample)
    };
    wanted.iter().map(read).collect()
}

/// A page of the answers to a query, and how many of them could not be found again where they were
/// embedded from, of which it shows the keys alone.
///
/// # Errors
/// If the current folder is gone.
pub fn answers_page(
    model: &AnyModel,
    index: &Index,
    query: &Query,
    asked: &[Name],
    hits: &[Hit],
) -> Result<(Page, usize), Error> {
    let dataset = index.origin().and_then(|origin| samples_of(origin).ok());
    let wanted: Vec<(&str, &str)> = hits.iter().map(|hit| (&*hit.key, &*hit.source)).collect();
    let samples = dataset.map_or_else(|| vec![None; hits.len()], |dataset| find_samples(&dataset, &wanted));
    let absent = samples.iter().filter(|sample| sample.is_none()).count();
    let readings = model.readings();
    let media = |name: &Name, sample: &Sample| to_media(&readings, name, sample);
    let exhibit = |(hit, sample): (&Hit, &Option<Sample>)| Exhibit {
        media: sample.iter().flat_map(|sample| media(&hit.modality, sample)).collect(),
        name: hit.key.clone(),
        source: hit.source.clone(),
        score: hit.score,
    };
    // Pictures beside pictures: modalities in the order of their best answers.
    let question = asked.iter().flat_map(|name| media(name, query.sample())).collect();
    let mut sections = vec![Gallery { title: "Asked with".to_owned(), asked: question, ..Gallery::default() }];
    for found in hits.iter().zip(&samples) {
        let title = found.0.modality.to_string();
        match sections.iter_mut().find(|section| section.title == title) {
            Some(section) => section.found.push(exhibit(found)),
            None => sections.push(Gallery { title, found: vec![exhibit(found)], ..Gallery::default() }),
        }
    }
    let Description { metric, modalities, .. } = index.description();
    let vectors: usize = modalities.values().map(|modality| modality.rows).sum();
    let page = Page {
        title: "What was found".to_owned(),
        subtitle: format!("The nearest {} of {vectors} items, by {metric}", hits.len()),
        facts: Vec::new(),
        sections: sections.into_iter().map(Section::Gallery).collect(),
    };
    Ok((page, absent))
}
