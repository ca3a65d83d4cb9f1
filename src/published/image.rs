use std::path::Path;

use sensorium_families::Checkpoint;
use sensorium_modalities::image::Pictures;

use super::preprocessing;
use crate::Error;

/// Side of a picture where the model does not say.
const SIDE: u64 = 224;

/// The image processor of a published model.
pub(crate) fn pictures(directory: &Path, checkpoint: &Checkpoint) -> Result<Pictures, Error> {
    let (path, config) = preprocessing(directory, "image_processor")?;
    let all = &checkpoint.config;
    let of =
        |key: &str| [&all["vision_config"], &all["image_config"], all].into_iter().find_map(|part| part[key].as_u64());
    let class = config["image_processor_type"].as_str().or_else(|| config["feature_extractor_type"].as_str());
    let kind = class.unwrap_or_else(|| checkpoint.network.name());
    let side = of("image_size").unwrap_or(SIDE) as usize;
    let channels = of("num_channels").unwrap_or(3) as usize;
    Pictures::new(&config, kind, side, channels).map_err(|problem| Error::Preprocessing { path, problem })
}
