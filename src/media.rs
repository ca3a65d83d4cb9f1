//! Samples as something to look at.

use std::collections::{BTreeMap, BTreeSet};

use sensorium_contract::{Name, Sample, Value};
use sensorium_modalities::image::to_png;
use sensorium_report::Media;

use crate::Reading;

/// What a modality reads of a sample, to be shown.
pub fn to_media(readings: &BTreeMap<Name, Reading>, name: &Name, sample: &Sample) -> Vec<Media> {
    match readings.get(name).and_then(|reading| reading.field.as_ref()) {
        Some(field) => sample.fields.get(field).into_iter().flat_map(one).collect(),
        None => vec![row(readings, name, sample)],
    }
}

fn one(value: &Value) -> Vec<Media> {
    match value {
        Value::Bytes(bytes) => vec![file(bytes)],
        Value::List(values) => values.iter().flat_map(one).collect(),
        text => text.as_text().map(|text| Media::Text(text.into_owned())).into_iter().collect(),
    }
}

fn file(bytes: &std::sync::Arc<[u8]>) -> Media {
    let mime = match bytes.get(..4) {
        Some([0x89, b'P', b'N', b'G']) => "image/png",
        Some([0xff, 0xd8, ..]) => "image/jpeg",
        Some(b"GIF8") => "image/gif",
        Some([b'B', b'M', ..]) => "image/bmp",
        Some(b"RIFF") if bytes.get(8..12) == Some(b"WEBP") => "image/webp",
        Some(b"RIFF") => return Media::Sound { bytes: bytes.clone(), mime: "audio/wav".to_owned() },
        _ => {
            return match to_png(bytes) {
                Some(png) => Media::Picture { bytes: png.into(), mime: "image/png".to_owned() },
                None => Media::Text(format!("{} bytes", bytes.len())),
            };
        }
    };
    Media::Picture { bytes: bytes.clone(), mime: mime.to_owned() }
}

/// The columns that a table names, or else the scalar fields that no other modality reads.
fn row(readings: &BTreeMap<Name, Reading>, name: &Name, sample: &Sample) -> Media {
    let named = readings.get(name).and_then(|reading| reading.columns.as_ref());
    let read = |field: &String| named.is_none_or(|columns| columns.contains(field));
    let used: BTreeSet<&str> = readings.values().filter_map(|reading| reading.field.as_deref()).collect();
    let cell = |(field, value): (&String, &Value)| {
        let text = value.as_text().filter(|_| !used.contains(field.as_str()) && read(field))?;
        Some((field.clone(), text.into_owned()))
    };
    Media::Row(sample.fields.iter().filter_map(cell).collect())
}
