//! Which parts of a picture, a sound or a table row carry a match.
//!
//! By occlusion (Zeiler & Fergus 2014): parts are left out, and what the match loses is theirs. Here
//! nothing is painted over: a token that attention and pooling pass over was never there, so each
//! number is what the model truly answers without the part. Attention maps would need a second
//! attention that gives its weights away, and need not say what a model does with what it looks at
//! (Jain & Wallace 2019). As neighbouring patches tell the same, windows of 3 × 3 are left out, and
//! a patch's number is the mean over the windows that hold it of what each of their patches loses.
//!
//! Whether the map can be trusted is measured with it: without the parts that it calls the most
//! important, the match must fall further than without as many drawn at random (the deletion of
//! Petsiuk et al. 2018).

use ndarray::Array2;
use rand::seq::SliceRandom;
use sensorium_contract::{Arrays, Embedder, Name, Pool, Sample, Seed};
use sensorium_modalities::ModalityConfig;
use sensorium_model::Model;

use crate::{Error, heat::Plane};

/// Side of a window, in patches.
const WINDOW: usize = 3;
/// Variants of a sample that go through the model at once.
const AT_ONCE: usize = 64;
/// Share of the parts that the check of the map leaves out.
const REMOVED: f64 = 0.2;
/// Random draws that it is compared with.
const DRAWS: usize = 8;

/// What the parts of one modality add to a match.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The explained modality.
    pub of: Name,
    /// Cosine of the whole with the other side.
    pub cosine: f32,
    /// What the cosine loses without each part; below 0 where it gains.
    pub parts: Vec<f32>,
    /// How the parts lie.
    pub shown: Shown,
    /// Whether the numbers can be trusted.
    pub removal: Removal,
}

/// How the parts of a modality lie.
#[derive(Clone, Debug)]
pub enum Shown {
    /// Patches of a picture or of a spectrogram.
    Plane(Plane),
    /// Columns of a table.
    Columns(Vec<String>),
}

/// Cosines without a fifth of the parts.
#[derive(Clone, Copy, Debug)]
pub struct Removal {
    /// How many parts were left out.
    pub parts: usize,
    /// Without those of the largest numbers.
    pub most: f32,
    /// Without as many drawn at random, the mean of 8 draws.
    pub random: f32,
    /// Without those of the smallest numbers.
    pub least: f32,
}

/// Explains the match of modality `of` of a sample with its modality `with`.
///
/// # Errors
/// If the sample lacks one of them or cannot be read, or the modality has no parts that lie somewhere.
pub fn explain(model: &Model, sample: &Sample, of: &Name, with: &Name) -> Result<Explanation, Error> {
    let preparation = model.preparation();
    let decoded = preparation.decode(sample).map_err(|fault| Error::Explain(fault.to_string()))?;
    let batch = preparation.collate(vec![(sample.key.clone(), decoded)]);
    let mut vectors = model.embed(&batch);
    let lacks = |name: &Name| Error::Explain(format!("nothing was given for the modality `{name}`"));
    let other = vectors.remove(with).ok_or_else(|| lacks(with))?.vectors.row(0).to_owned();
    let arrays = batch.parts.get(of).ok_or_else(|| lacks(of))?.arrays.clone();
    let (shown, [rows, columns]) = layout(model, of, &arrays)?;
    let tokens = model.token_count(of, &arrays);
    // Tokens that stand in front of the parts, as a class token, always stay.
    let front = tokens - rows * columns;
    let cosines = |left_out: &[Vec<usize>]| -> Vec<f32> {
        let kept = |sets: &[Vec<usize>]| {
            let mut kept = Array2::from_elem((sets.len(), tokens), true);
            sets.iter()
                .enumerate()
                .for_each(|(row, set)| set.iter().for_each(|&part| kept[[row, front + part]] = false));
            model.embed_kept(of, &arrays, &kept).dot(&other).to_vec()
        };
        left_out.chunks(AT_ONCE).flat_map(kept).collect()
    };
    let windows = windows(rows, columns);
    let cosine = cosines(&[Vec::new()])[0];
    let parts = shares(&windows, &cosines(&windows), cosine, rows * columns);
    let removal = removal(&parts, &cosines);
    Ok(Explanation { of: of.clone(), cosine, parts, shown, removal })
}

/// How the parts lie, and how many rows and columns of them there are.
fn layout(model: &Model, of: &Name, arrays: &Arrays) -> Result<(Shown, [usize; 2]), Error> {
    let config = &model.architecture().modalities[of];
    let pool = match config {
        ModalityConfig::Image(config) => config.pool,
        ModalityConfig::Audio(config) => config.pool,
        ModalityConfig::Table(config) => config.pool,
        ModalityConfig::Text(_) => {
            return Err(Error::Explain(format!("`{of}` is text: give a picture, a sound or a row to be explained")));
        }
    };
    if pool == Pool::Last {
        return Err(Error::Explain(format!("`{of}` is pooled by its last token, so none can be left out")));
    }
    match (config, &model.modalities().fitted[of]) {
        (ModalityConfig::Image(config), _) => {
            let plane = Plane::picture(config, arrays);
            let grid = plane.grid;
            Ok((Shown::Plane(plane), grid))
        }
        (ModalityConfig::Audio(config), _) => {
            let plane = Plane::spectrogram(config, arrays);
            let grid = plane.grid;
            Ok((Shown::Plane(plane), grid))
        }
        (_, sensorium_modalities::Fitted::Table(table)) => {
            let schema = table.schema();
            let numeric = schema.numeric.iter().map(|column| column.name.clone());
            let columns: Vec<String> =
                numeric.chain(schema.categorical.iter().map(|column| column.name.clone())).collect();
            let count = columns.len();
            Ok((Shown::Columns(columns), [1, count]))
        }
        _ => Err(Error::Explain(format!("`{of}` has no parts that lie somewhere"))),
    }
}

/// Squares of parts, one centred on each; of a table, whose columns have no neighbours, single ones.
fn windows(rows: usize, columns: usize) -> Vec<Vec<usize>> {
    let reach = if rows == 1 { 0 } else { WINDOW / 2 };
    let near = |place: usize, count: usize| place.saturating_sub(reach)..(place + reach + 1).min(count);
    let window = |place: usize| {
        let (row, column) = (place / columns, place % columns);
        near(row, rows).flat_map(|row| near(column, columns).map(move |column| row * columns + column)).collect()
    };
    (0..rows * columns).map(window).collect()
}

/// The mean over the windows that hold a part of what each of their parts loses.
fn shares(windows: &[Vec<usize>], cosines: &[f32], whole: f32, parts: usize) -> Vec<f32> {
    let mut sums = vec![(0.0, 0.0); parts];
    for (window, cosine) in windows.iter().zip(cosines) {
        let each = (whole - cosine) / window.len() as f32;
        for &part in window {
            sums[part].0 += each;
            sums[part].1 += 1.0;
        }
    }
    sums.into_iter().map(|(sum, count)| sum / f32::max(count, 1.0)).collect()
}

fn removal(parts: &[f32], cosines: &impl Fn(&[Vec<usize>]) -> Vec<f32>) -> Removal {
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by(|&a, &b| parts[b].total_cmp(&parts[a]));
    let count = ((parts.len() as f64 * REMOVED).round() as usize).clamp(1, parts.len());
    let mut sets = vec![order[..count].to_vec(), order[order.len() - count..].to_vec()];
    for draw in 0..DRAWS {
        let mut drawn = order.clone();
        drawn.shuffle(&mut Seed::new(0).named("explain").number(draw as u64).rng());
        drawn.truncate(count);
        sets.push(drawn);
    }
    let found = cosines(&sets);
    let random = found[2..].iter().sum::<f32>() / DRAWS as f32;
    Removal { parts: count, most: found[0], least: found[1], random }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_cut_at_the_edges() {
        assert_eq!(windows(3, 4)[0], [0, 1, 4, 5]);
        assert_eq!(windows(3, 4)[5], [0, 1, 2, 4, 5, 6, 8, 9, 10]);
        assert_eq!(windows(1, 3), [[0], [1], [2]]);
    }

    #[test]
    fn a_part_that_all_depends_on_gets_the_most() {
        let windows = windows(5, 5);
        let cosines: Vec<f32> = windows.iter().map(|window| if window.contains(&12) { 0.1 } else { 0.9 }).collect();
        let parts = shares(&windows, &cosines, 0.9, 25);
        assert!((0..25).all(|part| part == 12 || parts[part] < parts[12]), "{parts:?}");
        assert!((parts[0] - 0.8 / 9.0 / 4.0).abs() < 1e-6, "one of its four windows holds the part: {parts:?}");
    }
}
