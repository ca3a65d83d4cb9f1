//! Pictures: files of the common formats to patches to tokens (Dosovitskiy et al. 2021), with patches
//! hidden and predicted as in a masked autoencoder (He et al. 2022).

mod augment;
mod config;
mod decode;
mod dicom;
mod encoder;
mod positions;
mod prepare;
mod published;
#[cfg(test)]
mod reference;
mod resize;
mod targets;

use burn::tensor::Device;
use sensorium_contract::{Name, Seed};

use crate::{Kind, Learned, Problem};

pub use config::{Filter, ImageAugment, ImageConfig, ImageError, Resize, Size, Window};
pub use decode::{dimensions, to_png};
pub use encoder::ImageEncoder;
pub use positions::{Grid, resize_positions};
pub use prepare::Image;
pub use published::Pictures;

impl Kind for Image {
    type Config = ImageConfig;
    type Encoder = ImageEncoder;
    const FILE: Option<&'static str> = None;

    fn field(config: &ImageConfig) -> Option<&str> {
        Some(&config.field)
    }

    fn set_field(config: &mut ImageConfig, field: &str) {
        config.field = field.to_owned();
    }

    fn impossible(config: &ImageConfig) -> Option<(&'static str, String)> {
        let ImageError { key, expected, found } = config.validate().err()?;
        Some((key, format!("expected {expected}, found {found}")))
    }

    fn fit(config: &ImageConfig, from: Learned) -> Result<Self, Problem> {
        Ok(Self::new(from.name, config.clone())?)
    }

    fn learned(&self) -> String {
        String::new()
    }

    fn load(config: &ImageConfig, name: &Name, _learned: &str) -> Result<Self, Problem> {
        Ok(Self::new(name, config.clone())?)
    }

    fn encoder(&self, name: &Name, width: usize, seed: Seed, device: &Device) -> ImageEncoder {
        ImageEncoder::new(self.config(), name, width, seed, device)
    }
}
