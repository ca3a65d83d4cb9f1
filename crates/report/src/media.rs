use std::{collections::HashMap, io::Cursor, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use maud::{Markup, html};

/// Something to look at, to listen to or to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// A picture file.
    Picture {
        /// The file.
        bytes: Arc<[u8]>,
        /// `image/png` …
        mime: String,
    },
    /// A sound file. A WAV file is shown by its waveform.
    Sound {
        /// The file.
        bytes: Arc<[u8]>,
        /// `audio/wav` …
        mime: String,
    },
    /// Words.
    Text(String),
    /// Names and values.
    Row(Vec<(String, String)>),
}

/// Pairs of a row that are shown; all are in its tool tip.
const PAIRS: usize = 4;

/// The pictures and sounds of a page, each kept once.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pictures: Vec<(Arc<[u8]>, String)>,
    sounds: Vec<(Arc<[u8]>, String)>,
    places: HashMap<(Arc<[u8]>, String), usize>,
}

impl Store {
    /// What is shown of several media that belong together.
    pub(crate) fn show(&mut self, media: &[Media]) -> Markup {
        html! { @for one in media { (self.show_one(one)) } }
    }

    fn show_one(&mut self, media: &Media) -> Markup {
        match media {
            Media::Picture { bytes, mime } => {
                let place = keep(&mut self.pictures, &mut self.places, bytes, mime);
                html! { svg .picture viewBox="0 0 100 100" role="img" aria-label="picture" { use href={ "#p" (place) } {} } }
            }
            Media::Sound { bytes, mime } => {
                let place = keep(&mut self.sounds, &mut self.places, bytes, mime);
                html! {
                    a .play href={ "#s" (place) } aria-label="play" title="play" {
                        svg .icon viewBox="0 0 16 16" aria-hidden="true" {
                            path .go d="M4 2.5v11l9.5-5.5z" {}
                            path .stop d="M4 3h3v10H4zM9 3h3v10H9z" {}
                        }
                        svg .wave viewBox="0 0 96 24" preserveAspectRatio="none" aria-hidden="true" { use href={ "#w" (place) } {} }
                    }
                }
            }
            Media::Text(text) => html! { span .text { (text) } },
            Media::Row(pairs) => {
                let all = pairs.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n");
                html! {
                    dl .row title=(all) {
                        @for (name, value) in pairs.iter().take(PAIRS) { div { dt { (name) } dd { (value) } } }
                    }
                }
            }
        }
    }

    /// The pictures and waveforms, not shown themselves but by those who refer to them.
    pub(crate) fn definitions(&self) -> Markup {
        html! {
            svg .definitions aria-hidden="true" width="0" height="0" {
                defs {
                    @for (place, (bytes, mime)) in self.pictures.iter().enumerate() {
                        image id={ "p" (place) } width="100" height="100" href=(data_url(bytes, mime)) {}
                    }
                    @for (place, (bytes, _)) in self.sounds.iter().enumerate() {
                        path id={ "w" (place) } d=(waveform(bytes).as_deref().unwrap_or("M0 12H96")) {}
                    }
                }
            }
        }
    }

    /// The sounds, with the browser's own players for those who run no scripts.
    pub(crate) fn sounds(&self) -> Markup {
        if self.sounds.is_empty() {
            return html! {};
        }
        html! {
            section .sounds {
                h2 { "Sounds" }
                div { @for (place, (bytes, mime)) in self.sounds.iter().enumerate() {
                    audio id={ "s" (place) } controls preload="none" src=(data_url(bytes, mime)) {}
                } }
            }
        }
    }
}

type Kept = Vec<(Arc<[u8]>, String)>;

fn keep(kept: &mut Kept, places: &mut HashMap<(Arc<[u8]>, String), usize>, bytes: &Arc<[u8]>, mime: &str) -> usize {
    *places.entry((bytes.clone(), mime.to_owned())).or_insert_with(|| {
        kept.push((bytes.clone(), mime.to_owned()));
        kept.len() - 1
    })
}

/// Letters that a media type may have; anything else would end the type or the attribute early.
fn data_url(bytes: &[u8], mime: &str) -> String {
    let mime: String = mime.chars().filter(|c| c.is_ascii_alphanumeric() || "/+-.".contains(*c)).collect();
    format!("data:{mime};base64,{}", BASE64_STANDARD.encode(bytes))
}

/// Bars of a waveform.
const BARS: usize = 32;

/// The loudness (root mean square) of each stretch of a WAV file, as upright strokes in a field of 96 × 24.
fn waveform(wav: &[u8]) -> Option<String> {
    let mut reader = hound::WavReader::new(Cursor::new(wav)).ok()?;
    // Sounds that were piped when written claim more samples than there are.
    let samples: Vec<f32> = match reader.spec().sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().map_while(Result::ok).collect(),
        hound::SampleFormat::Int => reader.samples::<i32>().map_while(Result::ok).map(|sample| sample as f32).collect(),
    };
    let loudness = |stretch: &[f32]| (stretch.iter().map(|s| s * s).sum::<f32>() / stretch.len() as f32).sqrt();
    let bars: Vec<f32> = samples.chunks(samples.len().div_ceil(BARS).max(1)).map(loudness).collect();
    let loudest = bars.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let stroke = |(place, bar): (usize, &f32)| {
        let half = (bar / loudest * 11.0).max(0.7);
        format!("M{:.1} {:.1}V{:.1}", 1.5 + 3.0 * place as f32, 12.0 - half, 12.0 + half)
    };
    Some(bars.iter().enumerate().map(stroke).collect())
}
