use std::{borrow::Cow, io::Cursor};

use hound::{SampleFormat, WavReader, WavSpec};
use sensorium_contract::Fault;

/// What programs write as a length that they did not know yet: a pipe's output.
const UNKNOWN_LENGTH: u32 = 0x7fff_0000;
/// Samples beyond this are no sound, whatever the scale.
const LOUDEST: f32 = 1e6;
const REASON: &str = "sound cannot be decoded";

/// A sound with its channels mixed to one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sound {
    /// Samples a second.
    pub rate: u32,
    /// Between −1 and 1, if the file keeps to what is usual.
    pub samples: Vec<f32>,
    /// Whether the file held more than was asked for.
    pub cut: bool,
}

/// Decodes the first `seconds` of a WAV file: integers of 8, 16, 24 or 32 bits or floats of 32, of any rate
/// and number of channels, whose mean is taken.
pub(super) fn decode(field: &str, bytes: &[u8], seconds: f64) -> Result<Sound, Fault> {
    let bytes = with_true_length(field, bytes)?;
    let mut reader = WavReader::new(Cursor::new(&bytes[..])).map_err(|error| Fault::new(field, REASON, error))?;
    let spec = reader.spec();
    if spec.channels == 0 || !(100..=1_536_000).contains(&spec.sample_rate) {
        let detail = format!("{} channels at {} Hz", spec.channels, spec.sample_rate);
        return Err(Fault::new(field, REASON, detail));
    }
    let frames = reader.duration() as usize;
    if frames == 0 {
        return Err(Fault::new(field, "sound is empty", "a WAV file without samples"));
    }
    let wanted = (seconds * f64::from(spec.sample_rate)).ceil() as usize;
    let samples = read(&mut reader, spec, wanted.min(frames)).map_err(|error| Fault::new(field, REASON, error))?;
    if let Some(sample) = samples.iter().find(|sample| sample.is_nan() || sample.abs() > LOUDEST) {
        return Err(Fault::new(field, "sound holds impossible samples", format!("a sample of {sample}")));
    }
    Ok(Sound { rate: spec.sample_rate, samples, cut: frames > wanted })
}

fn read(reader: &mut WavReader<Cursor<&[u8]>>, spec: WavSpec, frames: usize) -> hound::Result<Vec<f32>> {
    let channels = usize::from(spec.channels);
    let count = frames * channels;
    match spec.sample_format {
        SampleFormat::Float => mix(reader.samples::<f32>().take(count), channels, 1.0),
        SampleFormat::Int => {
            let unit = 1.0 / (1u64 << (spec.bits_per_sample - 1)) as f32;
            mix(reader.samples::<i32>().take(count).map(|sample| sample.map(|level| level as f32)), channels, unit)
        }
    }
}

/// The mean of the channels, times `unit`.
fn mix(samples: impl Iterator<Item = hound::Result<f32>>, channels: usize, unit: f32) -> hound::Result<Vec<f32>> {
    if channels == 1 {
        return samples.map(|sample| sample.map(|sample| sample * unit)).collect();
    }
    let samples: Vec<f32> = samples.collect::<hound::Result<_>>()?;
    let share = unit / channels as f32;
    Ok(samples.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() * share).collect())
}

/// The file, if it is as long as its header says; with the length put right if whoever wrote it could not
/// know it.
fn with_true_length<'a>(field: &str, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, Fault> {
    let Some(data) = find(bytes, b"data") else { return Ok(Cow::Borrowed(bytes)) };
    let claimed = length_at(bytes, data).unwrap_or(0);
    let present = bytes.len() - data.min(bytes.len());
    if claimed as usize <= present {
        return Ok(Cow::Borrowed(bytes));
    }
    if claimed < UNKNOWN_LENGTH {
        let detail = format!("the header says {claimed} bytes of samples, the file holds {present}");
        return Err(Fault::new(field, "sound is cut short", detail));
    }
    let block = find(bytes, b"fmt ").and_then(|format| bytes.get(format + 12..format + 14));
    let block = block.map_or(1, |block| usize::from(block[0]) | usize::from(block[1]) << 8).max(1);
    let length = (present - present % block) as u32;
    let mut bytes = bytes.to_vec();
    bytes[data - 4..data].copy_from_slice(&length.to_le_bytes());
    Ok(Cow::Owned(bytes))
}

/// Where a chunk's content begins, after its name and length.
fn find(bytes: &[u8], name: &[u8; 4]) -> Option<usize> {
    let mut at = 12; // after `RIFF`, a length, `WAVE`
    while let Some(found) = bytes.get(at..at + 4) {
        let length = length_at(bytes, at + 8)? as usize;
        if found == name {
            return Some(at + 8);
        }
        at += 8 + length + length % 2;
    }
    None
}

/// The length before the content at `content`.
fn length_at(bytes: &[u8], content: usize) -> Option<u32> {
    let length = bytes.get(content - 4..content)?;
    Some(u32::from_le_bytes([length[0], length[1], length[2], length[3]]))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn wav(channels: u16, rate: u32, bits: u16, format: SampleFormat, frames: &[f32]) -> Vec<u8> {
        let spec = WavSpec { channels, sample_rate: rate, bits_per_sample: bits, sample_format: format };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
        for sample in frames.iter().flat_map(|&frame| std::iter::repeat_n(frame, channels.into())) {
            match format {
                SampleFormat::Float => writer.write_sample(sample).unwrap(),
                SampleFormat::Int => {
                    let unit = (1u64 << (bits - 1)) as f64;
                    writer.write_sample((f64::from(sample) * unit).round().min(unit - 1.0) as i32).unwrap();
                }
            }
        }
        writer.finalize().unwrap();
        bytes.into_inner()
    }

    pub fn tone(frames: usize) -> Vec<f32> {
        (0..frames).map(|i| (i as f32 * 0.05).sin() * 0.7).collect()
    }

    #[test]
    fn every_format_gives_the_same_samples() {
        let expected = tone(500);
        for (bits, format) in
            [8, 16, 24, 32].map(|bits| (bits, SampleFormat::Int)).into_iter().chain([(32, SampleFormat::Float)])
        {
            for channels in [1, 2, 5] {
                let sound = decode("audio", &wav(channels, 44_100, bits, format, &expected), 1.0).unwrap();
                assert_eq!((sound.rate, sound.samples.len(), sound.cut), (44_100, 500, false));
                let step = if format == SampleFormat::Int { 0.5 / (1u64 << (bits - 1)) as f32 } else { 0.0 };
                for (found, expected) in sound.samples.iter().zip(&expected) {
                    assert!((found - expected).abs() <= step + 1e-6, "{bits} bits: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn channels_are_averaged() {
        let spec = WavSpec { channels: 2, sample_rate: 8000, bits_per_sample: 16, sample_format: SampleFormat::Int };
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
        [16_384i16, 0, -16_384, 16_384].into_iter().for_each(|sample| writer.write_sample(sample).unwrap());
        writer.finalize().unwrap();
        assert_eq!(decode("audio", &bytes.into_inner(), 1.0).unwrap().samples, [0.25, 0.0]);
    }

    #[test]
    fn a_long_sound_loses_its_end() {
        let sound = decode("audio", &wav(1, 8000, 16, SampleFormat::Int, &tone(500)), 0.05).unwrap();
        assert_eq!((sound.samples.len(), sound.cut), (400, true));
    }

    #[test]
    fn damaged_files_are_faults() {
        let whole = wav(2, 8000, 16, SampleFormat::Int, &tone(500));
        let reason = |bytes: &[u8]| decode("audio", bytes, 1.0).unwrap_err().reason;
        assert_eq!(reason(&whole[..whole.len() - 10]), "sound is cut short");
        assert_eq!(reason(&whole[..30]), REASON);
        assert_eq!(reason(b""), REASON);
        assert_eq!(reason(&wav(1, 8000, 16, SampleFormat::Int, &[])), "sound is empty");
        let broken = wav(1, 8000, 32, SampleFormat::Float, &[0.0, f32::NAN]);
        assert_eq!(reason(&broken), "sound holds impossible samples");
        assert_eq!(reason(&wav(1, 8000, 32, SampleFormat::Float, &[f32::INFINITY])), "sound holds impossible samples");
        for end in 0..whole.len() {
            assert!(decode("audio", &whole[..end], 1.0).is_err(), "{end}");
        }
    }

    #[test]
    fn a_length_that_was_not_known_yet_is_put_right() {
        for claim in [0x7fff_f000u32, 0xffff_ffff] {
            let mut piped = wav(2, 8000, 16, SampleFormat::Int, &tone(500));
            let whole = decode("audio", &piped, 1.0).unwrap();
            let data = find(&piped, b"data").unwrap();
            piped[data - 4..data].copy_from_slice(&claim.to_le_bytes());
            assert_eq!(decode("audio", &piped, 1.0).unwrap(), whole);
        }
    }
}
