use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::{Array3, ArrayD, Axis, IxDyn};
use sensorium_contract::{Array, Arrays, Fault, Head, Item, Masked, Modality, Name, Rng, Sample, Value};

use super::{
    augment::augment,
    config::{ImageConfig, ImageError},
    decode::{Levels, Picture, decode},
    resize::{fit, scale},
    targets,
};
use crate::patches::PATCHES;

/// Array of an item: normalised levels, `[channels, height, width]`.
pub(super) const PIXELS: &str = "pixels";
/// Array of an item: the whole picture, of its own shape, that random rectangles are cut from.
pub(super) const FULL: &str = "full";

/// The host side of an image modality.
#[derive(Debug)]
pub struct Image {
    name: Name,
    config: ImageConfig,
    decoded: AtomicU64,
    enlarged: AtomicU64,
}

impl Image {
    /// An image modality that the recipe calls `name`.
    ///
    /// # Errors
    /// If the configuration cannot work, as [`ImageConfig::validate`] says.
    pub fn new(name: &Name, config: ImageConfig) -> Result<Self, ImageError> {
        config.validate()?;
        Ok(Self { name: name.clone(), config, decoded: AtomicU64::new(0), enlarged: AtomicU64::new(0) })
    }

    /// What the recipe says.
    pub fn config(&self) -> &ImageConfig {
        &self.config
    }

    fn count(&self, picture: &Picture) {
        let [height, width] = self.config.size.sides();
        self.decoded.fetch_add(1, Ordering::Relaxed);
        if picture.height < height || picture.width < width {
            self.enlarged.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn arrays(&self, picture: Picture) -> Result<Arrays, Fault> {
        let config = &self.config;
        let fault = |error| Fault::new(&config.field, "picture cannot be resized", error);
        let full = match config.augment.crop_scale {
            Some([least, _]) => Some(shrunk(picture.clone(), config, least).map_err(fault)?),
            None => None,
        };
        let fitted = fit(picture, config).map_err(fault)?;
        let arrays = Arrays::default().with(PIXELS, normalise(&fitted, config));
        Ok(match full {
            Some(full) => arrays.with(FULL, normalise(&full, config)),
            None => arrays,
        })
    }
}

impl Modality for Image {
    fn decode(&self, sample: &Sample) -> Result<Option<Item>, Fault> {
        let config = &self.config;
        let bytes = match sample.fields.get(&config.field) {
            None => return Ok(None),
            Some(Value::Bytes(bytes)) => bytes,
            Some(other) => {
                let detail = format!("a picture file's bytes expected, found {}", other.kind());
                return Err(Fault::new(&config.field, "field is no picture", detail));
            }
        };
        let picture = decode(&config.field, bytes, config.channels, config.background)?;
        self.count(&picture);
        Ok(Some(Item { arrays: self.arrays(picture)?, content: crate::patches::content(bytes) }))
    }

    fn augment(&self, item: Item, rng: &mut Rng) -> Item {
        match self.config.augment == Default::default() {
            true => item,
            false => augment(item, &self.config, rng),
        }
    }

    fn collate(&self, items: &[Item]) -> Arrays {
        let patches = self.config.grid().patches() * self.config.patch_values();
        let mut values = Vec::with_capacity(items.len() * patches);
        for item in items {
            patchify(item.arrays.f32(PIXELS), self.config.patch, &mut values);
        }
        let shape = [items.len(), self.config.grid().patches(), self.config.patch_values()];
        // Every item has the configured size.
        let values = ArrayD::from_shape_vec(IxDyn(&shape), values).unwrap_or_else(|error| unreachable!("{error}"));
        Arrays::default().with(PATCHES, Array::F32(values))
    }

    fn mask(&self, arrays: &Arrays, rngs: &mut [Rng]) -> Masked {
        targets::mask(&self.name, &self.config, arrays, rngs)
    }

    fn heads(&self) -> Vec<Head> {
        targets::heads(&self.config)
    }

    fn max_tokens(&self) -> usize {
        self.config.grid().patches() + self.config.offset()
    }

    fn remarks(&self) -> Vec<String> {
        let (decoded, enlarged) = (self.decoded.load(Ordering::Relaxed), self.enlarged.load(Ordering::Relaxed));
        let [height, width] = self.config.size.sides();
        let remark =
            || format!("{enlarged} of {decoded} pictures are smaller than {height} x {width} and were enlarged");
        (enlarged > 0).then(remark).into_iter().collect()
    }
}

impl ImageConfig {
    /// Mean and deviation of a channel.
    pub(super) fn normalisation(&self, channel: usize) -> (f32, f32) {
        let of = |values: &[f32]| values[channel.min(values.len() - 1)];
        (of(&self.mean), of(&self.std))
    }
}

/// The picture no larger than its smallest random rectangle needs.
fn shrunk(picture: Picture, config: &ImageConfig, least: f32) -> Result<Picture, fast_image_resize::ResizeError> {
    let [height, width] = config.size.sides();
    let needed = height.max(width) as f64 / f64::from(least).sqrt();
    let share = needed / picture.height.min(picture.width) as f64;
    if share >= 1.0 {
        return Ok(picture);
    }
    let side = |length: usize| (length as f64 * share).ceil() as usize;
    let to = [side(picture.height), side(picture.width)];
    scale(picture, to, config.filter)
}

/// `[height, width, channels]` of levels → `[channels, height, width]`, less the mean, by the deviation.
fn normalise(picture: &Picture, config: &ImageConfig) -> Array {
    let (height, width, channels) = (picture.height, picture.width, picture.channels);
    let mut values = vec![0.0; channels * height * width];
    for (channel, plane) in values.chunks_exact_mut(height * width).enumerate() {
        let (mean, std) = config.normalisation(channel);
        match &picture.levels {
            Levels::Byte(levels) => {
                let value: [f32; 256] = std::array::from_fn(|level| (level as f32 / 255.0 - mean) / std);
                let levels = levels[channel..].iter().step_by(channels);
                plane.iter_mut().zip(levels).for_each(|(to, &level)| *to = value[usize::from(level)]);
            }
            Levels::Deep(levels) => {
                let levels = levels[channel..].iter().step_by(channels);
                plane.iter_mut().zip(levels).for_each(|(to, level)| *to = (level.clamp(0.0, 1.0) - mean) / std);
            }
        }
    }
    // As many values as the shape says.
    let values = Array3::from_shape_vec((channels, height, width), values).unwrap_or_else(|e| unreachable!("{e}"));
    Array::F32(values.into_dyn())
}

/// Appends a picture's patches, rows of patches first; in a patch channels, then rows, then columns.
fn patchify(pixels: &ArrayD<f32>, patch: usize, values: &mut Vec<f32>) {
    let (height, width) = (pixels.len_of(Axis(1)), pixels.len_of(Axis(2)));
    let standard = pixels.as_standard_layout();
    let Some(levels) = standard.as_slice() else { unreachable!("an array of standard layout is a slice") };
    for top in (0..height).step_by(patch) {
        for left in (0..width).step_by(patch) {
            for plane in levels.chunks_exact(height * width) {
                for y in top..top + patch {
                    values.extend_from_slice(&plane[y * width + left..y * width + left + patch]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use ::image::{DynamicImage, ImageFormat, Rgb, RgbImage};
    use sensorium_contract::Seed;

    use super::*;
    use crate::image::{ImageAugment, Size};

    fn png(width: u32, height: u32) -> Vec<u8> {
        let image = RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, (x + y) as u8]));
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::ImageRgb8(image).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn sample(value: Value) -> Sample {
        Sample { key: "a".to_owned(), fields: [("image".to_owned(), value)].into() }
    }

    fn image(config: ImageConfig) -> Image {
        Image::new(&Name::new("image"), config).unwrap()
    }

    fn small() -> ImageConfig {
        ImageConfig {
            size: Size::Sides([4, 6]),
            patch: 2,
            mean: vec![0.0],
            std: vec![1.0 / 255.0],
            ..Default::default()
        }
    }

    #[test]
    fn a_missing_field_is_absent_and_another_kind_a_fault() {
        let image = image(small());
        assert_eq!(image.decode(&Sample::default()).unwrap(), None);
        assert!(image.decode(&sample(Value::Text("x.png".to_owned()))).unwrap_err().detail.contains("text"));
        assert!(image.decode(&sample(Value::Bytes([].into()))).is_err());
    }

    #[test]
    fn patches_hold_their_pixels() {
        let image = image(small());
        let item = image.decode(&sample(Value::Bytes(png(6, 4).into()))).unwrap().unwrap();
        let arrays = image.collate(&[item.clone(), item]);
        let patches = arrays.f32(PATCHES);
        assert_eq!(patches.shape(), [2, 6, 12]);
        // The second patch of the second row of patches: columns 2 and 3, rows 2 and 3.
        let patch: Vec<f32> = patches.slice(ndarray::s![1, 4, ..]).iter().map(|v| v.round()).collect();
        assert_eq!(patch, [2., 3., 2., 3., 2., 2., 3., 3., 4., 5., 5., 6.]);
        assert_eq!(image.max_tokens(), 7);
    }

    #[test]
    fn equal_files_have_equal_content() {
        let image = image(small());
        let content = |bytes: Vec<u8>| image.decode(&sample(Value::Bytes(bytes.into()))).unwrap().unwrap().content;
        assert_eq!(content(png(6, 4)), content(png(6, 4)));
        assert_ne!(content(png(6, 4)), content(png(4, 6)));
        assert_eq!(image.remarks().len(), 1, "the second is narrower than six pixels");
    }

    #[test]
    fn random_rectangles_come_from_more_pixels_than_the_encoder_sees() {
        let augment = ImageAugment { crop_scale: Some([0.25, 1.0]), ..Default::default() };
        let image = image(ImageConfig { augment, ..small() });
        let item = image.decode(&sample(Value::Bytes(png(60, 40).into()))).unwrap().unwrap();
        assert_eq!(item.arrays.f32(FULL).shape(), [3, 12, 18]);
        let arrays = image.collate(std::slice::from_ref(&item));
        let changed = image.collate(&[image.augment(item, &mut Seed::new(0).rng())]);
        assert_eq!(arrays.f32(PATCHES).shape(), changed.f32(PATCHES).shape());
        assert_ne!(arrays, changed);
    }
}
