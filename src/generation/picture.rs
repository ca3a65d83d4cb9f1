//! Image GPT (Chen et al. 2020) on a picture: it keeps the upper part and paints the rest, pixel by pixel.

use std::path::Path;

use ndarray::{ArrayD, Axis};
use sensorium_families::Checkpoint;
use serde_json::Value;

use super::Prompt;
use crate::{
    Error,
    published::{pictures, preprocessing},
};

/// Pictures are enlarged to at least so many pixels a side, that one can see them.
const LEAST_SIDE: usize = 256;

/// Where ids become colours.
#[derive(Clone, Debug, PartialEq)]
pub struct Canvas {
    /// Rows.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
    /// Red, green and blue between −1 and 1 of each id.
    palette: Vec<[f32; 3]>,
}

/// The ids of a picture's upper rows, `kept` of them all, and the canvas that they are painted on.
///
/// # Errors
/// If the picture cannot be decoded, or the model came without its palette (`clusters`), or with another size.
pub fn picture(directory: &Path, checkpoint: &Checkpoint, file: &[u8], kept: f32) -> Result<(Prompt, Canvas), Error> {
    let (path, config) = preprocessing(directory, "image_processor")?;
    let problem = |problem: String| Error::Preprocessing { path: path.clone(), problem };
    let colours = checkpoint.config["vocab_size"].as_u64().unwrap_or(513) as usize - 1;
    let palette = palette(&config["clusters"], colours).map_err(problem)?;
    let processor = pictures(directory, checkpoint)?;
    let [_, height, width] = processor.shape();
    let positions = checkpoint.config["n_positions"].as_u64().unwrap_or(1024) as usize;
    if height * width != positions {
        return Err(problem(format!("`size`: {height} x {width} pixels, the model paints {positions}")));
    }
    let pixels = processor.pixels("image", file).map_err(|fault| Error::Content(fault.to_string()))?;
    let canvas = Canvas { height, width, palette };
    let rows = ((height as f32 * kept).round() as usize).min(height - 1);
    let start = std::iter::once(colours as i64).chain(canvas.ids(&pixels).into_iter().take(rows * width)).collect();
    let prompt = Prompt { start, most: Some((height - rows) * width), ..Prompt::default() };
    Ok((prompt, canvas))
}

impl Canvas {
    /// The nearest colour of each pixel of `[3, height, width]`, of equally near ones the first.
    fn ids(&self, pixels: &ArrayD<f32>) -> Vec<i64> {
        let pixel = |place: usize| {
            let at = [place / self.width, place % self.width];
            std::array::from_fn::<f32, 3, _>(|channel| pixels.index_axis(Axis(0), channel)[at.as_slice()])
        };
        let nearest = |place: usize| {
            let pixel = pixel(place);
            let far = |colour: &[f32; 3]| colour.iter().zip(pixel).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
            let best = (0..self.palette.len()).min_by(|&a, &b| far(&self.palette[a]).total_cmp(&far(&self.palette[b])));
            best.unwrap_or(0) as i64
        };
        (0..self.height * self.width).map(nearest).collect()
    }

    /// A PNG file of the ids, row by row, enlarged so that it can be seen; black where there are none.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn png(&self, ids: &[i64]) -> Result<Vec<u8>, Error> {
        let times = LEAST_SIDE.div_ceil(self.height.max(self.width)).max(1);
        let level = |value: f32| ((value + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8;
        let colour = |x: u32, y: u32| {
            let place = y as usize / times * self.width + x as usize / times;
            let id = ids.get(place).and_then(|&id| self.palette.get(id as usize));
            image::Rgb(id.map_or([0; 3], |colour| colour.map(level)))
        };
        let picture = image::RgbImage::from_fn((self.width * times) as u32, (self.height * times) as u32, colour);
        let mut bytes = std::io::Cursor::new(Vec::new());
        let written = picture.write_to(&mut bytes, image::ImageFormat::Png);
        written.map_err(|error| Error::Content(error.to_string()))?;
        Ok(bytes.into_inner())
    }
}

/// `clusters`: a colour an id.
fn palette(clusters: &Value, colours: usize) -> Result<Vec<[f32; 3]>, String> {
    let colour = |colour: &Value| {
        let levels: Vec<f32> = colour.as_array()?.iter().filter_map(|level| Some(level.as_f64()? as f32)).collect();
        <[f32; 3]>::try_from(levels).ok()
    };
    let found: Option<Vec<[f32; 3]>> = clusters.as_array().and_then(|colours| colours.iter().map(colour).collect());
    match found {
        Some(palette) if palette.len() == colours => Ok(palette),
        found => Err(format!(
            "`clusters`: expected {colours} colours of three numbers, found {}",
            found.map_or("none".to_owned(), |palette| palette.len().to_string())
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_the_nearest_colours_and_come_back() {
        let canvas = Canvas { height: 2, width: 2, palette: vec![[-1.0; 3], [1.0; 3], [1.0, -1.0, -1.0]] };
        let pixels = ArrayD::from_shape_vec(
            vec![3, 2, 2],
            vec![0.9, -0.8, 0.9, 0.2, -0.9, -0.7, 0.8, 0.1, -0.9, -0.9, 0.7, 0.3],
        );
        let ids = canvas.ids(&pixels.unwrap());
        assert_eq!(ids, [2, 0, 1, 1]);
        let picture = image::load_from_memory(&canvas.png(&ids).unwrap()).unwrap().to_rgb8();
        assert_eq!((picture.dimensions(), picture.get_pixel(0, 0).0), ((256, 256), [255, 0, 0]));
        assert_eq!(picture.get_pixel(255, 0).0, [0; 3]);
    }
}
