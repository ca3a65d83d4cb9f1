use maud::{Markup, html};

use crate::{draw, number};

/// Lines over a common x axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// Stands above.
    pub title: String,
    /// One sentence below the title; may be empty.
    pub note: String,
    /// What x is.
    pub x_label: String,
    /// What y is.
    pub y_label: String,
    /// The lines. Points that are not finite leave a gap; those of a series stand in the order of x.
    pub series: Vec<Series>,
    /// Whether y is logarithmic; values that are not positive are then left out.
    pub log_y: bool,
    /// Horizontal lines to compare with.
    pub references: Vec<Reference>,
    /// Whether the legend leaves out where each line ends, which says nothing of a curve that does not run in time.
    pub plain: bool,
}

/// One line of a chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// `(x, y)`
    pub points: Vec<(f64, f64)>,
    /// Whether the line is dashed.
    pub dashed: bool,
    /// Whether to draw the points faint and their trend strong.
    pub smooth: bool,
    /// Whether to draw the points alone, in any order of x.
    pub scattered: bool,
    /// Which colour of the palette; its place among the series if not given.
    pub colour: Option<usize>,
}

/// A horizontal line to compare with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reference {
    /// What it stands for.
    pub label: String,
    /// Where it is.
    pub value: f64,
}

/// Colours in the palette of the style sheet.
const COLOURS: usize = 8;

impl Series {
    /// A plain line.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, ..Self::default() }
    }

    /// The same line, drawn as its trend over the faint points.
    pub fn smoothed(self) -> Self {
        Self { smooth: true, ..self }
    }

    /// The same line in the colour of this number.
    pub fn coloured(self, colour: usize) -> Self {
        Self { colour: Some(colour), ..self }
    }

    /// The class that gives the colour, for a series at this place of its chart.
    pub(crate) fn class(&self, place: usize) -> String {
        format!("c{}", self.colour.unwrap_or(place) % COLOURS)
    }

    /// Whether the line is dashed: as asked, or because the palette has been used up.
    pub(crate) fn is_dashed(&self, place: usize) -> bool {
        self.dashed || self.colour.unwrap_or(place) >= COLOURS
    }

    /// The last value of what is drawn strongly.
    fn last(&self, log: bool) -> Option<f64> {
        draw::lines(self, log).strong.last().map(|point| point.1)
    }
}

/// How large a chart is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// One of three beside each other.
    Third,
    /// One of two beside each other.
    Half,
    /// As wide as the page.
    Full,
}

/// Width and height of the smallest drawing, about as many as a phone has points.
const NARROW: [f64; 2] = [360.0, 230.0];

pub(crate) fn chart(chart: &Chart, size: Size) -> Markup {
    html! {
        figure .chart {
            figcaption {
                h3 { (chart.title) }
                @if !chart.note.is_empty() { p .note { (chart.note) } }
            }
            (legend(chart))
            div .plot {
                // What is wide is drawn a second time, narrower, for phones.
                @match size {
                    Size::Third => (draw::svg(chart, NARROW, "")),
                    Size::Half => { (draw::svg(chart, [540.0, 260.0], "wide")) (draw::svg(chart, NARROW, "narrow")) }
                    Size::Full => { (draw::svg(chart, [1080.0, 340.0], "wide")) (draw::svg(chart, NARROW, "narrow")) }
                }
            }
        }
    }
}

fn legend(chart: &Chart) -> Markup {
    let named = |series: &Series| chart.series.len() > 1 || series.name != chart.title;
    html! {
        ul .legend {
            @for (place, series) in chart.series.iter().enumerate() {
                li class=(series.class(place)) data-series=(place) {
                    i .dashed[series.is_dashed(place)] {}
                    @if named(series) { span { (series.name) } }
                    @if let Some(last) = series.last(chart.log_y).filter(|_| !chart.plain) { " " b { (number::short(last)) } }
                }
            }
        }
    }
}
