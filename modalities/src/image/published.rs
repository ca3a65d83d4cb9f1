//! Pictures as published models want them: the steps that `preprocessor_config.json` names.

use ndarray::ArrayD;
use sensorium_contract::{Array, Fault, Value};
use serde_json::{Value as Json, json};

use super::{
    config::{Filter, ImageConfig, Resize, Size},
    decode::{Levels, Picture, decode},
    resize::{centred, covering, scale},
};
use crate::{
    patches::content,
    published::{Reader, bytes},
};

/// Sides above this are a mistake.
const LARGEST: u64 = 8192;
/// What shows through transparent pixels, as in version 5 of the transformers library.
const WHITE: [u8; 3] = [255; 3];
/// Mean and deviation of CLIP's pictures.
const CLIP: [[f32; 3]; 2] = [[0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1]];

/// A published model's image processor: scale, cut, rescale, normalise, each only if asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Pictures {
    scale: Option<(Scaling, Filter)>,
    /// Around the centre, `[height, width]`.
    crop: Option<[usize; 2]>,
    /// Of what is made of any picture, `[height, width]`.
    size: [usize; 2],
    /// Times levels from 0 to 255.
    factor: f32,
    /// Mean and deviation of each channel.
    normal: Option<[Vec<f32>; 2]>,
    channels: usize,
}

/// How large a picture becomes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scaling {
    /// `[height, width]`, whatever its shape.
    To([usize; 2]),
    /// The shorter side so long, the shape kept.
    Shortest(usize),
}

impl Pictures {
    /// The processor of a configuration; what it leaves out is as `kind`, the processor's class or the family's name,
    /// has it in the library, with pictures of `side` where no size is given.
    ///
    /// # Errors
    /// Names the key that cannot be used.
    pub fn new(config: &Json, kind: &str, side: usize, channels: usize) -> Result<Self, String> {
        let kind = Kind::of(kind);
        let defaults = kind.defaults(side);
        let value = |key: &str| match &config[key] {
            Json::Null => &defaults[key],
            given => given,
        };
        let flag = |key: &str| value(key).as_bool().unwrap_or(false);
        let scaling = match flag("do_resize") {
            true => Some((scaling(value("size"), kind)?, filter(value("resample"))?)),
            false => None,
        };
        let factor = match flag("do_rescale") {
            true => value("rescale_factor").as_f64().ok_or("`rescale_factor`: expected a number")? as f32,
            false => 1.0,
        };
        let normal = match flag("do_normalize") {
            true => Some([
                numbers(value("image_mean"), "image_mean", channels)?,
                numbers(value("image_std"), "image_std", channels)?,
            ]),
            false => None,
        };
        let crop = match flag("do_center_crop") {
            true => Some(rectangle(value("crop_size"), "crop_size")?),
            false => None,
        };
        if !matches!(channels, 1 | 3) {
            return Err(format!("pictures of 1 or 3 channels are known here, the model has {channels}"));
        }
        let size = match (crop, &scaling) {
            (Some(crop), _) => crop,
            (None, Some((Scaling::To(size), _))) => *size,
            _ => return Err("`do_center_crop`: pictures that keep their shape are not known here".to_owned()),
        };
        Ok(Self { scale: scaling, crop, size, factor, normal, channels })
    }

    /// `[channels, height, width]` of what is made of any picture.
    pub fn shape(&self) -> [usize; 3] {
        let [height, width] = self.size;
        [self.channels, height, width]
    }

    /// The same steps as a recipe writes them; patches and what comes after are the model's.
    ///
    /// # Errors
    /// If a recipe has no word for them.
    pub fn config(&self) -> Result<ImageConfig, String> {
        let Some((scaling, filter)) = self.scale else {
            return Err("`do_resize`: a recipe cannot leave pictures as large as they are".to_owned());
        };
        let (resize, scaled) = match scaling {
            Scaling::To(size) => (Resize::Stretch, size),
            Scaling::Shortest(side) => (Resize::Crop, [side; 2]),
        };
        // Recipes take a mean and a deviation of levels between 0 and 1.
        let unit = self.factor * 255.0;
        let share = |values: &Vec<f32>| values.iter().map(|value| value / unit).collect();
        let [mean, std] = match &self.normal {
            Some(normal) if self.factor == 1.0 / 255.0 => normal.clone(),
            Some(normal) => normal.each_ref().map(share),
            None => [vec![0.0], vec![1.0 / unit]],
        };
        let config = ImageConfig {
            size: Size::of(self.size),
            scaled: (scaled != self.size).then(|| Size::of(scaled)),
            channels: self.channels,
            background: WHITE,
            resize,
            filter,
            mean,
            std,
            ..ImageConfig::default()
        };
        Ok(config)
    }

    /// A picture file's values, `[channels, height, width]`.
    ///
    /// # Errors
    /// If it cannot be decoded or scaled.
    pub fn pixels(&self, field: &str, file: &[u8]) -> Result<ArrayD<f32>, Fault> {
        let mut picture = decode(field, file, self.channels, WHITE, None)?;
        if let Some((scaling, filter)) = self.scale {
            let from = [picture.height, picture.width];
            let to = match scaling {
                Scaling::To(size) => size,
                Scaling::Shortest(side) => covering(from, [side, side]),
            };
            let failed = |error| Fault::new(field, "picture cannot be resized", error);
            picture = scale(picture, to, filter).map_err(failed)?;
        }
        if let Some(crop) = self.crop {
            picture = centred(&picture, crop);
        }
        Ok(self.values(&picture))
    }

    fn values(&self, picture: &Picture) -> ArrayD<f32> {
        let Picture { height, width, channels, levels } = picture;
        ArrayD::from_shape_fn(vec![*channels, *height, *width], |at| {
            let place = (at[1] * width + at[2]) * channels + at[0];
            let level = match levels {
                Levels::Byte(levels) => f32::from(levels[place]),
                Levels::Deep(levels) => levels[place].clamp(0.0, 1.0) * 255.0,
            };
            match &self.normal {
                Some([mean, std]) => (level * self.factor - mean[at[0]]) / std[at[0]],
                None => level * self.factor,
            }
        })
    }
}

impl Reader for Pictures {
    fn read(&self, field: &str, value: &Value) -> Result<Option<(Array, u64)>, Fault> {
        let bytes = bytes(field, value, "field is no picture")?;
        Ok(Some((Array::F32(self.pixels(field, bytes)?), content(bytes))))
    }

    fn max_tokens(&self) -> usize {
        let [height, width] = self.size;
        height * width
    }
}

/// Processors that differ where a configuration says nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Clip,
    Siglip,
    Flava,
    Deit,
    /// ViT and all others.
    Plain,
}

impl Kind {
    /// By a part of the class's or family's name.
    fn of(name: &str) -> Self {
        let name = name.to_lowercase();
        let known = [
            ("siglip", Self::Siglip),
            ("clip", Self::Clip),
            ("bit", Self::Clip),
            ("dinov2", Self::Clip),
            ("flava", Self::Flava),
            ("deit", Self::Deit),
        ];
        known.iter().find(|(part, _)| name.contains(part)).map_or(Self::Plain, |(_, kind)| *kind)
    }

    /// What the library's processor does where nothing is said.
    fn defaults(self, side: usize) -> Json {
        let square = |side: usize| json!({ "height": side, "width": side });
        let [mean, std] = match self {
            Self::Clip | Self::Flava => CLIP.map(|values| json!(values)),
            _ => [json!([0.5]), json!([0.5])],
        };
        let size = match self {
            Self::Clip => json!({ "shortest_edge": side }),
            Self::Deit => square(256),
            _ => square(side),
        };
        json!({
            "do_resize": true, "do_rescale": true, "do_normalize": true, "rescale_factor": 1.0 / 255.0,
            "do_center_crop": matches!(self, Self::Clip | Self::Flava | Self::Deit),
            "resample": if self == Self::Plain { 2 } else { 3 },
            "size": size, "crop_size": square(side), "image_mean": mean, "image_std": std,
        })
    }
}

/// `{ height, width }`, `{ shortest_edge }`, or one number, which is the shorter side for some kinds.
fn scaling(size: &Json, kind: Kind) -> Result<Scaling, String> {
    if let Some(shortest) = size.get("shortest_edge").filter(|value| !value.is_null()) {
        if size.get("longest_edge").is_some_and(|value| !value.is_null()) {
            return Err("`size.longest_edge` is not known here".to_owned());
        }
        return Ok(Scaling::Shortest(side(shortest, "size.shortest_edge")?));
    }
    match size.is_number() && kind == Kind::Clip {
        true => Ok(Scaling::Shortest(side(size, "size")?)),
        false => Ok(Scaling::To(rectangle(size, "size")?)),
    }
}

/// `{ height, width }`, or one number for both.
fn rectangle(size: &Json, key: &str) -> Result<[usize; 2], String> {
    if size.is_number() {
        return Ok([side(size, key)?; 2]);
    }
    if let [Json::Number(_), Json::Number(_)] = size.as_array().map_or(&[][..], Vec::as_slice) {
        return Ok([side(&size[0], key)?, side(&size[1], key)?]);
    }
    match (&size["height"], &size["width"]) {
        (height, width) if height.is_number() && width.is_number() => Ok([side(height, key)?, side(width, key)?]),
        _ => Err(format!("`{key}`: expected `height` and `width`, `shortest_edge` or a number, found {size}")),
    }
}

fn side(value: &Json, key: &str) -> Result<usize, String> {
    let side = value.as_u64().filter(|side| (1..=LARGEST).contains(side));
    side.map(|side| side as usize).ok_or_else(|| format!("`{key}`: expected 1 to {LARGEST} pixels, found {value}"))
}

/// Pillow's numbers.
fn filter(value: &Json) -> Result<Filter, String> {
    match value.as_u64() {
        Some(1) => Ok(Filter::Lanczos),
        Some(2) => Ok(Filter::Bilinear),
        Some(3) => Ok(Filter::Bicubic),
        _ => Err(format!("`resample`: 1 (Lanczos), 2 (bilinear) and 3 (bicubic) are known here, found {value}")),
    }
}

/// One number a channel; one alone counts for all.
fn numbers(value: &Json, key: &str, channels: usize) -> Result<Vec<f32>, String> {
    let one = value.as_f64().map(|value| vec![value]);
    let list = || value.as_array()?.iter().map(Json::as_f64).collect::<Option<Vec<f64>>>();
    let numbers: Vec<f32> = one.or_else(list).unwrap_or_default().into_iter().map(|value| value as f32).collect();
    let sound = |value: &f32| value.is_finite() && (key != "image_std" || *value > 0.0);
    match numbers.len() {
        1 if sound(&numbers[0]) => Ok(vec![numbers[0]; channels]),
        count if count == channels && numbers.iter().all(sound) => Ok(numbers),
        _ => Err(format!("`{key}`: expected 1 or {channels} numbers, found {value}")),
    }
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;
    use sensorium_contract::{Modality, Name, Sample};

    use super::*;
    use crate::reference::{fixture, floats, integers, metadata, shared};
    use crate::{image::Image, patches::PATCHES};

    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        file: String,
        kind: String,
        shape: Vec<usize>,
    }

    /// Levels from 0 to 255 before normalisation.
    fn levels(pictures: &Pictures, file: &[u8]) -> ArrayD<f32> {
        let mut values = pictures.pixels("image", file).unwrap();
        for (channel, mut plane) in values.outer_iter_mut().enumerate() {
            if let Some([mean, std]) = &pictures.normal {
                plane.mapv_inplace(|value| value * std[channel] + mean[channel]);
            }
            plane.mapv_inplace(|value| value / pictures.factor);
        }
        values
    }

    /// A recipe's modality makes the same values.
    fn same_in_a_recipe(pictures: &Pictures, config: ImageConfig, file: &[u8]) {
        let [height, width] = config.size.sides();
        // One patch of all rows, so that its values lie as those of the picture.
        let config = ImageConfig { patch: height.max(1), ..config };
        if height != width {
            return;
        }
        let image = Image::new(&Name::new("image"), config).unwrap();
        let sample = Sample { key: String::new(), fields: [("image".to_owned(), Value::Bytes(file.into()))].into() };
        let item = image.decode(&sample).unwrap().unwrap();
        let found = image.collate(&[item]).f32(PATCHES).clone();
        let expected = pictures.pixels("image", file).unwrap();
        assert_eq!(found.len(), expected.len());
        // Of values that reach 255 where a processor does not rescale.
        let far = |(found, expected): (&f32, &f32)| (found - expected).abs() / expected.abs().max(1.0);
        let far = found.iter().zip(&expected).map(far).fold(0.0, f32::max);
        assert!(far < 1e-6, "{pictures:?}: {far}");
    }

    #[test]
    fn processors_agree_with_the_library() {
        let bytes = fixture("preprocessing.safetensors");
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let metadata = metadata(&bytes);
        let settings: Json = serde_json::from_str(&metadata["settings"]).unwrap();
        let cases: Vec<Case> = serde_json::from_str(&metadata["pictures"]).unwrap();
        assert!(cases.len() > 100);
        let (mut failures, mut worst_of_all) = (Vec::new(), 0.0_f32);
        for Case { name, file, kind, shape } in cases {
            let content = match tensors.tensor(&format!("{file}.file")) {
                Ok(tensor) => tensor.data().to_vec(),
                Err(_) => match shared(&file) {
                    Some(path) => std::fs::read(path).unwrap(),
                    None => continue,
                },
            };
            let pictures = Pictures::new(&settings[&kind], "none", 1, 3).unwrap();
            let found = levels(&pictures, &content);
            if let Ok(config) = pictures.config() {
                same_in_a_recipe(&pictures, config, &content);
            }
            assert_eq!(found.shape(), shape, "{name}");
            assert_eq!(pictures.shape(), shape[..], "{name}");
            let found: Vec<f32> = found.iter().copied().collect();
            let places = integers(&tensors, &format!("{name}.places"));
            let expected = floats(&tensors, &format!("{name}.values"));
            let far = |(&place, expected): (&i64, &f32)| (found[place as usize] - expected).abs();
            let worst = places.iter().zip(&expected).map(far).fold(0.0, f32::max);
            worst_of_all = worst_of_all.max(worst);
            if worst > 1.01 {
                failures.push((name, worst));
            }
        }
        println!("largest difference {worst_of_all} of 255");
        assert!(failures.is_empty(), "{failures:?}");
    }

    #[test]
    fn what_is_not_said_is_as_the_library_has_it() {
        let none = json!({});
        let clip = Pictures::new(&none, "CLIPFeatureExtractor", 32, 3).unwrap();
        assert_eq!((clip.scale, clip.crop), (Some((Scaling::Shortest(32), Filter::Bicubic)), Some([32, 32])));
        let vit = Pictures::new(&json!({ "size": 48 }), "Vit", 32, 3).unwrap();
        assert_eq!((vit.scale, vit.crop), (Some((Scaling::To([48, 48]), Filter::Bilinear)), None));
        assert_eq!(Pictures::new(&none, "DeiTImageProcessor", 224, 3).unwrap().shape(), [3, 224, 224]);
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        let problem = |config: Json| Pictures::new(&config, "vit", 32, 3).unwrap_err();
        assert!(problem(json!({ "resample": 0 })).contains("`resample`"));
        assert!(problem(json!({ "size": { "shortest_edge": 32 } })).contains("`do_center_crop`"));
        assert!(problem(json!({ "size": { "longest_edge": 32 } })).contains("`size`"));
        assert!(problem(json!({ "image_std": [0.5, 0.0, 0.5] })).contains("`image_std`"));
        assert!(problem(json!({ "do_center_crop": true, "crop_size": 0 })).contains("`crop_size`"));
        assert!(Pictures::new(&json!({}), "vit", 32, 4).unwrap_err().contains("channels"));
    }
}
