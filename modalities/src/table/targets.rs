//! Masked cells: predict hidden cells of a row from the others.

use ndarray::{Array2, ArrayD, IxDyn};
use rand::seq::index;
use sensorium_contract::{Array, Arrays, MaskTarget, Masked, Name, Rng, Truth};

use super::prepare::{MISSING, RESERVED};

/// How cells are hidden.
pub(super) struct Hiding<'a> {
    /// Share of a row's present cells.
    pub ratio: f32,
    /// For each categorical column, where its entries start.
    pub offsets: &'a [i64],
    /// Position of the first column among the tokens.
    pub first_column: usize,
}

/// What one column lost.
#[derive(Clone, Default)]
struct Lost {
    rows: Vec<usize>,
    numbers: Vec<f32>,
    classes: Vec<i64>,
}

/// Hides cells of each row that has two or more: at least one, and never all. Neither missing cells
/// nor unknown categories are hidden, as there is nothing to predict.
pub(super) fn hide(arrays: &Arrays, rngs: &mut [Rng], hiding: &Hiding<'_>, name: &Name) -> Masked {
    let mut numbers = arrays.f32("numbers").clone(); // [rows, numeric]
    let mut categories = arrays.i64("categories").clone(); // [rows, categorical]
    let (rows, numeric) = (numbers.shape()[0], numbers.shape()[1]);
    let columns = numeric + hiding.offsets.len();
    let present = arrays.contains("present").then(|| arrays.bool("present"));
    let mut hidden = ArrayD::from_elem(IxDyn(&[rows, columns]), false);
    let mut lost = vec![Lost::default(); columns];
    for (row, rng) in rngs.iter_mut().enumerate().take(rows) {
        let entry = |column: usize| categories[[row, column - numeric]] - hiding.offsets[column - numeric];
        let has = |column: usize| match column < numeric {
            true => present.is_none_or(|present| present[[row, column]]),
            false => entry(column) != MISSING,
        };
        let known = |column: &usize| *column < numeric || entry(*column) >= RESERVED;
        let cells: Vec<usize> = (0..columns).filter(|&column| has(column)).collect();
        let candidates: Vec<usize> = cells.iter().copied().filter(known).collect();
        for column in choose(&candidates, cells.len(), rng, hiding.ratio) {
            hidden[[row, column]] = true;
            lost[column].rows.push(row);
            if column < numeric {
                lost[column].numbers.push(std::mem::take(&mut numbers[[row, column]]));
            } else {
                let (entry, offset) = (&mut categories[[row, column - numeric]], hiding.offsets[column - numeric]);
                lost[column].classes.push(*entry - offset - RESERVED);
                *entry = offset + MISSING;
            }
        }
    }
    let targets = lost.into_iter().enumerate().filter(|(_, lost)| !lost.rows.is_empty());
    let targets = targets.map(|(column, lost)| target(column, column < numeric, lost, hiding, name)).collect();
    let arrays = arrays.clone().with("numbers", Array::F32(numbers)).with("categories", Array::I64(categories));
    Masked { arrays: arrays.with("hidden", Array::Bool(hidden)), targets }
}

/// Ascending columns out of the candidates among a row's `cells`.
fn choose(candidates: &[usize], cells: usize, rng: &mut Rng, ratio: f32) -> Vec<usize> {
    if cells < 2 || candidates.is_empty() {
        return Vec::new();
    }
    let count = ((cells as f32 * ratio).round() as usize).clamp(1, cells - 1).min(candidates.len());
    let mut chosen: Vec<usize> =
        index::sample(rng, candidates.len(), count).into_iter().map(|place| candidates[place]).collect();
    chosen.sort_unstable();
    chosen
}

fn target(column: usize, numeric: bool, lost: Lost, hiding: &Hiding<'_>, name: &Name) -> MaskTarget {
    let truth = match numeric {
        true => Truth::Numbers(Array2::from_shape_fn([lost.rows.len(), 1], |(row, _)| lost.numbers[row])),
        false => Truth::Classes(lost.classes),
    };
    let tokens = vec![hiding.first_column + column; lost.rows.len()];
    MaskTarget { modality: name.clone(), head: column, rows: lost.rows, tokens, truth }
}
