//! Pictures as sounds, after Meijer 1992, "An Experimental System for Auditory Image
//! Representations": columns become time, rows become pitch, brightness becomes loudness.

use std::{f64::consts::TAU, sync::OnceLock};

use image::{
    DynamicImage, ImageBuffer, Luma,
    imageops::{FilterType, resize},
};

/// Rows and columns of the picture that is heard.
pub(super) const SIDE: usize = 64;
/// Samples a second.
pub(super) const RATE: u32 = 11_025;
/// Meijer's frame takes 1.05 s.
const SAMPLES: usize = (1.05 * RATE as f64) as usize;
/// Pitch of the lowest and of the highest row, in hertz.
const PITCHES: [f64; 2] = [500.0, 5000.0];
/// Keeps the sound of an all-white picture within range.
const GAIN: f32 = 1.0 / 32.0;
/// Samples over which a sound begins and ends, against clicks: 5 ms.
const FADE: usize = RATE as usize / 200;

/// Brightness between 0 and 1, row by row from the top; what is transparent is black.
pub(super) type Brightness = [f32; SIDE * SIDE];

/// The brightness of a picture.
pub(super) fn brightness(picture: &DynamicImage) -> Brightness {
    let picture = picture.to_rgba8();
    let grey = ImageBuffer::<Luma<f32>, _>::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue, alpha] = picture.get_pixel(x, y).0.map(|value| f32::from(value) / 255.0);
        Luma([alpha * (0.299 * red + 0.587 * green + 0.114 * blue)])
    });
    let small = resize(&grey, SIDE as u32, SIDE as u32, FilterType::Triangle);
    let mut brightness = [0.0; SIDE * SIDE];
    for (to, from) in brightness.iter_mut().zip(small.pixels()) {
        *to = from.0[0].clamp(0.0, 1.0);
    }
    brightness
}

/// The sound of a picture, [`RATE`] samples a second.
pub(super) fn sound(brightness: &Brightness) -> Vec<i16> {
    let columns: Vec<[f32; SIDE]> =
        (0..SIDE).map(|column| std::array::from_fn(|row| brightness[row * SIDE + column])).collect();
    let sample = |(time, waves): (usize, &[f32; SIDE])| {
        // Loudness glides from the middle of one column to the middle of the next.
        let place = ((time as f32 + 0.5) * SIDE as f32 / SAMPLES as f32 - 0.5).clamp(0.0, (SIDE - 1) as f32);
        let (left, part) = (place as usize, place.fract());
        let right = (left + 1).min(SIDE - 1);
        let rows = waves.iter().zip(&columns[left]).zip(&columns[right]);
        let sum: f32 = rows.map(|((wave, left), right)| wave * (left + part * (right - left))).sum();
        let fade = (time.min(SAMPLES - 1 - time) as f32 / FADE as f32).min(1.0);
        (sum * GAIN * fade * f32::from(i16::MAX)).round() as i16
    };
    waves().iter().enumerate().map(sample).collect()
}

/// For each sample, the oscillator of each row from the top.
fn waves() -> &'static [[f32; SIDE]] {
    static WAVES: OnceLock<Vec<[f32; SIDE]>> = OnceLock::new();
    let wave = |time: usize, row: usize| {
        let [lowest, highest] = PITCHES;
        let pitch = lowest * (highest / lowest).powf((SIDE - 1 - row) as f64 / (SIDE - 1) as f64);
        // Phases in golden-ratio steps: equal ones would pile up into a click at the start.
        let phase = (row as f64 * 0.618_033_988_749_895).fract();
        (TAU * (pitch * time as f64 / f64::from(RATE) + phase)).sin() as f32
    };
    WAVES.get_or_init(|| (0..SAMPLES).map(|time| std::array::from_fn(|row| wave(time, row))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Power at a frequency within a stretch of a sound (Goertzel).
    fn power(sound: &[i16], hertz: f64) -> f64 {
        let angle = |time: usize| TAU * hertz * time as f64 / f64::from(RATE);
        let window = |time: usize| 0.5 - 0.5 * (TAU * time as f64 / sound.len() as f64).cos();
        let part = |wave: fn(f64) -> f64| -> f64 {
            sound.iter().enumerate().map(|(time, &value)| window(time) * wave(angle(time)) * f64::from(value)).sum()
        };
        part(f64::sin).powi(2) + part(f64::cos).powi(2)
    }

    fn dot(row: usize, column: usize) -> Vec<i16> {
        let mut picture = [0.0; SIDE * SIDE];
        for columns in column - 4..column + 4 {
            picture[row * SIDE + columns] = 1.0;
        }
        sound(&picture)
    }

    #[test]
    fn columns_are_time_and_rows_are_pitch() {
        let (quarter, pitch) = (SAMPLES / 4, |row: usize| 500.0 * 10f64.powf((63 - row) as f64 / 63.0));
        let high_then_silent = dot(3, 8);
        let low_at_the_end = dot(60, 55);
        let high = |sound: &[i16]| power(sound, pitch(3));
        let low = |sound: &[i16]| power(sound, pitch(60));
        assert!(high(&high_then_silent[..quarter]) > 1e4 * low(&high_then_silent[..quarter]));
        assert!(high_then_silent[quarter..].iter().all(|&value| value == 0));
        assert!(low(&low_at_the_end[3 * quarter..]) > 1e4 * high(&low_at_the_end[3 * quarter..]));
        assert!(low_at_the_end[..3 * quarter].iter().all(|&value| value == 0));
    }

    #[test]
    fn brightness_is_loudness_within_range() {
        let loudest = |picture: Brightness| sound(&picture).iter().map(|value| value.unsigned_abs()).max().unwrap_or(0);
        let (white, grey) = (loudest([1.0; SIDE * SIDE]), loudest([0.5; SIDE * SIDE]));
        assert!((20_000..=i16::MAX as u16).contains(&white), "{white}");
        assert!(white.abs_diff(2 * grey) <= 2, "{white} {grey}");
        assert_eq!(loudest([0.0; SIDE * SIDE]), 0);
    }

    #[test]
    fn what_is_transparent_is_silent() {
        let clear = image::RgbaImage::from_pixel(72, 72, image::Rgba([255, 255, 255, 0]));
        assert!(brightness(&clear.into()).iter().all(|&value| value == 0.0));
        let white = image::RgbaImage::from_pixel(72, 72, image::Rgba([255; 4]));
        assert!(brightness(&white.into()).iter().all(|&value| (value - 1.0).abs() < 1e-5));
    }
}
