//! Sounds: WAV files to log-mel spectrograms to patches over time and frequency to tokens (as AST, Gong et
//! al. 2021), with patches hidden and predicted.

mod augment;
mod config;
mod encoder;
mod mel;
mod prepare;
mod published;
#[cfg(test)]
mod reference;
mod resample;
mod targets;
mod wav;

use burn::tensor::Device;
use sensorium_contract::{Name, Seed};

use crate::{Kind, Learned, Problem};

pub use config::{AudioAugment, AudioConfig, AudioError, Fill, Frames, Log, MelNorm, MelScale, Padding, Standardise};
pub use encoder::AudioEncoder;
pub use mel::MelSpectrogram;
pub use prepare::Audio;
pub use published::Sounds;

impl Kind for Audio {
    type Config = AudioConfig;
    type Encoder = AudioEncoder;
    const FILE: Option<&'static str> = None;

    fn field(config: &AudioConfig) -> Option<&str> {
        Some(&config.field)
    }

    fn set_field(config: &mut AudioConfig, field: &str) {
        config.field = field.to_owned();
    }

    fn impossible(config: &AudioConfig) -> Option<(&'static str, String)> {
        let AudioError { key, expected, found } = config.validate().err()?;
        Some((key, format!("expected {expected}, found {found}")))
    }

    fn fit(config: &AudioConfig, from: Learned) -> Result<Self, Problem> {
        Ok(Self::new(from.name, config.clone())?)
    }

    fn learned(&self) -> String {
        String::new()
    }

    fn load(config: &AudioConfig, name: &Name, _learned: &str) -> Result<Self, Problem> {
        Ok(Self::new(name, config.clone())?)
    }

    fn encoder(&self, name: &Name, width: usize, seed: Seed, device: &Device) -> AudioEncoder {
        AudioEncoder::new(self.config(), name, width, seed, device)
    }
}
