use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{
    Bars, Chart, Gallery, Matrix, Media, Table, Wall,
    bars::bars,
    chart::{Size, chart},
    gallery::gallery,
    matrix::matrix,
    media::Store,
    table::table,
    wall::wall,
};

/// A page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The name of what the page is about.
    pub title: String,
    /// One line about it.
    pub subtitle: String,
    /// The few numbers to know first: what, and how much.
    pub facts: Vec<(String, String)>,
    /// What follows, in order.
    pub sections: Vec<Section>,
}

/// A part of a page.
#[derive(Clone, Debug, PartialEq)]
pub enum Section {
    /// A chart as wide as the page.
    Chart(Chart),
    /// Charts beside each other.
    ChartGrid {
        /// Stands above.
        title: String,
        /// What a reader must know of them; may be empty.
        note: String,
        /// The charts.
        charts: Vec<Chart>,
    },
    /// Bars beside each other.
    Bars {
        /// Stands above.
        title: String,
        /// What a reader must know of them; may be empty.
        note: String,
        /// The drawings.
        bars: Vec<Bars>,
    },
    /// Pictures and sounds to be looked at closely, beside each other.
    Drawings {
        /// Stands above.
        title: String,
        /// What a reader must know of them; may be empty.
        note: String,
        /// What each is, and it.
        items: Vec<(String, Vec<Media>)>,
    },
    /// What was taken for what.
    Matrix(Matrix),
    /// A table.
    Table(Table),
    /// Queries with their answers.
    Wall(Wall),
    /// Answers to one question.
    Gallery(Gallery),
    /// Words; an empty line ends a paragraph.
    Prose {
        /// Stands above.
        title: String,
        /// The words.
        text: String,
    },
}

/// Forbids every request; what is shown is on the page.
const POLICY: &str =
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// The page as one HTML file.
pub fn render(page: &Page) -> String {
    let mut store = Store::default();
    let blocks = blocks(&page.sections);
    let body = blocks.iter().enumerate().map(|(place, block)| block.render(place, &mut store)).collect::<Vec<_>>();
    let html = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (page.title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                (store.definitions())
                header {
                    h1 { (page.title) }
                    @if !page.subtitle.is_empty() { p .subtitle { (page.subtitle) } }
                    @if !page.facts.is_empty() {
                        dl .facts { @for (name, value) in &page.facts { div { dt { (name) } dd { (value) } } } }
                    }
                }
                @if blocks.len() > 2 {
                    nav { @for (place, block) in blocks.iter().enumerate() { a href={ "#part-" (place) } { (block.title()) } } }
                }
                main { @for part in &body { (part) } }
                (store.sounds())
                script { (PreEscaped(include_str!("script.js"))) }
            }
        }
    };
    html.into_string()
}

/// What gets one heading.
enum Block<'a> {
    One(&'a Section),
    /// Walls that follow each other, behind tabs.
    Walls(Vec<&'a Wall>),
}

fn blocks(sections: &[Section]) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block> = Vec::new();
    for section in sections {
        match (section, blocks.last_mut()) {
            (Section::Wall(wall), Some(Block::Walls(walls))) => walls.push(wall),
            (Section::Wall(wall), _) => blocks.push(Block::Walls(vec![wall])),
            _ => blocks.push(Block::One(section)),
        }
    }
    blocks
}

impl Block<'_> {
    fn title(&self) -> &str {
        match self {
            Self::One(Section::Chart(chart)) => &chart.title,
            Self::One(
                Section::ChartGrid { title, .. }
                | Section::Bars { title, .. }
                | Section::Drawings { title, .. }
                | Section::Prose { title, .. },
            ) => title,
            Self::One(Section::Matrix(matrix)) => &matrix.title,
            Self::One(Section::Table(table)) => &table.title,
            Self::One(Section::Wall(wall)) => &wall.title,
            Self::One(Section::Gallery(gallery)) => &gallery.title,
            Self::Walls(walls) => match walls.as_slice() {
                [wall] => &wall.title,
                _ => "Queries and answers",
            },
        }
    }

    fn render(&self, place: usize, store: &mut Store) -> Markup {
        let content = match self {
            Self::One(section) => single(section, store),
            Self::Walls(walls) => tabs(walls, place, store),
        };
        let own_heading = matches!(self, Self::One(Section::Chart(_)));
        html! {
            section id={ "part-" (place) } {
                @if !own_heading && !self.title().is_empty() { h2 { (self.title()) } }
                (content)
            }
        }
    }
}

fn single(section: &Section, store: &mut Store) -> Markup {
    match section {
        Section::Chart(one) => chart(one, Size::Full),
        Section::ChartGrid { note, charts, .. } => html! {
            @if !note.is_empty() { p .note { (note) } }
            // Two or four charts fill rows of two; others stand three in a row.
            @let size = if matches!(charts.len(), 2 | 4) { Size::Half } else { Size::Third };
            div .charts.halves[size == Size::Half] { @for one in charts { (chart(one, size)) } }
        },
        Section::Bars { note, bars: all, .. } => html! {
            @if !note.is_empty() { p .note { (note) } }
            div .charts { @for one in all { (bars(one)) } }
        },
        Section::Drawings { note, items, .. } => html! {
            @if !note.is_empty() { p .note { (note) } }
            div .charts { @for (caption, media) in items {
                figure .drawing.large { figcaption { h3 { (caption) } } (store.show(media)) }
            } }
        },
        Section::Matrix(one) => matrix(one),
        Section::Table(one) => table(one),
        Section::Wall(one) => wall(one, store),
        Section::Gallery(one) => gallery(one, store),
        Section::Prose { text, .. } => {
            html! { div .prose { @for paragraph in text.split("\n\n") { p { (paragraph) } } } }
        }
    }
}

/// Tabs that need no script: a radio button each, of which the checked one shows its panel.
fn tabs(walls: &[&Wall], group: usize, store: &mut Store) -> Markup {
    if let [one] = walls {
        return wall(one, store);
    }
    html! {
        div .tabs {
            @for (place, one) in walls.iter().enumerate() {
                input type="radio" name={ "tab-" (group) } id={ "tab-" (group) "-" (place) } checked[place == 0];
                label for={ "tab-" (group) "-" (place) } { (one.title) }
                div .panel { h3 { (one.title) } (wall(one, store)) }
            }
        }
    }
}
