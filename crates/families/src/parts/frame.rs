//! Pictures of any size that fill a part of their frame (ViLT, Kim et al. 2021).

use ndarray::{Array2, Array3, Axis, s};

/// Which patches of a frame are read, and where they stand. The first token of each row is that before the patches.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    /// Places of patches in the frame, row by row, `[rows, patches]`.
    pub patches: Array2<i64>,
    /// True where a token is real, `[rows, 1 + patches]`.
    pub real: Array2<bool>,
    /// How much each learned position counts for a token, `[rows, 1 + patches, positions]`.
    pub weights: Array3<f32>,
}

impl Frame {
    /// From what is filled of each frame, by patch `[rows, down, across]`; learned positions are on a `grid` of rows
    /// and columns. A row has as many patches as the largest picture, `most` at most: the frame's empty patches,
    /// hidden, where it has fewer, and evenly chosen ones where it has more.
    ///
    /// # Errors
    /// If a picture fills nothing.
    pub(crate) fn new(filled: &Array3<bool>, grid: [usize; 2], most: Option<usize>) -> Result<Self, String> {
        let (rows, _, across) = filled.dim();
        let sizes: Vec<[usize; 2]> = filled.outer_iter().map(|picture| size(&picture.to_owned())).collect();
        if let Some(row) = sizes.iter().position(|size| size.contains(&0)) {
            return Err(format!("picture {row} fills nothing at the top left of its frame"));
        }
        let largest = sizes.iter().map(|[down, across]| down * across).max().unwrap_or(0);
        let count = largest.min(most.unwrap_or(largest));
        let mut frame = Self {
            patches: Array2::zeros([rows, count]),
            real: Array2::from_elem([rows, 1 + count], true),
            weights: Array3::zeros([rows, 1 + count, 1 + grid[0] * grid[1]]),
        };
        frame.weights.slice_mut(s![.., 0, 0]).fill(1.0);
        for (row, picture) in filled.axis_iter(Axis(0)).enumerate() {
            let places =
                |wanted| picture.iter().enumerate().filter(move |&(_, &full)| full == wanted).map(|(place, _)| place);
            let full: Vec<usize> = places(true).collect();
            let kept = full.len().min(count);
            let chosen = (0..kept).map(|at| full[at * full.len() / kept]);
            let empty: Vec<usize> = places(false).collect();
            for (at, place) in chosen.chain(empty.into_iter().cycle()).take(count).enumerate() {
                frame.patches[[row, at]] = place as i64;
                frame.real[[row, 1 + at]] = at < kept;
                let place = [place / across, place % across];
                for (position, weight) in weights(place, sizes[row], grid) {
                    frame.weights[[row, 1 + at, 1 + position]] += weight;
                }
            }
        }
        Ok(frame)
    }
}

/// Rows and columns that a picture fills, as its first column and its first row say.
fn size(filled: &Array2<bool>) -> [usize; 2] {
    [filled.column(0), filled.row(0)].map(|line| line.iter().filter(|&&full| full).count())
}

/// Bilinear interpolation from `grid` to a picture of `size`, corner on corner; nothing outside the picture.
fn weights(place: [usize; 2], size: [usize; 2], grid: [usize; 2]) -> Vec<(usize, f32)> {
    if place[0] >= size[0] || place[1] >= size[1] {
        return Vec::new();
    }
    let [rows, columns] = [0, 1].map(|axis| between(place[axis], size[axis], grid[axis]));
    let weight = |(row, down): (usize, f32)| columns.map(|(column, across)| (row * grid[1] + column, down * across));
    rows.into_iter().flat_map(weight).collect()
}

/// The two of `points` between which one of `length` places lies, and their weights.
fn between(place: usize, length: usize, points: usize) -> [(usize, f32); 2] {
    let step = if length > 1 { (points - 1) as f32 / (length - 1) as f32 } else { 0.0 };
    let at = step * place as f32;
    let low = (at as usize).min(points - 1);
    let high = (low + 1).min(points - 1);
    let part = at - low as f32;
    [(low, 1.0 - part), (high, part)]
}

/// What is filled of each patch, `[rows, down, across]`, from what is filled of each pixel: of the nearest one.
pub(crate) fn by_patch(pixels: &Array3<bool>, [down, across]: [usize; 2]) -> Array3<bool> {
    let (rows, height, width) = pixels.dim();
    let nearest = |at: usize, length: usize, count: usize| {
        let step = length as f32 / count as f32;
        ((at as f32 * step) as usize).min(length - 1)
    };
    Array3::from_shape_fn([rows, down, across], |(row, y, x)| {
        pixels[[row, nearest(y, height, down), nearest(x, width, across)]]
    })
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    /// 2 × 2 and 1 × 3 of frames of 2 × 3.
    fn two() -> Array3<bool> {
        let [t, f] = [true, false];
        array![[[t, t, f], [t, t, f]], [[t, t, t], [f, f, f]]]
    }

    #[test]
    fn smaller_pictures_end_in_hidden_patches() {
        let frame = Frame::new(&two(), [2, 2], None).unwrap();
        assert_eq!(frame.patches, array![[0, 1, 3, 4], [0, 1, 2, 3]]);
        assert_eq!(frame.real.row(1).to_vec(), [true, true, true, true, false]);
        // The corners of a picture have the corners' positions, its middle is between them.
        assert_eq!(frame.weights.slice(s![0, 4, ..]).to_vec(), [0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(frame.weights.slice(s![1, 2, ..]).to_vec(), [0.0, 0.5, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn more_patches_than_may_be_are_thinned_out() {
        let frame = Frame::new(&two(), [2, 2], Some(2)).unwrap();
        assert_eq!(frame.patches, array![[0, 3], [0, 1]]);
    }

    #[test]
    fn an_empty_picture_is_refused() {
        assert!(Frame::new(&Array3::from_elem([1, 2, 2], false), [2, 2], None).is_err());
    }

    #[test]
    fn a_patch_is_filled_as_its_nearest_pixel() {
        let pixels = Array3::from_shape_fn([1, 4, 6], |(_, y, x)| y < 2 && x < 4);
        assert_eq!(by_patch(&pixels, [2, 3]), array![[[true, true, false], [false, false, false]]]);
    }
}
