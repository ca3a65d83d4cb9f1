use maud::{Markup, html};

use crate::number::{fixed, thousands};

/// What was taken for what: rows and columns have the same names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// Stands above.
    pub title: String,
    /// What a reader must know of it; may be empty.
    pub note: String,
    /// Names of the rows, and of the columns.
    pub names: Vec<String>,
    /// One row a name: the truth. One number a name: what it was taken for.
    pub counts: Vec<Vec<u64>>,
}

/// Width of a letter of a label.
const LETTER: f64 = 6.6;
/// Letters of a label that are shown; the whole is in its tool tip.
const LETTERS: usize = 18;
/// Side of a cell that has room for a number.
const ROOMY: f64 = 26.0;

/// A heat map: the ground of a cell is the share of its row.
pub(crate) fn matrix(matrix: &Matrix) -> Markup {
    let names: Vec<String> = matrix.names.iter().map(|name| short(name)).collect();
    let side = (560.0 / names.len().max(1) as f64).clamp(12.0, 44.0);
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0) as f64 * LETTER;
    // Names above the columns lean, so that they need less room than their length.
    let (left, top) = (longest + 14.0, longest * 0.72 + 30.0);
    let extent = side * names.len() as f64;
    let (width, height) = (left + extent + longest * 0.72 + 8.0, top + extent + 8.0);
    let middle = |place: usize| side * (place as f64 + 0.5);
    html! {
        @if !matrix.note.is_empty() { p .note { (matrix.note) } }
        div .scroll {
            svg .matrix viewBox={ "0 0 " (fixed(width, 1)) " " (fixed(height, 1)) } style={ "width:" (width.round()) "px" }
                role="img" aria-label=(matrix.title) {
                text x="0" y="14" { "truth ↓  taken for →" }
                @for (place, name) in names.iter().enumerate() {
                    text x=(fixed(left - 8.0, 1)) y=(fixed(top + middle(place) + 4.0, 1)) text-anchor="end" { (name) title { (matrix.names[place]) } }
                    text transform={ "translate(" (fixed(left + middle(place) + 3.0, 1)) " " (fixed(top - 7.0, 1)) ") rotate(-45)" } { (name) title { (matrix.names[place]) } }
                }
                @for (row, counts) in matrix.counts.iter().enumerate() {
                    @for (column, count) in counts.iter().enumerate() {
                        (cell(matrix, [row, column], *count, [left + side * column as f64, top + side * row as f64], side))
                    }
                }
            }
        }
    }
}

fn cell(matrix: &Matrix, [row, column]: [usize; 2], count: u64, [x, y]: [f64; 2], side: f64) -> Markup {
    let all: u64 = matrix.counts[row].iter().sum();
    let share = if all > 0 { count as f64 / all as f64 } else { 0.0 };
    let name = |place: usize| matrix.names.get(place).map_or("", String::as_str);
    let gap = if side > ROOMY { 2.0 } else { 1.0 };
    html! {
        g .cell.hit[row == column].hot[share > 0.55] {
            title { (name(row)) " → " (name(column)) ": " (count) " of " (all) }
            rect x=(fixed(x + gap / 2.0, 1)) y=(fixed(y + gap / 2.0, 1)) width=(fixed(side - gap, 1)) height=(fixed(side - gap, 1)) rx=(gap)
                style={ "--share:" (fixed(share, 3)) } {}
            @if side >= ROOMY && count > 0 {
                text x=(fixed(x + side / 2.0, 1)) y=(fixed(y + side / 2.0 + 4.0, 1)) text-anchor="middle" { (thousands(count as f64)) }
            }
        }
    }
}

fn short(name: &str) -> String {
    match name.chars().count() > LETTERS {
        true => name.chars().take(LETTERS - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}
