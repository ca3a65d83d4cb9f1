//! A chart as inline SVG.

use std::fmt::Write;

use maud::{Markup, html};

use crate::{
    Chart, Series,
    axis::Axis,
    number,
    smooth::{Point, thin, thin_noisy, trend},
};

/// Width of a tick label's letter.
const LETTER: f64 = 7.0;

/// What is drawn of a series.
pub(crate) struct Lines {
    /// The points behind a trend; empty without one.
    pub faint: Vec<Point>,
    /// The trend, or the points.
    pub strong: Vec<Point>,
}

/// The lines of a series, of so few points that they can be told apart.
pub(crate) fn lines(series: &Series, log: bool) -> Lines {
    let usable = |point: &&Point| point.0.is_finite() && point.1.is_finite() && (!log || point.1 > 0.0);
    let points: Vec<Point> = series.points.iter().filter(usable).copied().collect();
    if series.scattered {
        return Lines { faint: Vec::new(), strong: points };
    }
    if !series.smooth || points.len() < 20 {
        return Lines { faint: Vec::new(), strong: thin_noisy(&points, 600) };
    }
    // The trend of what the eye sees, which on a logarithmic axis are the logarithms.
    let seen = |y: f64| if log { y.ln() } else { y };
    let shown = |y: f64| if log { y.exp() } else { y };
    let drawn: Vec<Point> = points.iter().map(|point| (point.0, seen(point.1))).collect();
    let strong = thin(&trend(&drawn), 240).into_iter().map(|point| (point.0, shown(point.1))).collect();
    Lines { faint: thin_noisy(&points, 600), strong }
}

/// Where the plot lies within the drawing, and its axes.
struct Frame {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    x: Axis,
    y: Axis,
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        self.left + self.x.place(value) * self.width
    }

    fn y(&self, value: f64) -> f64 {
        self.top + (1.0 - self.y.place(value)) * self.height
    }

    fn new(chart: &Chart, lines: &[Lines], width: f64, height: f64) -> Self {
        let (low, high) = x_range(lines);
        let x = Axis::snug(low, high, (width / 100.0).max(4.0) as usize);
        let (low, high) = y_range(chart, lines);
        let y = if chart.log_y { Axis::logarithmic(low, high) } else { Axis::rounded(low, high, 5) };
        let left = 12.0 + LETTER * y.longest_label() as f64;
        Self { left, top: 26.0, width: width - left - 14.0, height: height - 26.0 - 40.0, x, y }
    }
}

/// A drawing that scales with the page.
pub(crate) fn svg(chart: &Chart, [width, height]: [f64; 2], class: &str) -> Markup {
    let lines: Vec<Lines> = chart.series.iter().map(|series| lines(series, chart.log_y)).collect();
    if lines.iter().all(|lines| lines.strong.is_empty()) {
        return html! { p class={ "nothing " (class) } { "No values yet." } };
    }
    let frame = Frame::new(chart, &lines, width, height);
    html! {
        svg class=(class) viewBox={ "0 0 " (width) " " (height) } role="img" aria-label=(describe(chart, &lines))
            data-label=(chart.x_label)
            data-frame={ (round(frame.left)) "," (frame.top) "," (round(frame.width)) "," (frame.height) }
            data-x={ (frame.x.low) "," (frame.x.high) } data-y={ (frame.y.low) "," (frame.y.high) "," (frame.y.log as u8) } {
            (axes(chart, &frame))
            @for (place, (series, lines)) in chart.series.iter().zip(&lines).enumerate() {
                (series_lines(&frame, series, lines, place))
            }
            @for reference in chart.references.iter().filter(|r| in_range(&frame.y, r.value)) {
                g .reference {
                    line x1=(round(frame.left)) x2=(round(frame.left + frame.width)) y1=(round(frame.y(reference.value))) y2=(round(frame.y(reference.value))) {}
                    text .halo x=(round(frame.left + frame.width - 2.0)) y=(round(label_y(&frame, reference.value))) text-anchor="end" {
                        (reference.label) " " (number::short(reference.value))
                    }
                }
            }
            line .cross y1=(frame.top) y2=(frame.top + frame.height) {}
        }
    }
}

fn axes(chart: &Chart, frame: &Frame) -> Markup {
    let (right, bottom) = (frame.left + frame.width, frame.top + frame.height);
    html! {
        g .axis {
            @for tick in &frame.y.ticks {
                line x1=(round(frame.left)) x2=(round(right)) y1=(round(frame.y(tick.value))) y2=(round(frame.y(tick.value))) {}
                text x=(round(frame.left - 8.0)) y=(round(frame.y(tick.value) + 4.0)) text-anchor="end" { (tick.label) }
            }
            @for tick in &frame.x.ticks {
                text x=(round(frame.x(tick.value))) y=(round(bottom + 18.0)) text-anchor="middle" { (tick.label) }
            }
            line .base x1=(round(frame.left)) x2=(round(right)) y1=(round(bottom)) y2=(round(bottom)) {}
            text .label x=(round(right)) y=(round(bottom + 35.0)) text-anchor="end" { (chart.x_label) }
            text .label x="2" y="13" { (chart.y_label) @if frame.y.log { " (log)" } }
        }
    }
}

fn series_lines(frame: &Frame, series: &Series, lines: &Lines, place: usize) -> Markup {
    let dots = series.scattered || lines.strong.len() <= 30;
    html! {
        g class={ "series " (series.class(place)) } data-series=(place) data-name=(series.name) data-points=(values(&lines.strong)) {
            @if !lines.faint.is_empty() {
                // A drawing within the drawing clips what leaves the plot.
                svg x=(round(frame.left)) y=(frame.top) width=(round(frame.width)) height=(frame.height)
                    viewBox={ (round(frame.left)) " " (frame.top) " " (round(frame.width)) " " (frame.height) } {
                    path .faint d=(path(frame, &lines.faint)) {}
                }
            }
            @if !series.scattered { path .strong.dashed[series.is_dashed(place)] d=(path(frame, &lines.strong)) {} }
            @if dots {
                @for point in &lines.strong {
                    circle cx=(round(frame.x(point.0))) cy=(round(frame.y(point.1))) r="3" {}
                }
            }
        }
    }
}

fn path(frame: &Frame, points: &[Point]) -> String {
    let mut path = String::new();
    for (place, point) in points.iter().enumerate() {
        let letter = if place == 0 { 'M' } else { 'L' };
        // Writing to a string cannot fail.
        let _ = write!(path, "{letter}{} {}", round(frame.x(point.0)), round(frame.y(point.1)));
    }
    path
}

/// `x y,x y`, for the values that are shown under the pointer.
fn values(points: &[Point]) -> String {
    let value = |point: &Point| format!("{} {}", number_text(point.0), number_text(point.1));
    points.iter().map(value).collect::<Vec<_>>().join(",")
}

/// Four or five significant digits, in the form that scripts read.
fn number_text(value: f64) -> String {
    let digits = format!("{value:.4e}").parse().unwrap_or(value);
    if value.fract() == 0.0 { value.to_string() } else { f64::to_string(&digits) }
}

fn x_range(lines: &[Lines]) -> (f64, f64) {
    let all = lines.iter().flat_map(|lines| &lines.strong).map(|point| point.0);
    all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
}

/// The range of what is drawn strongly, of the references, and of nearly all faint points: a single
/// leap must not flatten the rest.
fn y_range(chart: &Chart, lines: &[Lines]) -> (f64, f64) {
    let mut faint: Vec<f64> = lines.iter().flat_map(|lines| &lines.faint).map(|point| point.1).collect();
    faint.sort_by(f64::total_cmp);
    let cut = faint.len() / 100;
    let faint = faint.get(cut..faint.len() - cut).unwrap_or(&[]);
    let ends = faint.first().into_iter().chain(faint.last()).copied();
    let references = chart.references.iter().map(|r| r.value).filter(|v| v.is_finite() && (!chart.log_y || *v > 0.0));
    let strong = lines.iter().flat_map(|lines| &lines.strong).map(|point| point.1);
    let all = strong.chain(ends).chain(references);
    all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| (low.min(y), high.max(y)))
}

fn in_range(axis: &Axis, value: f64) -> bool {
    value.is_finite() && (axis.low..=axis.high).contains(&value)
}

/// Above the reference line, or below it where there is no room above.
fn label_y(frame: &Frame, value: f64) -> f64 {
    let line = frame.y(value);
    if line - frame.top < 12.0 { line + 15.0 } else { line - 5.0 }
}

fn describe(chart: &Chart, lines: &[Lines]) -> String {
    let mut text = chart.title.clone();
    for (series, lines) in chart.series.iter().zip(lines) {
        if let (Some(first), Some(last)) = (lines.strong.first(), lines.strong.last()) {
            let _ = write!(text, "; {} from {} to {}", series.name, number::short(first.1), number::short(last.1));
        }
    }
    text
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
