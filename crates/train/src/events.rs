use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use sensorium_state::StateError;

/// A file of TensorBoard events: TFRecord frames, each with one `Event` message.
///
/// Both are written by hand, since of their dozens of message types three fields are needed.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file in `directory`. TensorBoard is told to forget what earlier files there say of
    /// steps after `step`.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn create(directory: &Path, step: u64) -> Result<Self, StateError> {
        fs::create_dir_all(directory).map_err(|error| StateError::io("create", directory, error))?;
        // The names' order is that of time, which TensorBoard reads them in.
        let (path, file) = first_free(directory)?;
        let mut events = Self { path, file };
        events.write(&Event { step: 0, version: true, ..Event::default() })?;
        if step > 0 {
            events.write(&Event { step: step + 1, restart: true, ..Event::default() })?;
        }
        Ok(events)
    }

    /// Adds numbers of one step by their tags.
    ///
    /// # Errors
    /// [`StateError::Io`] or [`StateError::DiskFull`].
    pub fn scalars(&mut self, step: u64, scalars: &[(String, f32)]) -> Result<(), StateError> {
        self.write(&Event { step, scalars, ..Event::default() })
    }

    fn write(&mut self, event: &Event<'_>) -> Result<(), StateError> {
        let frame = frame(&event.encode());
        self.file.write_all(&frame).map_err(|error| StateError::io("write", &self.path, error))
    }
}

fn first_free(directory: &Path) -> Result<(PathBuf, File), StateError> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    for number in 0_u32.. {
        let path = directory.join(format!("events.out.tfevents.{seconds:010}.{number:04}.sensorium"));
        match File::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StateError::io("create", &path, error)),
        }
    }
    Err(StateError::NoFileName(directory.to_owned()))
}

/// TensorFlow's `Event` message.
#[derive(Debug, Default)]
struct Event<'a> {
    step: u64,
    version: bool,
    restart: bool,
    scalars: &'a [(String, f32)],
}

impl Event<'_> {
    fn encode(&self) -> Vec<u8> {
        let mut message = Vec::new();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        tag(&mut message, 1, FIXED_64); // wall_time
        message.extend(now.to_le_bytes());
        tag(&mut message, 2, VARINT); // step
        varint(&mut message, self.step);
        if self.version {
            bytes(&mut message, 3, b"brain.Event:2"); // file_version
        }
        if self.restart {
            bytes(&mut message, 7, &[1 << 3 | VARINT, 1]); // session_log { status: START }
        }
        if !self.scalars.is_empty() {
            bytes(&mut message, 5, &summary(self.scalars)); // summary
        }
        message
    }
}

fn summary(scalars: &[(String, f32)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (name, number) in scalars {
        let mut value = Vec::new();
        bytes(&mut value, 1, name.as_bytes()); // tag
        tag(&mut value, 2, FIXED_32); // simple_value
        value.extend(number.to_le_bytes());
        bytes(&mut summary, 1, &value); // value
    }
    summary
}

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const DELIMITED: u8 = 2;
const FIXED_32: u8 = 5;

fn tag(out: &mut Vec<u8>, field: u8, kind: u8) {
    out.push(field << 3 | kind);
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    tag(out, field, DELIMITED);
    varint(out, content.len() as u64);
    out.extend(content);
}

/// A TFRecord: length, its checksum, content, its checksum.
fn frame(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_le_bytes();
    let mut frame = Vec::with_capacity(content.len() + 16);
    frame.extend(length);
    frame.extend(masked_crc(&length).to_le_bytes());
    frame.extend(content);
    frame.extend(masked_crc(content).to_le_bytes());
    frame
}

fn masked_crc(content: &[u8]) -> u32 {
    crc32c(content).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32 with Castagnoli's polynomial.
fn crc32c(content: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    };
    !content.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, B.4
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_scalar_is_framed_as_tensorboard_reads_it() {
        let home = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(home.path(), 0).unwrap();
        events.scalars(300, &[("loss".to_owned(), 0.5)]).unwrap();
        let content = fs::read(&events.path).unwrap();
        let length = |at: usize| u64::from_le_bytes(content[at..at + 8].try_into().unwrap()) as usize;
        let first = length(0);
        assert_eq!(&content[12..13], [1 << 3 | 1]);
        assert!(content[12..12 + first].ends_with(b"\x1a\x0dbrain.Event:2"));
        let second = 12 + first + 4;
        let message = &content[second + 12..second + 12 + length(second)];
        // step 300, then summary { value { tag: "loss" simple_value: 0.5 } }
        assert_eq!(message[9..], *b"\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\x00\x3f");
        assert_eq!(second + 12 + length(second) + 4, content.len());
    }
}
