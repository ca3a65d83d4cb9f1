use maud::{Markup, html};

use crate::{Media, media::Store, number::fixed};

/// What was found for a question, best first. Nobody says what would have been right.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gallery {
    /// Stands above.
    pub title: String,
    /// What a reader must know of it; may be empty.
    pub note: String,
    /// What was asked with; may be empty.
    pub asked: Vec<Media>,
    /// The answers.
    pub found: Vec<Exhibit>,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exhibit {
    /// What was found; nothing where it cannot be reached.
    pub media: Vec<Media>,
    /// Its name.
    pub name: String,
    /// Where it lies, shown as a tool tip; may be empty.
    pub source: String,
    /// How near it is to the question.
    pub score: f32,
}

pub(crate) fn gallery(gallery: &Gallery, store: &mut Store) -> Markup {
    html! {
        @if !gallery.note.is_empty() { p .note { (gallery.note) } }
        @if !gallery.asked.is_empty() { div .asked { (store.show(&gallery.asked)) } }
        ol .gallery {
            @for exhibit in &gallery.found {
                li title=(exhibit.source) {
                    div .media { (store.show(&exhibit.media)) }
                    div .label { span .name { (exhibit.name) } span .score { (fixed(f64::from(exhibit.score), 3)) } }
                }
            }
        }
    }
}
