use ndarray::{Array3, ArrayView3, Axis, Ix3, s};
use rand::RngExt;
use sensorium_contract::{Array, Arrays, Item, Rng};

use super::{
    config::{Filter, ImageConfig},
    prepare::{FULL, PIXELS},
    resize::{Rectangle, scale_plane},
};

/// How often a random rectangle is drawn again if it does not lie within the picture.
const TRIES: usize = 10;

/// The item with its pixels changed as the configuration allows.
pub(super) fn augment(item: Item, config: &ImageConfig, rng: &mut Rng) -> Item {
    let changes = &config.augment;
    let mut pixels = match changes.crop_scale {
        Some(scale) if item.arrays.contains(FULL) => {
            crop(&three(&item.arrays, FULL), scale, config.size.sides(), config.filter, rng)
        }
        _ => three(&item.arrays, PIXELS).to_owned(),
    };
    if changes.flip && rng.random::<bool>() {
        pixels.invert_axis(Axis(2));
    }
    if changes.shift > 0 {
        let reach = changes.shift as i64;
        pixels = roll(&pixels.view(), [rng.random_range(-reach..=reach), rng.random_range(-reach..=reach)]);
    }
    if changes.brightness > 0.0 {
        brighten(&mut pixels, config, 1.0 + rng.random_range(-changes.brightness..=changes.brightness));
    }
    let pixels = pixels.as_standard_layout().into_owned().into_dyn();
    Item { arrays: Arrays::default().with(PIXELS, Array::F32(pixels)), content: item.content }
}

/// `[channels, height, width]`
fn three<'a>(arrays: &'a Arrays, name: &str) -> ArrayView3<'a, f32> {
    // Decoding makes pictures of three axes only.
    match arrays.f32(name).view().into_dimensionality::<Ix3>() {
        Ok(view) => view,
        Err(error) => unreachable!("{name}: {error}"),
    }
}

/// A random rectangle of `scale` of the area, scaled to `size` (Szegedy et al. 2015).
fn crop(full: &ArrayView3<f32>, scale: [f32; 2], size: [usize; 2], filter: Filter, rng: &mut Rng) -> Array3<f32> {
    let (channels, height, width) = full.dim();
    let rectangle = rectangle([height, width], scale, rng);
    let plane = |plane: ndarray::ArrayView2<f32>| {
        let levels: Vec<f32> = plane.iter().copied().collect();
        // The rectangle lies within the picture and no side is 0, which are the errors that there are.
        match scale_plane(&levels, [height, width], rectangle, size, filter) {
            Ok(levels) => levels,
            Err(error) => unreachable!("{rectangle:?} of {height} x {width}: {error}"),
        }
    };
    let levels: Vec<f32> = full.outer_iter().flat_map(plane).collect();
    let [height, width] = size;
    // As many levels as the shape says.
    Array3::from_shape_vec((channels, height, width), levels).unwrap_or_else(|error| unreachable!("{error}"))
}

fn rectangle([height, width]: [usize; 2], scale: [f32; 2], rng: &mut Rng) -> Rectangle {
    let (full_height, full_width) = (height as f64, width as f64);
    for _ in 0..TRIES {
        let area = f64::from(rng.random_range(scale[0]..=scale[1])) * full_height * full_width;
        let aspect = rng.random_range((0.75f64).ln()..=(4.0f64 / 3.0).ln()).exp(); // width / height
        let (width, height) = ((area * aspect).sqrt().round(), (area / aspect).sqrt().round());
        if width >= 1.0 && height >= 1.0 && width <= full_width && height <= full_height {
            let left = rng.random_range(0..=(full_width - width) as u64) as f64;
            let top = rng.random_range(0..=(full_height - height) as u64) as f64;
            return Rectangle { left, top, width, height };
        }
    }
    // A very long picture: the square in its middle.
    let side = full_height.min(full_width);
    let (left, top) = (((full_width - side) / 2.0).floor(), ((full_height - side) / 2.0).floor());
    Rectangle { left, top, width: side, height: side }
}

/// Pixels that leave at one side come back at the other (`np.roll`).
fn roll(pixels: &ArrayView3<f32>, [down, right]: [i64; 2]) -> Array3<f32> {
    let (_, height, width) = pixels.dim();
    let (down, right) = (down.rem_euclid(height as i64) as usize, right.rem_euclid(width as i64) as usize);
    let mut rolled = Array3::zeros(pixels.raw_dim());
    for (to_y, from_y) in [(0..down, height - down..height), (down..height, 0..height - down)] {
        for (to_x, from_x) in [(0..right, width - right..width), (right..width, 0..width - right)] {
            rolled.slice_mut(s![.., to_y.clone(), to_x]).assign(&pixels.slice(s![.., from_y.clone(), from_x]));
        }
    }
    rolled
}

/// Multiplies levels between 0 and 1 by `factor`, through the normalisation.
fn brighten(pixels: &mut Array3<f32>, config: &ImageConfig, factor: f32) {
    for (channel, mut plane) in pixels.outer_iter_mut().enumerate() {
        let (mean, std) = config.normalisation(channel);
        plane.mapv_inplace(|value| (((value * std + mean) * factor).clamp(0.0, 1.0) - mean) / std);
    }
}

#[cfg(test)]
mod tests {
    use sensorium_contract::Seed;

    use super::*;
    use crate::image::{ImageAugment, Size};

    fn item(side: usize) -> Item {
        let pixels = Array3::from_shape_fn((1, side, side), |(_, y, x)| (y * side + x) as f32 / 1000.0);
        let arrays = Arrays::default().with(PIXELS, Array::F32(pixels.into_dyn()));
        Item { arrays, content: 7 }
    }

    fn config(augment: ImageAugment) -> ImageConfig {
        ImageConfig { size: Size::Square(8), channels: 1, augment, ..ImageConfig::default() }
    }

    #[test]
    fn nothing_changes_by_default() {
        assert_eq!(augment(item(8), &config(ImageAugment::default()), &mut Seed::new(1).rng()), item(8));
    }

    #[test]
    fn rolling_moves_every_pixel_around() {
        let pixels = Array3::from_shape_fn((1, 3, 3), |(_, y, x)| (y * 3 + x) as f32);
        let rolled = roll(&pixels.view(), [1, -1]);
        assert_eq!(rolled.iter().copied().collect::<Vec<_>>(), [7.0, 8.0, 6.0, 1.0, 2.0, 0.0, 4.0, 5.0, 3.0]);
    }

    #[test]
    fn the_same_seed_gives_the_same_changes_and_another_gives_others() {
        let config = config(ImageAugment { flip: true, shift: 3, brightness: 0.2, crop_scale: None });
        let run = |seed| augment(item(8), &config, &mut Seed::new(seed).rng());
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert_eq!(run(1).content, 7);
    }

    #[test]
    fn rectangles_lie_within_the_picture_and_have_their_area() {
        let mut rng = Seed::new(3).rng();
        for _ in 0..200 {
            let r = rectangle([60, 90], [0.25, 0.5], &mut rng);
            assert!(r.left >= 0.0 && r.left + r.width <= 90.0 && r.top >= 0.0 && r.top + r.height <= 60.0, "{r:?}");
            let share = r.width * r.height / 5400.0;
            assert!((0.23..0.52).contains(&share), "{share}");
        }
        let long = rectangle([2, 900], [0.9, 1.0], &mut rng);
        assert_eq!((long.width, long.height), (2.0, 2.0));
    }

    #[test]
    fn a_crop_comes_from_the_full_picture() {
        let full = Array3::from_shape_fn((1, 40, 40), |(_, y, x)| (y * 40 + x) as f32);
        let item = Item { arrays: item(8).arrays.with(FULL, Array::F32(full.into_dyn())), content: 7 };
        let config = config(ImageAugment { crop_scale: Some([0.3, 0.6]), ..ImageAugment::default() });
        let cropped = augment(item, &config, &mut Seed::new(1).rng());
        assert!(!cropped.arrays.contains(FULL));
        assert_eq!(cropped.arrays.f32(PIXELS).shape(), [1, 8, 8]);
        assert!(cropped.arrays.f32(PIXELS).iter().any(|&level| level > 100.0));
    }
}
