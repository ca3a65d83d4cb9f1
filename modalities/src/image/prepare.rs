use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use ndarray::{Array3, ArrayD, Axis, IxDyn};
use sensorium_contract::{Array, Arrays, Fault, Head, Item, Masked, Modality, Name, Rng, Sample, Value};

use super::{
    augment::augment,
    config::{ImageConfig, ImageError},
    decode::{Levels, Picture, decode},
    resize::{fit, scale},
    targets,
};
use crate::patches::{MASK, PATCHES};

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
    /// Samples that hold more pictures than are read.
    cut: AtomicU64,
}

impl Image {
    /// An image modality that the recipe calls `name`.
    ///
    /// # Errors
    /// If the configuration cannot work, as [`ImageConfig::validate`] says.
    pub fn new(name: &Name, config: ImageConfig) -> Result<Self, ImageError> {
        config.validate()?;
        let [decoded, enlarged, cut] = [0; 3].map(AtomicU64::new);
        Ok(Self { name: name.clone(), config, decoded, enlarged, cut })
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

    /// The files of a sample's pictures, as many as are read.
    fn files<'a>(&self, value: &'a Value) -> Result<Vec<&'a Arc<[u8]>>, Fault> {
        let config = &self.config;
        let all = match value {
            Value::List(values) => &values[..],
            one => std::slice::from_ref(one),
        };
        if all.len() > config.pictures {
            self.cut.fetch_add(1, Ordering::Relaxed);
        }
        let file = |value: &'a Value| match value {
            Value::Bytes(bytes) => Ok(bytes),
            other => {
                let detail = format!("a picture file's bytes expected, found {}", other.kind());
                Err(Fault::new(&config.field, "field is no picture", detail))
            }
        };
        all.iter().take(config.pictures).map(file).collect()
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

/// The array of the picture of this place in a sample; that of the first is called as it would be alone.
fn numbered(name: &str, at: usize) -> String {
    if at == 0 { name.to_owned() } else { format!("{name} {at}") }
}

/// How many pictures an item holds.
fn pictures(arrays: &Arrays) -> usize {
    (0..).take_while(|&at| arrays.contains(&numbered(PIXELS, at))).count()
}

impl Modality for Image {
    fn decode(&self, sample: &Sample) -> Result<Option<Item>, Fault> {
        let config = &self.config;
        let Some(value) = sample.fields.get(&config.field) else { return Ok(None) };
        let files = self.files(value)?;
        let mut arrays = Arrays::default();
        for (at, bytes) in files.iter().enumerate() {
            let picture = decode(&config.field, bytes, config.channels, config.background, config.window)?;
            self.count(&picture);
            let own = self.arrays(picture)?;
            arrays = own.iter().fold(arrays, |all, (name, array)| all.with(numbered(name, at), array.clone()));
        }
        let content = match &files[..] {
            [] => return Ok(None),
            [one] => crate::patches::content(one),
            several => {
                crate::patches::content(&several.iter().flat_map(|file| file.iter().copied()).collect::<Vec<u8>>())
            }
        };
        Ok(Some(Item { arrays, content }))
    }

    fn augment(&self, item: Item, rng: &mut Rng) -> Item {
        if self.config.augment == Default::default() {
            return item;
        }
        let mut arrays = Arrays::default();
        for at in 0..pictures(&item.arrays) {
            let names = [PIXELS, FULL].map(|name| (name, numbered(name, at)));
            let own = names.into_iter().filter(|(_, own)| item.arrays.contains(own));
            let own = own
                .fold(Arrays::default(), |all, (name, own)| all.with(name, Array::F32(item.arrays.f32(&own).clone())));
            let changed = augment(Item { arrays: own, content: item.content }, &self.config, rng);
            arrays = arrays.with(numbered(PIXELS, at), Array::F32(changed.arrays.f32(PIXELS).clone()));
        }
        Item { arrays, ..item }
    }

    fn collate(&self, items: &[Item]) -> Arrays {
        let patches = self.config.grid().patches();
        let counts: Vec<usize> = items.iter().map(|item| pictures(&item.arrays)).collect();
        let most = counts.iter().copied().max().unwrap_or(1);
        let mut values = Vec::with_capacity(items.len() * most * patches * self.config.patch_values());
        for (row, (item, count)) in items.iter().zip(&counts).enumerate() {
            (0..*count).for_each(|at| patchify(item.arrays.f32(&numbered(PIXELS, at)), self.config.patch, &mut values));
            values.resize((row + 1) * most * patches * self.config.patch_values(), 0.0);
        }
        let shape = [items.len(), most * patches, self.config.patch_values()];
        // Every picture has the configured size.
        let values = ArrayD::from_shape_vec(IxDyn(&shape), values).unwrap_or_else(|error| unreachable!("{error}"));
        let arrays = Arrays::default().with(PATCHES, Array::F32(values));
        match counts.iter().all(|count| *count == most) {
            true => arrays,
            false => {
                let real = |at: IxDyn| at[1] < counts[at[0]] * patches;
                arrays.with(MASK, Array::Bool(ArrayD::from_shape_fn(IxDyn(&shape[..2]), real)))
            }
        }
    }

    fn mask(&self, arrays: &Arrays, rngs: &mut [Rng]) -> Masked {
        targets::mask(&self.name, &self.config, arrays, rngs)
    }

    fn heads(&self) -> Vec<Head> {
        targets::heads(&self.config)
    }

    fn max_tokens(&self) -> usize {
        self.config.pictures * self.config.grid().patches() + self.config.offset()
    }

    fn remarks(&self) -> Vec<String> {
        let (decoded, enlarged) = (self.decoded.load(Ordering::Relaxed), self.enlarged.load(Ordering::Relaxed));
        let [height, width] = self.config.size.sides();
        let remark =
            || format!("{enlarged} of {decoded} pictures are smaller than {height} x {width} and were enlarged");
        let (cut, most) = (self.cut.load(Ordering::Relaxed), self.config.pictures);
        let left_out = || format!("{cut} samples hold more than {most} pictures, of which the first are read");
        (enlarged > 0).then(remark).into_iter().chain((cut > 0).then(left_out)).collect()
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
    fn several_pictures_stand_one_after_the_other() {
        let image = image(ImageConfig { pictures: 2, ..small() });
        let [a, b] = [png(6, 4), png(4, 6)].map(|bytes| Value::Bytes(bytes.into()));
        let item = |value: Value| image.decode(&sample(value)).unwrap().unwrap();
        let list = |values: &[&Value]| item(Value::List(values.iter().map(|value| (*value).clone()).collect()));
        assert_eq!(list(&[&a]), item(a.clone()), "a list of one is its picture");
        assert_eq!(list(&[&a, &b, &a]), list(&[&a, &b]), "the third is left out");
        assert!(image.remarks().iter().any(|remark| remark.starts_with("1 samples hold more than 2 pictures")));
        assert_eq!(image.decode(&sample(Value::List(Vec::new()))).unwrap(), None);

        let arrays = image.collate(&[list(&[&a, &b]), item(b.clone())]);
        let alone = image.collate(&[item(a), item(b)]);
        assert!(!alone.contains(MASK));
        let [together, alone] = [&arrays, &alone].map(|arrays| arrays.f32(PATCHES));
        assert_eq!(together.shape(), [2, 12, 12]);
        assert_eq!(together.slice(ndarray::s![0, 0..6, ..]), alone.slice(ndarray::s![0, .., ..]));
        assert_eq!(together.slice(ndarray::s![0, 6..12, ..]), alone.slice(ndarray::s![1, .., ..]));
        assert_eq!(together.slice(ndarray::s![1, 0..6, ..]), alone.slice(ndarray::s![1, .., ..]));
        let real: Vec<usize> =
            arrays.bool(MASK).outer_iter().map(|row| row.iter().filter(|real| **real).count()).collect();
        assert_eq!(real, [12, 6]);
        assert_eq!(image.max_tokens(), 13);
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
