use std::path::Path;

use sensorium_families::Content;
use sensorium_modalities::audio::Sounds;
use serde_json::{Value, json};

use super::preprocessing;
use crate::Error;

/// The feature extractor of a published model that embeds sounds.
pub(super) fn sounds(directory: &Path, content: Content) -> Result<Sounds, Error> {
    extractor(directory, if content == Content::Spectrogram { Sounds::ast } else { Sounds::wav2vec2 })
}

/// Whisper's feature extractor.
pub(crate) fn whisper(directory: &Path) -> Result<Sounds, Error> {
    extractor(directory, Sounds::whisper)
}

fn extractor(directory: &Path, make: fn(&Value) -> Result<Sounds, String>) -> Result<Sounds, Error> {
    let (path, config) = preprocessing(directory, "feature_extractor")?;
    let config = if config.is_null() { json!({}) } else { config };
    make(&config).map_err(|problem| Error::Preprocessing { path, problem })
}
