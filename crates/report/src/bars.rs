use maud::{Markup, html};

use crate::number;

/// Values beside each other, each with its interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bars {
    /// Stands above.
    pub title: String,
    /// One sentence below the title; may be empty.
    pub note: String,
    /// The bars, from the top.
    pub bars: Vec<Bar>,
    /// The value of a full bar; that of the longest if not given.
    pub full: Option<f64>,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bar {
    /// What it is of.
    pub name: String,
    /// What else to know of it, as the number of rows; may be empty.
    pub detail: String,
    /// Its length; nothing is drawn where there is none. Below 0 it points to the left.
    pub value: Option<f64>,
    /// Where the value lies with some certainty.
    pub interval: Option<[f64; 2]>,
}

const WIDTH: f64 = 360.0;
const ROW: f64 = 38.0;

/// Where values lie along the drawing.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn new(bars: &Bars) -> Self {
        let ends = |bar: &Bar| bar.value.into_iter().chain(bar.interval.into_iter().flatten());
        let values = bars.bars.iter().flat_map(ends).filter(|value| value.is_finite());
        let (low, high) = values.fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        let high = bars.full.map_or(high, |full| full.max(high));
        Self { low, high: if high > low { high } else { low + 1.0 } }
    }

    fn x(&self, value: f64) -> f64 {
        let place = (value.clamp(self.low, self.high) - self.low) / (self.high - self.low);
        (place * WIDTH * 10.0).round() / 10.0
    }
}

pub(crate) fn bars(bars: &Bars) -> Markup {
    let scale = Scale::new(bars);
    let height = ROW * bars.bars.len() as f64;
    html! {
        figure .drawing {
            figcaption {
                h3 { (bars.title) }
                @if !bars.note.is_empty() { p .note { (bars.note) } }
            }
            svg .bars viewBox={ "0 0 " (WIDTH) " " (height) } role="img" aria-label=(bars.title) {
                @for (place, bar) in bars.bars.iter().enumerate() { (one(bar, &scale, ROW * place as f64)) }
            }
        }
    }
}

fn one(bar: &Bar, scale: &Scale, top: f64) -> Markup {
    let (zero, middle) = (scale.x(0.0), top + 26.0);
    let value = bar.value.filter(|value| value.is_finite());
    html! {
        text x="0" y=(top + 14.0) { (bar.name) @if !bar.detail.is_empty() { tspan .soft { "  " (bar.detail) } } }
        text .value x=(WIDTH) y=(top + 14.0) text-anchor="end" { (value.map_or("–".to_owned(), number::short)) }
        rect .track x="0" y=(middle - 5.0) width=(WIDTH) height="10" rx="3" {}
        @if let Some(value) = value {
            @let end = scale.x(value);
            rect .bar.below[value < 0.0] x=(zero.min(end)) y=(middle - 5.0) width=((end - zero).abs().max(1.0)) height="10" rx="3" {}
        }
        @if let Some([low, high]) = bar.interval.filter(|ends| ends.iter().all(|end| end.is_finite())) {
            path .whisker d={ "M" (scale.x(low)) " " (middle - 4.0) "v8m0-4H" (scale.x(high)) "m0-4v8" } {}
        }
    }
}
