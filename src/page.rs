//! The sections of a report that show what a model finds.

use std::collections::BTreeMap;

use sensorium_contract::{Name, Sample};
use sensorium_report::{Answer, Cell, Section, Table, Wall, WallQuery, recall_matrix};
use sensorium_retrieve::{Answers, Direction, EmbeddingTable, RetrievalReport, nearest};
use sensorium_samples::Dataset;

use crate::{Error, Reading, media::to_media};

type Readings = BTreeMap<Name, Reading>;

/// Queries of each direction on the picture wall.
const QUERIES: usize = 12;
/// Answers to each.
const ANSWERS: usize = 5;

/// Tables of recall and a wall of queries with their best answers.
///
/// # Errors
/// If a sample cannot be read again.
pub fn retrieval_sections(
    readings: &Readings,
    dataset: &Dataset,
    table: &EmbeddingTable,
    report: &RetrievalReport,
) -> Result<Vec<Section>, Error> {
    if report.directions.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = table.modalities().map(ToString::to_string).collect();
    let matrix = recall_matrix(
        "Recall@1 by direction",
        "Share of held-out queries whose own partner is the first answer.",
        &names,
        |from, to| Some(report.get(from, to)?.own_partner.recall_at_1),
    );
    let mut sections = vec![Section::Table(matrix), Section::Table(details(report))];
    if !report.several.is_empty() {
        sections.push(Section::Table(several(report)));
    }
    for direction in &report.directions {
        sections.push(Section::Wall(wall(readings, dataset, table, direction)?));
    }
    Ok(sections)
}

fn number(value: f64, decimals: usize) -> Cell {
    Cell::Number { value, decimals }
}

fn details(report: &RetrievalReport) -> Table {
    let row = |direction: &Direction| {
        let own = &direction.own_partner;
        let recall = |value| Cell::Bar { value, decimals: 3, full: 1.0 };
        vec![
            Cell::Text(direction.name()),
            recall(own.recall_at_1),
            recall(own.recall_at_5),
            recall(own.recall_at_10),
            number(own.median_rank, 1),
            number(own.chance, 4),
            number(direction.equal_content.recall_at_1, 3),
            number(direction.queries as f64, 0),
            number(direction.candidates as f64, 0),
        ]
    };
    let columns = [
        "direction",
        "R@1",
        "R@5",
        "R@10",
        "median rank",
        "chance R@1",
        "R@1, equal content counts",
        "queries",
        "candidates",
    ];
    Table {
        title: "Retrieval on held-out samples".to_owned(),
        note: "Ranks by cosine; equal scores count against the model.".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: report.directions.iter().map(row).collect(),
    }
}

fn several(report: &RetrievalReport) -> Table {
    let row = |direction: &Direction| {
        let own = &direction.own_partner;
        let recall = |value| Cell::Bar { value, decimals: 3, full: 1.0 };
        vec![
            Cell::Text(direction.query_name()),
            Cell::Text(direction.to.to_string()),
            recall(own.recall_at_1),
            recall(own.recall_at_5),
            recall(own.recall_at_10),
        ]
    };
    Table {
        title: "Queries of several modalities".to_owned(),
        note: "What is found when the query has these modalities and lacks the others.".to_owned(),
        columns: ["query", "answer", "R@1", "R@5", "R@10"].map(str::to_owned).to_vec(),
        rows: report.several.iter().map(row).collect(),
    }
}

fn wall(readings: &Readings, dataset: &Dataset, table: &EmbeddingTable, direction: &Direction) -> Result<Wall, Error> {
    let (from, to) = (&direction.from[0], &direction.to);
    let all = nearest(table, from, to, ANSWERS)?;
    let count = all.len().min(QUERIES);
    let chosen = (0..count).map(|at| &all[at * all.len() / count]);
    let queries = chosen.map(|answers| query(readings, dataset, table, [from, to], answers)).collect();
    Ok(Wall { title: format!("{from} → {to}"), note: String::new(), queries })
}

fn query(
    readings: &Readings,
    dataset: &Dataset,
    table: &EmbeddingTable,
    [from, to]: [&Name; 2],
    answers: &Answers,
) -> WallQuery {
    let sample = |place: usize| find(dataset, table, place);
    let asked = sample(answers.sample);
    let answer = |answer: &sensorium_retrieve::Answer| Answer {
        media: to_media(readings, to, &sample(answer.sample)),
        score: answer.score,
        correct: answer.own || answer.equal,
    };
    WallQuery {
        query: to_media(readings, from, &asked),
        answers: answers.answers.iter().map(answer).collect(),
        wanted: to_media(readings, to, &asked),
    }
}

/// The sample at a place of the table. Damaged samples are absent from the table, so the place in
/// the data is that or a later one.
fn find(dataset: &Dataset, table: &EmbeddingTable, place: usize) -> Sample {
    let key = &table.keys()[place];
    let mut samples = (place..dataset.len()).filter_map(|index| dataset.read(index).ok());
    samples.find(|sample| sample.key == *key).unwrap_or_default()
}
