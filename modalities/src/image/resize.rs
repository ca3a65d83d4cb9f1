use fast_image_resize::{
    FilterType, PixelTrait, ResizeAlg, ResizeError, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::{F32, F32x3},
};

use super::{
    config::{Filter, ImageConfig, Resize},
    decode::{Levels, Picture},
};

/// A rectangle of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rectangle {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

impl Filter {
    fn kind(self) -> FilterType {
        match self {
            Self::Bicubic => FilterType::CatmullRom,
            Self::Bilinear => FilterType::Bilinear,
            Self::Lanczos => FilterType::Lanczos3,
        }
    }
}

/// A picture of exactly the configured size.
pub(super) fn fit(picture: Picture, config: &ImageConfig) -> Result<Picture, ResizeError> {
    let (from, size, filter) = ([picture.height, picture.width], config.size.sides(), config.filter);
    let to = config.scaled.unwrap_or(config.size).sides();
    match config.resize {
        Resize::Stretch if to == size => scale(picture, size, filter),
        Resize::Stretch => Ok(centred(&scale(picture, to, filter)?, size)),
        Resize::Crop => Ok(centred(&scale(picture, covering(from, to), filter)?, size)),
        Resize::Pad => Ok(pad(&scale(picture, contained(from, size), filter)?, size, config.background)),
    }
}

/// The least size of the same shape that covers `[height, width]`; the longer side is rounded down, as
/// torchvision and transformers do.
pub(super) fn covering([from_height, from_width]: [usize; 2], [height, width]: [usize; 2]) -> [usize; 2] {
    match from_height * width >= from_width * height {
        true => [(from_height * width / from_width).max(height), width],
        false => [height, (from_width * height / from_height).max(width)],
    }
}

/// The largest size of the same shape that fits into `[height, width]`, rounded as Pillow's
/// `ImageOps.contain`.
fn contained([from_height, from_width]: [usize; 2], [height, width]: [usize; 2]) -> [usize; 2] {
    let other = |length: usize, by: usize, to: usize| {
        ((length as f64 / by as f64 * to as f64).round_ties_even() as usize).max(1)
    };
    match from_height * width >= from_width * height {
        true => [height, other(from_width, from_height, height).min(width)],
        false => [other(from_height, from_width, width).min(height), width],
    }
}

/// Scales without regard to shape.
///
/// Pictures of bytes are rounded to whole levels between the two passes, as Pillow rounds them: wherever a cubic
/// filter overshoots, that shows.
pub(super) fn scale(picture: Picture, to: [usize; 2], filter: Filter) -> Result<Picture, ResizeError> {
    let from = [picture.height, picture.width];
    if from == to {
        return Ok(picture);
    }
    let channels = picture.channels;
    let levels = match &picture.levels {
        Levels::Deep(levels) => Levels::Deep(scale_levels(levels, f32::from, channels, from, to, filter)?),
        Levels::Byte(levels) => {
            let between = between(from, to);
            let passed = scale_levels(levels, f32::from, channels, from, between, filter)?;
            let passed = scale_levels(&passed, |level| whole(level).into(), channels, between, to, filter)?;
            Levels::Byte(passed.into_iter().map(whole).collect())
        }
    };
    let [height, width] = to;
    Ok(Picture { width, height, levels, ..picture })
}

/// The size after the first of two passes. Rows are scaled first, unless the height shrinks by more than twice
/// what the width does; so Pillow 13 was seen to choose (its version 12 always took rows first).
fn between(from: [usize; 2], to: [usize; 2]) -> [usize; 2] {
    let ([from_height, from_width], [height, width]) = (from, to);
    match from_height > height && 2 * from_width + height < from_height + 2 * width {
        true => [height, from_width],
        false => [from_height, width],
    }
}

/// The nearest level of a byte.
fn whole(level: f32) -> u8 {
    (level.clamp(0.0, 255.0) + 0.5) as u8
}

fn scale_levels<L: Copy>(
    levels: &[L],
    value: impl Fn(L) -> f32,
    channels: usize,
    from: [usize; 2],
    to: [usize; 2],
    filter: Filter,
) -> Result<Vec<f32>, ResizeError> {
    if channels == 1 {
        let pixels: Vec<F32> = levels.iter().map(|&level| F32::new(value(level))).collect();
        return Ok(scale_pixels(&pixels, from, to, None, filter)?.iter().map(|pixel| pixel.0).collect());
    }
    let pixel = |level: &[L]| F32x3::new([value(level[0]), value(level[1]), value(level[2])]);
    let pixels: Vec<F32x3> = levels.chunks_exact(3).map(pixel).collect();
    Ok(scale_pixels(&pixels, from, to, None, filter)?.iter().flat_map(|pixel| pixel.0).collect())
}

/// Scales a rectangle of one channel to `to`.
pub(super) fn scale_plane(
    plane: &[f32],
    from: [usize; 2],
    rectangle: Rectangle,
    to: [usize; 2],
    filter: Filter,
) -> Result<Vec<f32>, ResizeError> {
    let pixels: Vec<F32> = plane.iter().map(|&level| F32::new(level)).collect();
    Ok(scale_pixels(&pixels, from, to, Some(rectangle), filter)?.iter().map(|pixel| pixel.0).collect())
}

fn scale_pixels<P: PixelTrait>(
    pixels: &[P],
    from: [usize; 2],
    to: [usize; 2],
    rectangle: Option<Rectangle>,
    filter: Filter,
) -> Result<Vec<P>, ResizeError> {
    let mut scaled = vec![P::default(); to[0] * to[1]];
    let source = TypedImageRef::new(from[1] as u32, from[0] as u32, pixels).map_err(|_| MISFIT)?;
    let mut target = TypedImage::from_pixels_slice(to[1] as u32, to[0] as u32, &mut scaled).map_err(|_| MISFIT)?;
    Resizer::new().resize_typed(&source, &mut target, &options(rectangle, filter))?;
    Ok(scaled)
}

/// What a buffer that is too short for its size becomes; sizes and buffers come from one picture.
const MISFIT: ResizeError = ResizeError::PixelTypesAreDifferent;

fn options(rectangle: Option<Rectangle>, filter: Filter) -> ResizeOptions {
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter.kind())).use_alpha(false);
    match rectangle {
        Some(Rectangle { left, top, width, height }) => options.crop(left, top, width, height),
        None => options,
    }
}

/// `[height, width]` around the centre.
fn cut(picture: &Picture, [height, width]: [usize; 2]) -> Picture {
    let (top, left) = ((picture.height - height) / 2, (picture.width - width) / 2);
    let levels = match &picture.levels {
        Levels::Byte(levels) => Levels::Byte(cut_levels(levels, picture, [top, left], [height, width])),
        Levels::Deep(levels) => Levels::Deep(cut_levels(levels, picture, [top, left], [height, width])),
    };
    Picture { width, height, channels: picture.channels, levels }
}

fn cut_levels<L: Copy>(
    levels: &[L],
    picture: &Picture,
    [top, left]: [usize; 2],
    [height, width]: [usize; 2],
) -> Vec<L> {
    let row = |y: usize| {
        let start = ((top + y) * picture.width + left) * picture.channels;
        &levels[start..start + width * picture.channels]
    };
    (0..height).flat_map(|y| row(y).iter().copied()).collect()
}

/// `[height, width]` around the centre; where the picture is smaller, black surrounds it, as in
/// transformers.
pub(super) fn centred(picture: &Picture, [height, width]: [usize; 2]) -> Picture {
    let black = [height.max(picture.height), width.max(picture.width)];
    if black == [picture.height, picture.width] {
        return cut(picture, [height, width]);
    }
    let corner = [(black[0] - picture.height).div_ceil(2), (black[1] - picture.width).div_ceil(2)];
    let levels = match &picture.levels {
        Levels::Byte(levels) => Levels::Byte(pad_levels(levels, picture, corner, black, &vec![0; picture.channels])),
        Levels::Deep(levels) => Levels::Deep(pad_levels(levels, picture, corner, black, &vec![0.0; picture.channels])),
    };
    cut(&Picture { width: black[1], height: black[0], channels: picture.channels, levels }, [height, width])
}

/// The picture on a background of `[height, width]`.
fn pad(picture: &Picture, [height, width]: [usize; 2], background: [u8; 3]) -> Picture {
    let middle = |room: usize| (room as f64 / 2.0).round_ties_even() as usize; // as `ImageOps.pad`
    let corner = [middle(height - picture.height), middle(width - picture.width)];
    let [red, green, blue] = background.map(f32::from);
    let grey = (0.299 * red + 0.587 * green + 0.114 * blue).round();
    let fill: &[f32] = if picture.channels == 1 { &[grey] } else { &[red, green, blue] };
    let levels = match &picture.levels {
        Levels::Byte(levels) => {
            let fill: Vec<u8> = fill.iter().map(|&level| level as u8).collect();
            Levels::Byte(pad_levels(levels, picture, corner, [height, width], &fill))
        }
        Levels::Deep(levels) => {
            let fill: Vec<f32> = fill.iter().map(|level| level / 255.0).collect();
            Levels::Deep(pad_levels(levels, picture, corner, [height, width], &fill))
        }
    };
    Picture { width, height, channels: picture.channels, levels }
}

fn pad_levels<L: Copy>(
    levels: &[L],
    picture: &Picture,
    [top, left]: [usize; 2],
    [height, width]: [usize; 2],
    fill: &[L],
) -> Vec<L> {
    let mut padded = fill.repeat(height * width);
    let row = picture.width * picture.channels;
    for (y, source) in levels.chunks_exact(row).enumerate() {
        let start = ((top + y) * width + left) * picture.channels;
        padded[start..start + row].copy_from_slice(source);
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Size;

    #[test]
    fn shapes_are_covered_and_contained() {
        assert_eq!(covering([480, 640], [224, 224]), [224, 298]);
        assert_eq!(covering([640, 480], [224, 224]), [298, 224]);
        assert_eq!(contained([480, 640], [224, 224]), [168, 224]);
        assert_eq!(contained([1, 1000], [8, 8]), [1, 8]);
        assert_eq!(covering([10, 10], [8, 16]), [16, 16]);
    }

    #[test]
    fn padding_and_cutting_keep_the_middle() {
        let picture = Picture { width: 4, height: 2, channels: 1, levels: Levels::Byte((0..8).collect()) };
        let config = |size: [usize; 2], resize| ImageConfig {
            size: Size::of(size),
            channels: 1,
            background: [9; 3],
            resize,
            ..ImageConfig::default()
        };
        let padded = fit(picture.clone(), &config([4, 4], Resize::Pad)).unwrap();
        assert_eq!(padded.levels, Levels::Byte(vec![9, 9, 9, 9, 0, 1, 2, 3, 4, 5, 6, 7, 9, 9, 9, 9]));
        let cut = fit(picture.clone(), &config([2, 2], Resize::Crop)).unwrap();
        assert_eq!(cut.levels, Levels::Byte(vec![1, 2, 5, 6]));
        for resize in [Resize::Crop, Resize::Stretch] {
            let whole = ImageConfig { scaled: Some(Size::of([2, 4])), ..config([2, 2], resize) };
            assert_eq!(fit(picture.clone(), &whole).unwrap().levels, cut.levels);
        }
    }

    #[test]
    fn deep_pictures_resize_as_shallow_ones() {
        let levels: Vec<u8> = (0..3 * 30 * 20).map(|i| (i / 9 + i % 3 * 20) as u8).collect();
        let deep = levels.iter().map(|&level| f32::from(level) / 255.0).collect();
        let picture = |levels| Picture { width: 30, height: 20, channels: 3, levels };
        let byte = scale(picture(Levels::Byte(levels)), [7, 9], Filter::Bicubic).unwrap();
        let deep = scale(picture(Levels::Deep(deep)), [7, 9], Filter::Bicubic).unwrap();
        let (Levels::Byte(byte), Levels::Deep(deep)) = (byte.levels, deep.levels) else { panic!("depth is kept") };
        for (byte, deep) in byte.iter().zip(&deep) {
            // Bytes are rounded twice, after the columns and after the rows.
            assert!((f32::from(*byte) - deep.clamp(0.0, 1.0) * 255.0).abs() <= 1.5, "{byte} {deep}");
        }
    }
}
