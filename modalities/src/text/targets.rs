//! Masked language modelling (Devlin et al. 2019).

use rand::{RngExt, seq::index};
use sensorium_contract::{Array, Arrays, MaskTarget, Masked, Name, Rng, Truth};

/// How tokens are hidden.
pub(super) struct Hiding<'a> {
    /// The id that hides.
    pub mask: i64,
    /// Ids that may be hidden, and that may stand in for hidden ones, ascending.
    pub ordinary: &'a [i64],
    /// Share of a row's ordinary tokens that is predicted.
    pub ratio: f32,
}

/// Chooses tokens of each row, at least one where there is an ordinary one. Of the chosen 80 % become
/// the mask token, 10 % another token, and 10 % stay, so that the model cannot tell which to trust.
pub(super) fn hide(arrays: &Arrays, rngs: &mut [Rng], hiding: &Hiding<'_>, name: &Name) -> Masked {
    let mut ids = arrays.i64("ids").clone(); // [rows, tokens]
    let (mut rows, mut tokens, mut truth) = (Vec::new(), Vec::new(), Vec::new());
    for (row, (mut line, rng)) in ids.outer_iter_mut().zip(rngs).enumerate() {
        for token in choose(line.iter(), rng, hiding) {
            rows.push(row);
            tokens.push(token);
            truth.push(line[token]);
            line[token] = disguise(line[token], rng, hiding);
        }
    }
    let target = MaskTarget { modality: name.clone(), head: 0, rows, tokens, truth: Truth::Classes(truth) };
    let targets = if target.rows.is_empty() { Vec::new() } else { vec![target] };
    Masked { arrays: arrays.clone().with("ids", Array::I64(ids)), targets }
}

/// Ascending.
fn choose<'a>(line: impl Iterator<Item = &'a i64>, rng: &mut Rng, hiding: &Hiding<'_>) -> Vec<usize> {
    let ordinary = |(token, id): (usize, &i64)| hiding.ordinary.binary_search(id).is_ok().then_some(token);
    let candidates: Vec<usize> = line.enumerate().filter_map(ordinary).collect();
    if candidates.is_empty() {
        return candidates;
    }
    let count = (candidates.len() as f32 * hiding.ratio).round() as usize;
    let chosen = index::sample(rng, candidates.len(), count.clamp(1, candidates.len()));
    let mut chosen: Vec<usize> = chosen.into_iter().map(|place| candidates[place]).collect();
    chosen.sort_unstable();
    chosen
}

fn disguise(id: i64, rng: &mut Rng, hiding: &Hiding<'_>) -> i64 {
    match rng.random_range(0..10) {
        0..8 => hiding.mask,
        8 => hiding.ordinary[rng.random_range(0..hiding.ordinary.len())],
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use sensorium_contract::Seed;

    use super::*;

    const HIDING: Hiding<'static> = Hiding { mask: 4, ordinary: &[5, 6, 7, 8, 9, 10, 11, 12, 13, 14], ratio: 0.15 };

    fn hidden(ids: Array2<i64>) -> (Array2<i64>, Vec<usize>, Vec<usize>, Vec<i64>) {
        let mut rngs: Vec<Rng> = (0..ids.nrows()).map(|row| Seed::new(1).number(row as u64).rng()).collect();
        let arrays = Arrays::default().with("ids", Array::I64(ids.into_dyn()));
        let masked = hide(&arrays, &mut rngs, &HIDING, &Name::new("text"));
        let ids = masked.arrays.i64("ids").clone().into_dimensionality().unwrap();
        let Some(MaskTarget { rows, tokens, truth: Truth::Classes(truth), .. }) = masked.targets.into_iter().next()
        else {
            return (ids, Vec::new(), Vec::new(), Vec::new());
        };
        (ids, rows, tokens, truth)
    }

    #[test]
    fn eighty_ten_ten() {
        let ids = Array2::from_shape_fn([400, 102], |(row, token)| match token {
            0 => 2,
            101 => 3,
            _ => 5 + ((row + token) % 10) as i64,
        });
        let (masked, rows, tokens, truth) = hidden(ids.clone());
        assert_eq!(truth.len(), 400 * 15);
        let (mut mask, mut other, mut same) = (0.0, 0.0, 0.0);
        for ((&row, &token), &truth) in rows.iter().zip(&tokens).zip(&truth) {
            assert_eq!(ids[[row, token]], truth);
            match masked[[row, token]] {
                4 => mask += 1.0,
                id if id == truth => same += 1.0,
                _ => other += 1.0,
            }
        }
        let count = truth.len() as f64;
        // A random token is the true one in 1 of 10.
        assert!((mask / count - 0.80).abs() < 0.02, "{mask} of {count}");
        assert!((other / count - 0.09).abs() < 0.015, "{other} of {count}");
        assert!((same / count - 0.11).abs() < 0.015, "{same} of {count}");
        let changed = ids.indexed_iter().filter(|(at, id)| masked[*at] != **id).count();
        assert_eq!(changed as f64, mask + other, "nothing but the targets changes");
    }

    #[test]
    fn special_tokens_are_never_hidden() {
        let ids = Array2::from_shape_fn([300, 6], |(row, token)| match token {
            0 => 2,
            1 => 5 + (row % 10) as i64,
            2 => 1,
            3 => 3,
            _ => 0,
        });
        let (masked, rows, tokens, _) = hidden(ids.clone());
        assert_eq!(rows, (0..300).collect::<Vec<_>>(), "one a row at least");
        assert!(tokens.iter().all(|&token| token == 1));
        assert!(masked.iter().filter(|&&id| id == 4).count() > 200);
        let (masked, rows, ..) = hidden(Array2::from_elem([3, 4], 1));
        assert!(rows.is_empty() && masked.iter().all(|&id| id == 1));
    }
}
