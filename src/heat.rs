//! What a model saw of a picture or a sound, with numbers drawn over it.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage, imageops};
use sensorium_contract::Arrays;
use sensorium_modalities::{audio::AudioConfig, image::ImageConfig};

/// Points of the longer side of a drawing, about.
const SIDE: u32 = 512;
/// For the match, and against it.
const COLOURS: [[f32; 3]; 2] = [[232.0, 74.0, 28.0], [38.0, 110.0, 214.0]];
/// The most that a colour covers.
const COVER: f32 = 0.72;

/// A plane of patches. A sound's time runs to the right, its frequencies upwards.
#[derive(Clone, Debug)]
pub struct Plane {
    /// Rows and columns of patches, in the order of the tokens.
    pub grid: [usize; 2],
    /// What the model saw, before anything is drawn over it.
    pub seen: RgbImage,
    /// Whether tokens run along the columns of the drawing, from its foot.
    upright: bool,
}

impl Plane {
    /// The picture as the encoder reads it: resized, and cut if the recipe says so.
    pub(crate) fn picture(config: &ImageConfig, arrays: &Arrays) -> Self {
        let [height, width] = config.size.sides();
        let (patch, channels) = (config.patch, config.channels);
        let patches = arrays.f32("patches");
        let level = |channel: usize, y: usize, x: usize| {
            let token = y / patch * (width / patch) + x / patch;
            let value = channel * patch * patch + y % patch * patch + x % patch;
            let of = |values: &[f32]| values[channel.min(values.len() - 1)];
            let level = patches[[0, token, value]] * of(&config.std) + of(&config.mean);
            (level * 255.0).round().clamp(0.0, 255.0) as u8
        };
        let point = |x: u32, y: u32| {
            Rgb([0, 1, 2].map(|channel: usize| level(channel.min(channels - 1), y as usize, x as usize)))
        };
        let seen = RgbImage::from_fn(width as u32, height as u32, point);
        Self { grid: [height / patch, width / patch], seen, upright: false }
    }

    /// The spectrogram as the encoder reads it, dark where it is loud.
    pub(crate) fn spectrogram(config: &AudioConfig, arrays: &Arrays) -> Self {
        let patches = arrays.f32("patches");
        let (frames, mels, bands) = (config.patch_frames, config.patch_bands(), config.bands());
        let steps = patches.shape()[1] / bands;
        let (low, high) =
            patches.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)));
        let point = |x: u32, y: u32| {
            let (frame, mel) = (x as usize, bands * mels - 1 - y as usize);
            let token = frame / frames * bands + mel / mels;
            let value = patches[[0, token, frame % frames * mels + mel % mels]];
            let loud = (value - low) / (high - low).max(f32::MIN_POSITIVE);
            Rgb([(245.0 - 225.0 * loud) as u8; 3])
        };
        let seen = RgbImage::from_fn((steps * frames) as u32, (bands * mels) as u32, point);
        Self { grid: [steps, bands], seen, upright: true }
    }

    /// The plane, enlarged, with a number for each patch drawn over it: red for the match, blue
    /// against it, strongest at the largest number. A PNG file.
    pub fn drawn(&self, parts: &[f32]) -> Vec<u8> {
        let factor = (SIDE / self.seen.width().max(self.seen.height())).max(1);
        let (width, height) = (self.seen.width() * factor, self.seen.height() * factor);
        let mut picture = imageops::resize(&self.seen, width, height, imageops::FilterType::Nearest);
        let largest = parts.iter().fold(f32::MIN_POSITIVE, |largest, part| largest.max(part.abs()));
        for (x, y, point) in picture.enumerate_pixels_mut() {
            let number = parts[self.token(x as f32 / width as f32, y as f32 / height as f32)] / largest;
            let colour = COLOURS[usize::from(number < 0.0)];
            let cover = COVER * number.abs();
            // Grey below the colours, so that the picture's own do not mix with them.
            let grey = 0.3 * f32::from(point[0]) + 0.59 * f32::from(point[1]) + 0.11 * f32::from(point[2]);
            for (level, colour) in point.0.iter_mut().zip(colour) {
                *level = ((70.0 + 0.7 * grey) * (1.0 - cover) + colour * cover) as u8;
            }
        }
        png(&picture)
    }

    /// What the model saw, enlarged. A PNG file.
    pub fn plain(&self) -> Vec<u8> {
        let factor = (SIDE / self.seen.width().max(self.seen.height())).max(1);
        let (width, height) = (self.seen.width() * factor, self.seen.height() * factor);
        png(&imageops::resize(&self.seen, width, height, imageops::FilterType::Nearest))
    }

    /// The patch at a place, both coordinates below 1.
    fn token(&self, x: f32, y: f32) -> usize {
        let [rows, columns] = self.grid;
        let (down, right) = if self.upright { (x, 1.0 - f32::EPSILON - y) } else { (y, x) };
        let at = |share: f32, count: usize| ((share * count as f32) as usize).min(count - 1);
        at(down, rows) * columns + at(right, columns)
    }
}

fn png(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    // Writing a picture of a plain kind into memory cannot fail.
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap_or_else(|error| unreachable!("{error}"));
    bytes.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_drawn_where_its_patch_lies() {
        let red = |bytes: &[u8], x: u32, y: u32| {
            let point = *image::load_from_memory(bytes).unwrap().to_rgb8().get_pixel(x, y);
            i32::from(point[0]) - i32::from(point[2])
        };
        let seen = RgbImage::from_pixel(8, 8, Rgb([100; 3]));
        let picture = Plane { grid: [2, 2], seen: seen.clone(), upright: false };
        let drawn = picture.drawn(&[0.0, 1.0, -1.0, 0.0]);
        assert!(red(&drawn, 400, 100) > 100 && red(&drawn, 100, 400) < -50 && red(&drawn, 100, 100) == 0);
        // Of a sound the second token is the higher band of the first moment.
        let sound = Plane { grid: [2, 2], seen, upright: true };
        let drawn = sound.drawn(&[0.0, 1.0, -1.0, 0.0]);
        assert!(red(&drawn, 100, 100) > 100 && red(&drawn, 400, 400) < -50);
    }
}
