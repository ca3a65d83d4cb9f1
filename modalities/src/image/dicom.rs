//! DICOM files: grey levels in the unit of their modality (Hounsfield units of a CT), or colours. What pydicom
//! gives, rescaled and windowed, is the reference (`tests/reference/dicom.py`).

use std::panic::{AssertUnwindSafe, catch_unwind};

use dicom_core::VR;
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, FileMetaTable, OpenFileOptions, Tag, file::ReadPreamble};
use dicom_parser::dataset::{LazyDataToken, lazy_read::LazyDataSetReader};
use dicom_pixeldata::{
    ConvertOptions, DecodedPixelData, ModalityLutOption, PhotometricInterpretation, PixelDecoder, PlanarConfiguration,
    VoiLutFunction, VoiLutOption, WindowLevelTransform,
};
use dicom_transfer_syntax_registry::{TransferSyntaxIndex, TransferSyntaxRegistry};
use sensorium_contract::Fault;

use super::{
    Window,
    decode::{Levels, Picture, check_size, jpeg_segments},
};

/// Explicit VR little endian, which the head of every file is written in.
const HEAD_SYNTAX: &str = "1.2.840.10008.1.2.1";
/// Sequences in sequences; what nests deeper is hostile.
const DEEPEST: usize = 64;

/// Whether the mark stands behind the preamble (PS3.10, 7.1).
pub(super) fn is_dicom(bytes: &[u8]) -> bool {
    bytes.get(128..132) == Some(b"DICM")
}

/// Decodes a file's first frame: uncompressed, RLE, JPEG of 8 bits or lossless JPEG. Grey levels are
/// rescaled as the file says and then go from 0 to 1 within `window`, or else within the file's own window, or else
/// from the least to the largest; where the file calls low levels bright they are turned round.
pub(super) fn decode(field: &str, bytes: &[u8], window: Option<Window>) -> Result<Picture, Fault> {
    let damaged = |detail: String| Fault::new(field, "picture cannot be decoded", detail);
    check_lengths(bytes).map_err(damaged)?;
    let read = || {
        let object = OpenFileOptions::new().read_preamble(ReadPreamble::Always).from_reader(bytes);
        let object = object.map_err(|error| damaged(described(&error)))?;
        let (width, height) = frame_size(field, &object)?;
        let pixels = object.decode_pixel_data_frame(0).map_err(|error| damaged(described(&error)))?;
        let channels = usize::from(pixels.samples_per_pixel());
        let levels = match channels {
            1 => grey(&pixels, window).map(Levels::Deep),
            3 => colours(&pixels).map(Levels::Byte),
            other => Err(format!("1 or 3 values a pixel expected, found {other}")),
        };
        let picture = Picture { width, height, channels, levels: levels.map_err(damaged)? };
        if picture.levels.len() != width * height * channels {
            return Err(damaged(format!("{width} x {height} pixels expected, found {}", picture.levels.len())));
        }
        Ok(match (&picture.levels, window) {
            (Levels::Byte(_), Some(window)) => picture.within(window),
            _ => picture,
        })
    };
    // The decoders of damaged frames are not ours.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(damaged("the frame's decoder failed".to_owned())))
}

/// An error with its causes, which the library tells one by one.
fn described(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |all, cause| format!("{all}: {cause}"))
}

/// Every length that the file claims lies within it and nothing nests without end, before anything is allocated.
fn check_lengths(bytes: &[u8]) -> Result<(), String> {
    // Behind the mark stands one value that says how long the other values of the head are (PS3.10, 7.1).
    let length = bytes.get(140..144).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes);
    let end = length.map(|length| 144 + length as usize).filter(|end| *end <= bytes.len());
    let end = end.ok_or("the file's head is longer than the file")?;
    check_values(&bytes[144..end], HEAD_SYNTAX)?;
    let meta = FileMetaTable::from_reader(&bytes[128..end]).map_err(|error| described(&error))?;
    check_values(&bytes[end..], meta.transfer_syntax())
}

/// The values of a data set, in its transfer syntax.
fn check_values(bytes: &[u8], syntax: &str) -> Result<(), String> {
    let known = TransferSyntaxRegistry.get(syntax).ok_or_else(|| format!("unknown transfer syntax `{syntax}`"))?;
    if !known.can_decode_dataset() {
        return Err(format!("transfer syntax `{syntax}` ({}) is not supported", known.name()));
    }
    let source = std::io::Cursor::new(bytes);
    let mut tokens = LazyDataSetReader::new_with_ts(source, known).map_err(|error| described(&error))?;
    let mut depth = 0_usize;
    while let Some(token) = tokens.advance() {
        let token = token.map_err(|error| described(&error))?;
        let length = match &token {
            LazyDataToken::SequenceStart { .. } => {
                depth += 1;
                None
            }
            LazyDataToken::SequenceEnd => {
                depth = depth.saturating_sub(1);
                None
            }
            // The library reads whole numbers and takes what is left for the next value.
            LazyDataToken::LazyValue { header, .. } if header.len.get().unwrap_or(0) % number_size(header.vr) != 0 => {
                return Err(format!("a value of kind {} with {} bytes", header.vr.to_string(), header.len));
            }
            LazyDataToken::LazyValue { header, .. } => header.len.get(),
            LazyDataToken::LazyItemValue { len, .. } => Some(*len),
            _ => None,
        };
        if depth > DEEPEST {
            return Err(format!("sequences nest deeper than {DEEPEST}"));
        }
        if let Some(length) = length.filter(|length| *length as usize > bytes.len()) {
            return Err(format!("a value of {length} bytes where {} are left", bytes.len()));
        }
        token.skip().map_err(|error| described(&error))?;
    }
    Ok(())
}

/// Bytes of one number of a value (PS3.5, 6.2); 1 where it holds none.
fn number_size(vr: VR) -> u32 {
    match vr {
        VR::US | VR::SS | VR::OW => 2,
        VR::UL | VR::SL | VR::FL | VR::AT | VR::OF | VR::OL => 4,
        VR::FD | VR::OD | VR::OV | VR::SV | VR::UV => 8,
        _ => 1,
    }
}

/// Width and height of a file whose lengths are sound.
pub(super) fn dimensions(bytes: &[u8]) -> Option<[u32; 2]> {
    check_lengths(bytes).ok()?;
    let options = OpenFileOptions::new().read_preamble(ReadPreamble::Always).read_until(tags::PIXEL_DATA);
    let object = options.from_reader(bytes).ok()?;
    let side = |tag: Tag| object.get(tag)?.to_int::<u32>().ok();
    Some([side(tags::COLUMNS)?, side(tags::ROWS)?])
}

/// Width and height, after what the file and its compressed frame claim was found bearable.
fn frame_size(field: &str, object: &DefaultDicomObject) -> Result<(usize, usize), Fault> {
    let number = |tag: Tag, name: &str| {
        let found = object.get(tag).and_then(|element| element.to_int::<u16>().ok());
        found.ok_or_else(|| Fault::new(field, "picture cannot be decoded", format!("the DICOM file has no {name}")))
    };
    let (width, height) = (number(tags::COLUMNS, "Columns")?, number(tags::ROWS, "Rows")?);
    let values = number(tags::SAMPLES_PER_PIXEL, "Samples per Pixel")?;
    let bits = number(tags::BITS_ALLOCATED, "Bits Allocated")?;
    let bytes = u64::from(width) * u64::from(height) * u64::from(values) * u64::from(bits.div_ceil(8));
    check_size(field, width.into(), height.into(), bytes)?;
    let fragments = object.get(tags::PIXEL_DATA).and_then(|element| element.value().fragments());
    let compressed: Vec<u8> = fragments.into_iter().flatten().flatten().copied().collect();
    let wanted = Frame { width, height, values };
    match jpeg_frame(&compressed) {
        Some(found) if found != wanted => {
            let detail = format!("the file says {wanted}, its compressed frame {found}");
            Err(Fault::new(field, "picture cannot be decoded", detail))
        }
        _ => Ok((width.into(), height.into())),
    }
}

/// What a compressed frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Frame {
    width: u16,
    height: u16,
    /// Values a pixel.
    values: u16,
}

impl std::fmt::Display for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { width, height, values } = self;
        write!(f, "{width} x {height} pixels of {values} values")
    }
}

/// From a JPEG's frame header (ITU-T T.81, B.2.2).
fn jpeg_frame(bytes: &[u8]) -> Option<Frame> {
    let frame = |kind: u8| matches!(kind, 0xc0..=0xcf) && !matches!(kind, 0xc4 | 0xc8 | 0xcc);
    let (_, segment) =
        bytes.starts_with(&[0xff, 0xd8]).then(|| jpeg_segments(bytes).find(|(kind, _)| frame(*kind)))??;
    let side = |at: usize| Some(u16::from_be_bytes(segment.get(at..at + 2)?.try_into().ok()?));
    Some(Frame { width: side(5)?, height: side(3)?, values: u16::from(*segment.get(7)?) })
}

/// Levels from 0 to 1.
fn grey(pixels: &DecodedPixelData, window: Option<Window>) -> Result<Vec<f32>, String> {
    let kind = pixels.photometric_interpretation();
    if !kind.is_monochrome() {
        return Err(format!("one value a pixel expected to be grey, found {kind}"));
    }
    let text = |error: dicom_pixeldata::Error| described(&error);
    let options =
        ConvertOptions::new().with_modality_lut(ModalityLutOption::Default).with_voi_lut(VoiLutOption::Identity);
    let mut levels: Vec<f32> = pixels.to_vec_frame_with_options(0, &options).map_err(text)?;
    let own = pixels.window().map_err(text)?.and_then(|windows| windows.first().copied());
    match (window, own) {
        (Some(window), _) => levels.iter_mut().for_each(|level| *level = window.place(*level)),
        (None, Some(own)) => {
            let function = pixels.voi_lut_function().map_err(text)?.and_then(|functions| functions.first().copied());
            let place = WindowLevelTransform::new(function.unwrap_or(VoiLutFunction::Linear), own);
            levels.iter_mut().for_each(|level| *level = place.apply(f64::from(*level), 1.0) as f32);
        }
        (None, None) => stretch(&mut levels),
    }
    if *kind == PhotometricInterpretation::Monochrome1 {
        levels.iter_mut().for_each(|level| *level = 1.0 - *level);
    }
    match levels.iter().all(|level| level.is_finite()) {
        true => Ok(levels),
        false => Err("levels that are not numbers".to_owned()),
    }
}

/// The least becomes 0, the largest 1; all 0 if there is but one.
fn stretch(levels: &mut [f32]) {
    let least = levels.iter().copied().fold(f32::INFINITY, f32::min);
    let range = levels.iter().copied().fold(f32::NEG_INFINITY, f32::max) - least;
    levels.iter_mut().for_each(|level| *level = if range > 0.0 { (*level - least) / range } else { 0.0 });
}

/// Red, green and blue of one pixel after the other.
fn colours(pixels: &DecodedPixelData) -> Result<Vec<u8>, String> {
    if pixels.bits_allocated() != 8 {
        return Err(format!("colours of 8 bits expected, found {}", pixels.bits_allocated()));
    }
    let data = pixels.frame_data(0).map_err(|error| described(&error))?;
    let plane = data.len() / 3;
    let mut levels: Vec<u8> = match pixels.planar_configuration() {
        PlanarConfiguration::Standard => data.to_vec(),
        PlanarConfiguration::PixelFirst => (0..plane).flat_map(|at| [0, 1, 2].map(|c| data[c * plane + at])).collect(),
    };
    match pixels.photometric_interpretation() {
        PhotometricInterpretation::Rgb => Ok(levels),
        PhotometricInterpretation::YbrFull => {
            levels.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&rgb([pixel[0], pixel[1], pixel[2]])));
            Ok(levels)
        }
        other => Err(format!("colours as RGB or YBR_FULL expected, found {other}")),
    }
}

/// PS3.3, C.7.6.3.1.2.
fn rgb(ybr: [u8; 3]) -> [u8; 3] {
    let [y, blue, red] = ybr.map(f32::from);
    let (blue, red) = (blue - 128.0, red - 128.0);
    [y + 1.402 * red, y - 0.344_136 * blue - 0.714_136 * red, y + 1.772 * blue].map(|level| level.round() as u8)
}

#[cfg(test)]
mod tests {
    use dicom_core::{DataElement, PrimitiveValue, value::DataSetSequence};
    use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
    use rand::RngExt;
    use sensorium_contract::Seed;

    use super::*;

    fn file(object: InMemDicomObject) -> Vec<u8> {
        let meta = FileMetaTableBuilder::new()
            .transfer_syntax(HEAD_SYNTAX)
            .media_storage_sop_class_uid("1.2.840.10008.5.1.4.1.1.2")
            .media_storage_sop_instance_uid("1.2.3");
        let mut bytes = Vec::new();
        object.with_meta(meta).unwrap().write_all(&mut bytes).unwrap();
        bytes
    }

    fn put(object: &mut InMemDicomObject, tag: Tag, vr: VR, value: impl Into<PrimitiveValue>) {
        object.put(DataElement::new(tag, vr, value.into()));
    }

    /// A picture of two by two.
    fn picture(kind: &str, values: u16, bits: u16) -> InMemDicomObject {
        let mut object = InMemDicomObject::new_empty();
        put(&mut object, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, kind);
        let numbers = [
            (tags::ROWS, 2),
            (tags::COLUMNS, 2),
            (tags::SAMPLES_PER_PIXEL, values),
            (tags::BITS_ALLOCATED, bits),
            (tags::BITS_STORED, bits),
            (tags::HIGH_BIT, bits - 1),
            (tags::PIXEL_REPRESENTATION, 0),
            (tags::PLANAR_CONFIGURATION, 1),
        ];
        numbers.into_iter().for_each(|(tag, number)| put(&mut object, tag, VR::US, number));
        object
    }

    /// −1000, 0, 40 and 400 Hounsfield units.
    fn scan(kind: &str) -> InMemDicomObject {
        let mut object = picture(kind, 1, 16);
        put(&mut object, tags::RESCALE_INTERCEPT, VR::DS, "-1024");
        put(&mut object, tags::RESCALE_SLOPE, VR::DS, "1");
        let levels = PrimitiveValue::U16(vec![24, 1024, 1064, 1424].into());
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, levels));
        object
    }

    fn read(bytes: &[u8], channels: usize, window: Option<Window>) -> Result<Picture, Fault> {
        super::super::decode::decode("scan", bytes, channels, [255; 3], window)
    }

    fn levels(object: InMemDicomObject, window: Option<Window>) -> Vec<f32> {
        match read(&file(object), 1, window).unwrap().levels {
            Levels::Deep(levels) => levels,
            Levels::Byte(levels) => panic!("not rounded: {levels:?}"),
        }
    }

    fn close(found: &[f32], wanted: [f32; 4]) {
        assert!(found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-5), "{found:?}");
    }

    #[test]
    fn windows_are_in_the_unit_of_the_modality() {
        close(&levels(scan("MONOCHROME2"), Some(Window { centre: 40.0, width: 400.0 })), [0.0, 0.4, 0.5, 1.0]);
        close(&levels(scan("MONOCHROME1"), Some(Window { centre: 40.0, width: 400.0 })), [1.0, 0.6, 0.5, 0.0]);
        let mut own = scan("MONOCHROME2");
        put(&mut own, tags::WINDOW_CENTER, VR::DS, "40");
        put(&mut own, tags::WINDOW_WIDTH, VR::DS, "401");
        close(&levels(own, None), [0.0, 0.40125, 0.50125, 1.0]);
        close(&levels(scan("MONOCHROME2"), None), [0.0, 1000.0 / 1400.0, 1040.0 / 1400.0, 1.0]);
    }

    #[test]
    fn colours_may_lie_in_planes() {
        let mut object = picture("RGB", 3, 8);
        let planes = PrimitiveValue::U8(vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].into());
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, planes));
        let found = read(&file(object), 3, None).unwrap().levels;
        assert_eq!(found, Levels::Byte(vec![1, 5, 9, 2, 6, 10, 3, 7, 11, 4, 8, 12]));
        let mut palette = picture("PALETTE COLOR", 1, 8);
        palette.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(vec![0, 1, 2, 3].into())));
        assert!(read(&file(palette), 3, None).unwrap_err().detail.contains("found PALETTE COLOR"));
        assert_eq!([rgb([100, 128, 128]), rgb([76, 85, 255])], [[100; 3], [254, 0, 0]]);
    }

    #[test]
    fn a_file_can_be_looked_at_and_measured() {
        let bytes = file(scan("MONOCHROME2"));
        assert_eq!(super::super::dimensions(&bytes), Some([2, 2]));
        let shown = ::image::load_from_memory(&super::super::to_png(&bytes).unwrap()).unwrap().to_luma8();
        assert_eq!(shown.into_raw(), [0, 182, 189, 255]);
    }

    #[test]
    fn what_a_file_claims_is_not_believed() {
        let whole = file(scan("MONOCHROME2"));
        for cut in 132..whole.len() {
            assert!(read(&whole[..cut], 1, None).is_err(), "{cut} of {} bytes", whole.len());
        }
        let mut long = whole.clone();
        let length = long.len() - 12;
        long[length..length + 4].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
        let fault = read(&long, 1, None).unwrap_err();
        assert!(fault.detail.contains("a value of 4294967280 bytes"), "{fault}");

        let mut uneven = scan("MONOCHROME2");
        uneven.put(DataElement::new(Tag(9, 0x1010), VR::SL, PrimitiveValue::U8(vec![0; 6].into())));
        assert!(read(&file(uneven), 1, None).unwrap_err().detail.contains("kind SL with 6 bytes"));

        let mut large = scan("MONOCHROME2");
        put(&mut large, tags::ROWS, VR::US, u16::MAX);
        put(&mut large, tags::COLUMNS, VR::US, u16::MAX);
        assert_eq!(read(&file(large), 1, None).unwrap_err().reason, "picture is too large");

        let nested = (0..DEEPEST + 1).fold(InMemDicomObject::new_empty(), |inner, _| {
            let mut outer = scan("MONOCHROME2");
            outer.put(DataElement::new(tags::REFERENCED_IMAGE_SEQUENCE, VR::SQ, DataSetSequence::from(vec![inner])));
            outer
        });
        assert!(read(&file(nested), 1, None).unwrap_err().detail.contains("nest deeper"));
    }

    /// Mutants of a file are read or refused, each within a second.
    fn mutants(name: &str, whole: &[u8], times: u64) {
        for time in 0..times {
            let rng = &mut Seed::new(5).named(name).number(time).rng();
            let mut bytes = whole.to_vec();
            for _ in 0..rng.random_range(1..=8) {
                let at = rng.random_range(128..bytes.len());
                bytes[at] = rng.random();
            }
            bytes.truncate(if time % 4 == 0 { rng.random_range(132..=bytes.len()) } else { bytes.len() });
            let begin = std::time::Instant::now();
            let _ = (read(&bytes, 3, None), super::super::dimensions(&bytes));
            assert!(begin.elapsed().as_secs_f32() < 1.0, "{name}, mutant {time}: {:?}", begin.elapsed());
        }
    }

    #[test]
    fn changed_files_are_read_or_refused() {
        mutants("grey", &file(scan("MONOCHROME2")), 3000);
    }

    #[test]
    fn a_compressed_frame_says_its_size() {
        let jpeg = [0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xc1, 0, 11, 8, 0x12, 0x34, 0x56, 0x78, 1, 1, 0x11, 0];
        assert_eq!(jpeg_frame(&jpeg), Some(Frame { width: 0x5678, height: 0x1234, values: 1 }));
        assert_eq!(jpeg_frame(&jpeg[..15]).or(jpeg_frame(&jpeg[2..])), None);
    }

    /// Files and what pydicom makes of them, as `tests/reference/dicom.py` leaves them in the folder `SENSORIUM_DICOM`.
    #[test]
    #[ignore = "needs files that tests/reference/dicom.py makes"]
    fn agrees_with_pydicom() {
        let folder =
            std::path::PathBuf::from(std::env::var("SENSORIUM_DICOM").expect("SENSORIUM_DICOM names a folder"));
        let expected = std::fs::read(folder.join("expected.safetensors")).unwrap();
        let expected = safetensors::SafeTensors::deserialize(&expected).unwrap();
        let mut others = Vec::new();
        for (name, wanted) in expected.tensors() {
            let bytes = std::fs::read(folder.join(&name)).unwrap();
            let channels = wanted.shape()[2];
            mutants(&name, &bytes, 2000);
            match read(&bytes, channels, None) {
                Err(fault) => println!("{name}: refused, {fault}"),
                Ok(picture) => {
                    let wanted = wanted.data().chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
                    let found: Vec<f32> = match picture.levels {
                        Levels::Byte(levels) => levels.into_iter().map(|level| f32::from(level) / 255.0).collect(),
                        Levels::Deep(levels) => levels,
                    };
                    assert_eq!(found.len(), wanted.len(), "{name}");
                    let worst =
                        found.iter().zip(wanted).map(|(found, wanted)| (found - wanted).abs()).fold(0.0, f32::max);
                    println!("{name}: {worst:.6}");
                    others.extend((worst > 3.5 / 255.0).then_some(name));
                }
            }
        }
        // The first says that its JPEG's colours are RGB, where nothing in the JPEG does.
        assert_eq!(others, ["SC_jpeg_no_color_transform.dcm"]);
    }
}
