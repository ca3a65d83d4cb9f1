use std::io::Cursor;

use ::image::{DynamicImage, ImageDecoder, ImageReader, Limits, metadata::Orientation};
use sensorium_contract::Fault;

use super::{
    config::Window,
    dicom::{self, is_dicom},
};

/// The most pixels of a picture: what more claims than this is damaged or hostile.
const MAX_PIXELS: u64 = 100_000_000;
/// The most bytes that decoding one picture may take.
const MAX_BYTES: u64 = 1 << 30;

/// An upright picture without transparency.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 or 3.
    pub channels: usize,
    /// `[height, width, channels]`
    pub levels: Levels,
}

/// Brightness, in the depth that the file had.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Levels {
    /// 0 to 255; files of up to 8 bits.
    Byte(Vec<u8>),
    /// 0 to 1; files of 16 bits and of floating point.
    Deep(Vec<f32>),
}

impl Picture {
    /// The same with a range of its levels as all of them, not rounded.
    pub(super) fn within(self, window: Window) -> Self {
        let levels = match self.levels {
            Levels::Byte(levels) => levels.into_iter().map(|level| window.place(f32::from(level))).collect(),
            Levels::Deep(levels) => levels.into_iter().map(|level| window.place(level * 65535.0)).collect(),
        };
        Self { levels: Levels::Deep(levels), ..self }
    }

    /// The same in 1 or 3 channels.
    fn with_channels(self, channels: usize) -> Self {
        // Nothing is transparent, so that no background shows.
        let levels = match self.levels {
            Levels::Byte(levels) => Levels::Byte(flatten(levels, self.channels, channels, [0; 3])),
            Levels::Deep(levels) => Levels::Deep(flatten(levels, self.channels, channels, [0.0; 3])),
        };
        Self { channels, levels, ..self }
    }
}

impl Levels {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Byte(levels) => levels.len(),
            Self::Deep(levels) => levels.len(),
        }
    }
}

/// Decodes a picture file, with the levels of `window` as all of them where one is given: PNG, JPEG, WebP, BMP, GIF
/// (its first frame), TIFF or DICOM. The orientation that a camera noted (EXIF) is applied, and transparent pixels let
/// `background` shine through.
pub(super) fn decode(
    field: &str,
    bytes: &[u8],
    channels: usize,
    background: [u8; 3],
    window: Option<Window>,
) -> Result<Picture, Fault> {
    if is_dicom(bytes) {
        return dicom::decode(field, bytes, window).map(|picture| picture.with_channels(channels));
    }
    let picture = raster(field, bytes, channels, background)?;
    Ok(match window {
        Some(window) => picture.within(window),
        None => picture,
    })
}

/// A picture's width and height, from its file's head alone; nothing if it is no picture.
pub fn dimensions(bytes: &[u8]) -> Option<[u32; 2]> {
    if is_dicom(bytes) {
        return dicom::dimensions(bytes);
    }
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    reader.into_dimensions().ok().map(|(width, height)| [width, height])
}

/// A picture that not every browser shows (DICOM, TIFF) as a PNG file; nothing if it is no picture.
pub fn to_png(bytes: &[u8]) -> Option<Vec<u8>> {
    let picture = decode("", bytes, 3, [255; 3], None).ok()?;
    let levels = match picture.levels {
        Levels::Byte(levels) => levels,
        Levels::Deep(levels) => levels.into_iter().map(|level| (level * 255.0).round() as u8).collect(),
    };
    let picture = ::image::RgbImage::from_raw(picture.width as u32, picture.height as u32, levels)?;
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ::image::ImageFormat::Png).ok()?;
    Some(png.into_inner())
}

fn raster(field: &str, bytes: &[u8], channels: usize, background: [u8; 3]) -> Result<Picture, Fault> {
    let damaged = |error: ::image::ImageError| Fault::new(field, "picture cannot be decoded", error);
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| Fault::new(field, "picture cannot be decoded", error))?;
    if reader.format() == Some(::image::ImageFormat::Jpeg) && !jpeg_is_whole(bytes) {
        // The decoder would fill what is missing with grey.
        return Err(Fault::new(field, "picture cannot be decoded", "the JPEG file ends before its end marker"));
    }
    reader.limits(limits());
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    check_size(field, width, height, decoder.total_bytes())?;
    // Unreadable camera notes do not make a picture unusable.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    image.apply_orientation(orientation);
    let (width, height) = (image.width() as usize, image.height() as usize);
    let levels = flatten_image(image, channels, background)
        .ok_or_else(|| Fault::new(field, "picture cannot be decoded", "pixels that are not numbers"))?;
    Ok(Picture { width, height, channels, levels })
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    limits
}

/// The header's claims, before anything of their size is allocated.
pub(super) fn check_size(field: &str, width: u32, height: u32, bytes: u64) -> Result<(), Fault> {
    if width == 0 || height == 0 {
        return Err(Fault::new(field, "picture is empty", format!("{width} x {height} pixels")));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS || bytes > MAX_BYTES {
        let detail =
            format!("at most {MAX_PIXELS} pixels and {MAX_BYTES} bytes, found {width} x {height}, {bytes} bytes");
        return Err(Fault::new(field, "picture is too large", detail));
    }
    Ok(())
}

/// Whether a JPEG file reaches its end marker.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    jpeg_segments(bytes).any(|(kind, _)| kind == 0xd9)
}

/// The marker segments of a JPEG file with what follows each marker. They carry their length; in the compressed data
/// between them a byte of ones is followed by 0 or a restart marker (ITU-T T.81, B.1).
pub(super) fn jpeg_segments(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut at = 2;
    std::iter::from_fn(move || {
        loop {
            let &[mark, kind] = bytes.get(at..at + 2)? else { return None };
            let rest = &bytes[at + 2..];
            match (mark, kind) {
                (0xff, 0xff) => at += 1,
                (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => at += 2,
                (0xff, 0xd9) => {
                    at = bytes.len();
                    return Some((kind, rest));
                }
                (0xff, _) => {
                    let &[high, low] = rest.get(..2)? else { return None };
                    at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
                    return Some((kind, rest));
                }
                _ => at += 1,
            }
        }
    })
}

/// Without transparency, in `channels` channels; nothing if a level is not a number.
fn flatten_image(image: DynamicImage, channels: usize, background: [u8; 3]) -> Option<Levels> {
    let layout = usize::from(image.color().channel_count());
    let deep = |levels: Vec<f32>| {
        let flat = flatten(levels, layout, channels, background.map(|level| f32::from(level) / 255.0));
        flat.iter().all(|level| level.is_finite()).then_some(Levels::Deep(flat))
    };
    let wide = |levels: Vec<u16>| deep(levels.into_iter().map(|level| f32::from(level) / 65535.0).collect());
    match image {
        DynamicImage::ImageLuma16(image) => wide(image.into_raw()),
        DynamicImage::ImageLumaA16(image) => wide(image.into_raw()),
        DynamicImage::ImageRgb16(image) => wide(image.into_raw()),
        DynamicImage::ImageRgba16(image) => wide(image.into_raw()),
        DynamicImage::ImageRgb32F(image) => deep(image.into_raw()),
        DynamicImage::ImageRgba32F(image) => deep(image.into_raw()),
        image => Some(Levels::Byte(flatten(image.into_bytes(), layout, channels, background))),
    }
}

/// One channel's brightness at one pixel.
trait Level: Copy {
    /// Over `below`, as opaque as `alpha` says.
    fn over(self, alpha: Self, below: Self) -> Self;
    /// ITU-R 601 luma.
    fn luma(colour: [Self; 3]) -> Self;
}

impl Level for u8 {
    fn over(self, alpha: Self, below: Self) -> Self {
        let sum = u32::from(self) * u32::from(alpha) + u32::from(below) * u32::from(255 - alpha) + 128;
        ((sum + (sum >> 8)) >> 8) as u8 // division by 255, rounded
    }
    fn luma([red, green, blue]: [Self; 3]) -> Self {
        ((u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16) as u8
    }
}

impl Level for f32 {
    fn over(self, alpha: Self, below: Self) -> Self {
        self * alpha + below * (1.0 - alpha)
    }
    fn luma([red, green, blue]: [Self; 3]) -> Self {
        0.299 * red + 0.587 * green + 0.114 * blue
    }
}

/// From pixels of `layout` levels (grey, grey + alpha, colour, colour + alpha) to pixels of `channels`.
fn flatten<L: Level>(levels: Vec<L>, layout: usize, channels: usize, background: [L; 3]) -> Vec<L> {
    if layout == channels {
        return levels;
    }
    let mut flat = Vec::with_capacity(levels.len() / layout * channels);
    let mut push = |colour: [L; 3], alpha: Option<L>| {
        let colour = match alpha {
            Some(alpha) => std::array::from_fn(|channel| colour[channel].over(alpha, background[channel])),
            None => colour,
        };
        match channels {
            1 => flat.push(L::luma(colour)),
            _ => flat.extend(colour),
        }
    };
    for pixel in levels.chunks_exact(layout) {
        match *pixel {
            [grey] => push([grey; 3], None),
            [grey, alpha] => push([grey; 3], Some(alpha)),
            [red, green, blue] => push([red, green, blue], None),
            [red, green, blue, alpha] => push([red, green, blue], Some(alpha)),
            _ => {}
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(image: DynamicImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ::image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn alpha_shows_the_background() {
        assert_eq!(200u8.over(255, 10), 200);
        assert_eq!(200u8.over(0, 10), 10);
        assert_eq!(100u8.over(128, 0), 50);
        let grey = [100u8, 0, 100, 255];
        assert_eq!(flatten(grey.to_vec(), 2, 1, [255; 3]), [255, 100]);
        assert_eq!(flatten(grey.to_vec(), 2, 3, [1, 2, 3]), [1, 2, 3, 100, 100, 100]);
    }

    #[test]
    fn sixteen_bits_keep_their_precision() {
        let image = ::image::ImageBuffer::from_raw(2, 1, vec![1u16, 65535]).unwrap();
        let picture = decode("image", &png(DynamicImage::ImageLuma16(image)), 1, [255; 3], None).unwrap();
        assert_eq!(picture.levels, Levels::Deep(vec![1.0 / 65535.0, 1.0]));
    }

    #[test]
    fn a_window_keeps_levels_apart_that_eight_bits_would_not() {
        let image = ::image::ImageBuffer::from_raw(4, 1, vec![999u16, 1001, 1002, 3000]).unwrap();
        let picture = decode("image", &png(DynamicImage::ImageLuma16(image)), 1, [255; 3], None).unwrap();
        let Levels::Deep(levels) = picture.within(Window { centre: 1050.0, width: 100.0 }).levels else {
            panic!("not rounded")
        };
        let wanted = [0.0, 0.01, 0.02, 1.0];
        assert!(
            levels.iter().zip(wanted).all(|(found, wanted): (&f32, f32)| (found - wanted).abs() < 1e-4),
            "{levels:?}"
        );
        let byte = Picture { width: 2, height: 1, channels: 1, levels: Levels::Byte(vec![100, 150]) };
        assert_eq!(byte.within(Window { centre: 150.0, width: 200.0 }).levels, Levels::Deep(vec![0.25, 0.5]));
    }

    #[test]
    fn a_header_that_claims_too_much_is_a_fault() {
        let mut bytes = png(DynamicImage::new_luma8(1, 1));
        bytes[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]); // 65536 x 65536
        let checksum = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
        let fault = decode("image", &bytes, 3, [255; 3], None).unwrap_err();
        assert!(fault.detail.contains("65536 x 65536"), "{fault}");
        assert_eq!(fault.reason, "picture is too large");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }

    #[test]
    fn a_file_cut_short_is_a_fault_in_every_format() {
        use ::image::ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
        let image =
            ::image::RgbImage::from_fn(48, 48, |x, y| ::image::Rgb([(x * y) as u8, (x * 5) as u8, (y * 5) as u8]));
        for format in [Bmp, Gif, Jpeg, Png, Tiff, WebP] {
            let mut bytes = Cursor::new(Vec::new());
            DynamicImage::ImageRgb8(image.clone()).write_to(&mut bytes, format).unwrap();
            let bytes = bytes.into_inner();
            let picture = decode("image", &bytes, 3, [255; 3], None).unwrap();
            assert_eq!((picture.width, picture.height), (48, 48), "{format:?}");
            for share in [2, 5, 9] {
                let cut = decode("image", &bytes[..bytes.len() * share / 10], 3, [255; 3], None);
                assert!(cut.is_err(), "{format:?} at {share}/10");
            }
        }
        assert!(decode("image", b"no picture", 3, [255; 3], None).is_err());
    }
}
