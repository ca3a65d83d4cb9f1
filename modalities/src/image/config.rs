use sensorium_contract::Pool;
use serde::{Deserialize, Serialize};

/// What a recipe says about an image modality.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageConfig {
    /// The sample's field, which holds a picture file's bytes.
    pub field: String,
    /// Pixels that the encoder sees: one number for a square, or `[height, width]`.
    pub size: Size,
    /// Side of a patch in pixels; it must divide both sides of `size`.
    pub patch: usize,
    /// 3 for colour, 1 for grey (ITU-R 601 luma, as Pillow's mode `L`).
    pub channels: usize,
    /// How a picture of another shape becomes one of `size`.
    pub resize: Resize,
    /// What it is resized to before `size` is cut from its centre; `size` itself if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaled: Option<Size>,
    /// The antialiasing filter of resizing.
    pub filter: Filter,
    /// Subtracted from values between 0 and 1; one number, or one a channel.
    pub mean: Vec<f32>,
    /// Divides what is left; one number, or one a channel.
    pub std: Vec<f32>,
    /// The colour (0–255 red, green, blue) that shows through transparent pixels and fills `pad`.
    pub background: [u8; 3],
    /// How the tokens become one vector: `class` adds a class token in front, `mean` needs none.
    pub pool: Pool,
    /// Share of the patches that masked modelling hides (He et al. 2022 hide 0.75 of larger grids).
    pub mask_ratio: f32,
    /// The epsilon of a normalisation of the tokens before the trunk (CLIP has 1e-5); none if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm: Option<f64>,
    /// The range of a file's levels that becomes 0 to 1, as in radiology; if not given all of it, or what a DICOM file
    /// names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// The most pictures of one sample that are read, the first ones of a list in its field. All patches of a sample are its
    /// tokens, and those of each picture have the same positions.
    #[serde(skip_serializing_if = "is_one")]
    pub pictures: usize,
    /// Random changes while training; all off by default.
    pub augment: ImageAugment,
}

/// A range of levels as a file holds them (0 to 255, or to 65,535 with 16 bits; in files of floats
/// 65,535 stands for 1; in DICOM the unit of the modality), by its middle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The level that becomes a half.
    pub centre: f32,
    /// How many levels there are from 0 to 1.
    pub width: f32,
}

impl Window {
    /// Where a level lies in the range.
    pub(super) fn place(self, level: f32) -> f32 {
        ((level - self.centre) / self.width + 0.5).clamp(0.0, 1.0)
    }
}

fn is_one(pictures: &usize) -> bool {
    *pictures == 1
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self {
            field: "image".to_owned(),
            size: Size::Square(64),
            patch: 8,
            channels: 3,
            resize: Resize::Stretch,
            scaled: None,
            filter: Filter::Bicubic,
            mean: vec![0.5],
            std: vec![0.5],
            background: [255; 3],
            pool: Pool::Class,
            mask_ratio: 0.6,
            norm: None,
            window: None,
            pictures: 1,
            augment: ImageAugment::default(),
        }
    }
}

/// A picture's size in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    /// Height and width alike.
    Square(usize),
    /// Height, then width.
    Sides([usize; 2]),
}

impl Size {
    /// One number where both sides are alike.
    pub fn of([height, width]: [usize; 2]) -> Self {
        if height == width { Self::Square(height) } else { Self::Sides([height, width]) }
    }

    /// Height and width.
    pub fn sides(self) -> [usize; 2] {
        match self {
            Self::Square(side) => [side, side],
            Self::Sides(sides) => sides,
        }
    }
}

/// How a picture of another shape becomes one of the wanted size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// Both sides are scaled to fit; the shape is not kept.
    Stretch,
    /// Scaled until it covers the wanted size, then cut around the centre.
    Crop,
    /// Scaled until it fits into the wanted size, the rest filled with the background.
    Pad,
}

/// A resampling filter, as Pillow defines it: widened when a picture shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Cubic convolution with a = −0.5.
    Bicubic,
    /// Triangle.
    Bilinear,
    /// Windowed sinc of three lobes.
    Lanczos,
}

/// Random changes to a picture while training. Each is off unless set: whether a change keeps the
/// meaning depends on the data (a flipped arrow is another arrow).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImageAugment {
    /// Cut a random rectangle that holds this share of the picture's area, `[least, most]`, with an aspect
    /// ratio changed by up to 3/4 or 4/3, and scale it to `size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop_scale: Option<[f32; 2]>,
    /// Mirror left and right in half of the cases.
    pub flip: bool,
    /// Roll the picture around by up to so many pixels in each direction.
    pub shift: usize,
    /// Multiply the brightness by a factor between `1 − brightness` and `1 + brightness`.
    pub brightness: f32,
}

/// An image configuration that no data could make right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("image key `{key}`: expected {expected}, found {found}")]
pub struct ImageError {
    /// The key of [`ImageConfig`].
    pub key: &'static str,
    /// What it may be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl ImageConfig {
    /// Rows and columns of patches.
    pub fn grid(&self) -> super::Grid {
        let [height, width] = self.size.sides();
        super::Grid { rows: height / self.patch, columns: width / self.patch }
    }

    /// Numbers in one patch: channels, then rows, then columns.
    pub fn patch_values(&self) -> usize {
        self.channels * self.patch * self.patch
    }

    /// Tokens in front of the patches: 1 with a class token.
    pub(crate) fn offset(&self) -> usize {
        usize::from(self.pool == Pool::Class)
    }

    /// Whether the values can work together.
    ///
    /// # Errors
    /// Names the first key that cannot.
    pub fn validate(&self) -> Result<(), ImageError> {
        let [height, width] = self.size.sides();
        let sides = format!("{height} x {width}");
        check("patch", self.patch > 0, "at least 1 pixel", self.patch)?;
        let fits = height > 0 && width > 0 && height % self.patch == 0 && width % self.patch == 0;
        check("size", fits, format!("multiples of the patch, {}", self.patch), sides)?;
        check("size", height.max(width) <= 8192, "at most 8192 pixels a side", format!("{height} x {width}"))?;
        check("channels", matches!(self.channels, 1 | 3), "1 or 3", self.channels)?;
        for (key, values) in [("mean", &self.mean), ("std", &self.std)] {
            let count = values.len() == 1 || values.len() == self.channels;
            let sound = values.iter().all(|value| value.is_finite() && (key == "mean" || *value > 0.0));
            let expected =
                format!("1 or {} finite numbers{}", self.channels, if key == "std" { " above 0" } else { "" });
            check(key, count && sound, expected, format!("{values:?}"))?;
        }
        if let Some([height, width]) = self.scaled.map(Size::sides) {
            let sound = (1..=8192).contains(&height) && (1..=8192).contains(&width) && self.resize != Resize::Pad;
            check("scaled", sound, "1 to 8192 pixels a side, and no `pad`", format!("{height} x {width}"))?;
        }
        if let Some(norm) = self.norm {
            check("norm", norm.is_finite() && norm > 0.0, "a number above 0", norm)?;
        }
        check("pool", self.pool != Pool::Last, "`class`, `mean` or `statistics`", "`last`")?;
        check("mask_ratio", (0.0..=1.0).contains(&self.mask_ratio), "a share between 0 and 1", self.mask_ratio)?;
        if let Some(Window { centre, width }) = self.window {
            let sound = centre.is_finite() && width.is_finite() && width > 0.0;
            check("window", sound, "a finite centre and a width above 0", format!("{centre} and {width}"))?;
        }
        check("pictures", (1..=64).contains(&self.pictures), "1 to 64", self.pictures)?;
        self.augment.validate(height.min(width))
    }
}

impl ImageAugment {
    fn validate(&self, side: usize) -> Result<(), ImageError> {
        if let Some(scale) = self.crop_scale {
            let sound = 0.0 < scale[0] && scale[0] <= scale[1] && scale[1] <= 1.0;
            check("augment.crop_scale", sound, "0 < least <= most <= 1", format!("{scale:?}"))?;
        }
        check("augment.shift", self.shift < side, format!("less than the side of {side} pixels"), self.shift)?;
        let sound = (0.0..1.0).contains(&self.brightness);
        check("augment.brightness", sound, "0 or more and less than 1", self.brightness)
    }
}

fn check(
    key: &'static str,
    sound: bool,
    expected: impl Into<String>,
    found: impl std::fmt::Display,
) -> Result<(), ImageError> {
    match sound {
        true => Ok(()),
        false => Err(ImageError { key, expected: expected.into(), found: found.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_configuration_names_its_key() {
        let key = |change: fn(&mut ImageConfig)| {
            let mut config = ImageConfig::default();
            change(&mut config);
            config.validate().err().map(|error| error.key)
        };
        assert_eq!(key(|_| ()), None);
        assert_eq!(key(|c| c.patch = 0), Some("patch"));
        assert_eq!(key(|c| c.patch = 7), Some("size"));
        assert_eq!(key(|c| c.size = Size::Sides([64, 60])), Some("size"));
        assert_eq!(key(|c| c.channels = 4), Some("channels"));
        assert_eq!(key(|c| c.mean = vec![0.5, 0.5]), Some("mean"));
        assert_eq!(key(|c| c.std = vec![0.0]), Some("std"));
        assert_eq!(key(|c| c.scaled = Some(Size::Square(0))), Some("scaled"));
        assert_eq!(key(|c| (c.scaled, c.resize) = (Some(Size::Square(80)), Resize::Pad)), Some("scaled"));
        assert_eq!(key(|c| c.norm = Some(0.0)), Some("norm"));
        assert_eq!(key(|c| c.pool = Pool::Last), Some("pool"));
        assert_eq!(key(|c| c.mask_ratio = 1.5), Some("mask_ratio"));
        assert_eq!(key(|c| c.pictures = 0), Some("pictures"));
        assert_eq!(key(|c| c.window = Some(Window { centre: 0.0, width: 0.0 })), Some("window"));
        assert_eq!(key(|c| c.augment.crop_scale = Some([0.9, 0.1])), Some("augment.crop_scale"));
        assert_eq!(key(|c| c.augment.shift = 64), Some("augment.shift"));
        assert_eq!(key(|c| c.augment.brightness = 1.0), Some("augment.brightness"));
    }

    #[test]
    fn sizes_are_written_as_one_number_or_two() {
        let config = |text: &str| serde_json::from_str::<ImageConfig>(text);
        assert_eq!(config(r#"{"size": 32}"#).unwrap().size.sides(), [32, 32]);
        assert_eq!(config(r#"{"size": [32, 48], "resize": "pad"}"#).unwrap().grid().columns, 6);
        assert!(config(r#"{"sizes": 32}"#).is_err());
    }
}
