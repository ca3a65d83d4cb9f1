//! The smallest text, picture and sound: what a model is asked before anyone else asks.

use std::sync::Arc;

use sensorium_contract::Value;

use crate::Kind;

/// Samples of the silent sound, a tenth of a second of them.
const SAMPLES: u16 = 800;

/// The smallest content of a kind; a row has no columns that would be known here.
pub(crate) fn value(kind: Kind) -> Option<Value> {
    match kind {
        Kind::Text => Some(Value::Text("a".to_owned())),
        Kind::Image => Some(Value::Bytes(Arc::from(picture()))),
        Kind::Audio => Some(Value::Bytes(Arc::from(sound()))),
        Kind::Row => None,
    }
}

/// A white pixel as BMP.
fn picture() -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    for field in [58_u32, 0, 54, 40, 1, 1, 1 | 24 << 16, 0, 4, 2835, 2835, 0, 0] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend([255, 255, 255, 0]);
    bytes
}

/// Silence as WAV: 8000 samples of 16 bits a second.
fn sound() -> Vec<u8> {
    let length = u32::from(SAMPLES) * 2;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + length).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    for field in [16_u32, 1 | 1 << 16, 8000, 16_000, 2 | 16 << 16] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(b"data");
    bytes.extend(length.to_le_bytes());
    bytes.resize(44 + length as usize, 0);
    bytes
}
