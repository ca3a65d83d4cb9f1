use maud::{Markup, html};

use crate::{
    Media,
    media::Store,
    number::{fixed, thousands},
};

/// Queries with what a model answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wall {
    /// `image → text`. Walls that follow each other share a row of tabs with these titles.
    pub title: String,
    /// What a reader must know of it; may be empty.
    pub note: String,
    /// The queries.
    pub queries: Vec<WallQuery>,
}

/// One query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WallQuery {
    /// What was asked with.
    pub query: Vec<Media>,
    /// Best first.
    pub answers: Vec<Answer>,
    /// What would have been right, shown if no answer is; may be empty.
    pub wanted: Vec<Media>,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// What was found.
    pub media: Vec<Media>,
    /// The cosine with the query.
    pub score: f32,
    /// Whether it is right.
    pub correct: bool,
}

/// Where the first right answer of a query stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    First,
    Later,
    Missed,
}

impl WallQuery {
    fn outcome(&self) -> Outcome {
        match self.answers.iter().position(|answer| answer.correct) {
            Some(0) => Outcome::First,
            Some(_) => Outcome::Later,
            None => Outcome::Missed,
        }
    }
}

impl Outcome {
    const ALL: [Self; 3] = [Self::First, Self::Later, Self::Missed];

    fn class(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Later => "later",
            Self::Missed => "missed",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::First => "right at once",
            Self::Later => "right further down",
            Self::Missed => "missed",
        }
    }
}

pub(crate) fn wall(wall: &Wall, store: &mut Store) -> Markup {
    let count = |outcome| wall.queries.iter().filter(|query| query.outcome() == outcome).count();
    html! {
        @if !wall.note.is_empty() { p .note { (wall.note) } }
        div .chips {
            span .chip.on data-filter="" { "all " b { (wall.queries.len()) } }
            @for outcome in Outcome::ALL {
                span class={ "chip " (outcome.class()) } data-filter=(outcome.class()) { (outcome.words()) " " b { (count(outcome)) } }
            }
        }
        div .wall { @for query in &wall.queries { (card(query, store)) } }
    }
}

fn card(query: &WallQuery, store: &mut Store) -> Markup {
    let outcome = query.outcome();
    // Words need a line each; pictures and sounds stand beside each other.
    let wordy =
        query.answers.iter().flat_map(|answer| &answer.media).any(|m| matches!(m, Media::Text(_) | Media::Row(_)));
    html! {
        article class={ "card " (outcome.class()) } {
            div .query { (store.show(&query.query)) }
            div .found {
                ol class=(if wordy { "answers list" } else { "answers strip" }) {
                    @for answer in &query.answers { (answer_item(answer, store)) }
                }
                @if outcome == Outcome::Missed && !query.wanted.is_empty() {
                    div .wanted { span .tag { "wanted" } (store.show(&query.wanted)) }
                }
            }
        }
    }
}

fn answer_item(answer: &Answer, store: &mut Store) -> Markup {
    html! {
        li .correct[answer.correct] {
            div .media { (store.show(&answer.media)) }
            span .score {
                @if answer.correct { b .tick aria-label="right" title="right" { "✓" } }
                (score_text(answer.score))
            }
        }
    }
}

fn score_text(score: f32) -> String {
    match score {
        _ if !score.is_finite() => "–".to_owned(),
        _ if score.abs() >= 1000.0 => thousands(f64::from(score)),
        _ => fixed(f64::from(score), 2),
    }
}
