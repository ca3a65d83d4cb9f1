use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use sensorium_backbone::{Draw, Linear, param};
use sensorium_contract::{Arrays, Name, Pool, Seed, Tokens, tensor_bool, tensor_f32};

use super::config::AudioConfig;
use crate::patches::{PATCHES, prepend_class, replace_hidden, token_mask};

/// Patches of a spectrogram to tokens: one linear layer, learned positions in time (which begin as sinusoids, so
/// that a hidden patch can be told from its neighbours early) and in frequency.
#[derive(Module, Debug)]
pub struct AudioEncoder {
    /// `[patch frames · patch mels, width]`; in a patch frames, then mels.
    pub patch: Linear,
    /// `[most patches beside each other, width]`
    pub time: Param<Tensor<2>>,
    /// `[patches above each other, width]`; none if a patch spans all frequencies.
    pub frequency: Option<Param<Tensor<2>>>,
    /// `[width]`; with `pool = "class"`.
    pub class: Option<Param<Tensor<1>>>,
    /// Stands in for a hidden patch, `[width]`.
    pub hidden: Param<Tensor<1>>,
    #[module(skip)]
    name: Name,
    #[module(skip)]
    pool: Pool,
}

impl AudioEncoder {
    /// An encoder of the modality `name` into tokens of `width`.
    pub fn new(config: &AudioConfig, name: &Name, width: usize, seed: Seed, device: &Device) -> Self {
        let inputs = config.patch_values();
        let normal = Draw::Normal(0.02);
        let frequency = || param([config.bands(), width], normal, seed.named("frequency"), device);
        let class = || param([width], normal, seed.named("class"), device);
        Self {
            patch: Linear::new(inputs, width, Draw::Normal((inputs as f32).powf(-0.5)), seed.named("patch"), device),
            time: param([config.max_steps(), width], Draw::Sinusoids, seed.named("time"), device),
            frequency: (config.bands() > 1).then(frequency),
            class: (config.pool == Pool::Class).then(class),
            hidden: param([width], normal, seed.named("hidden"), device),
            name: name.clone(),
            pool: config.pool,
        }
    }

    /// Tokens of the batch: class token first, then the patches of the first moment from low to high, then
    /// those of the next.
    ///
    /// # Shapes
    /// `patches` `[rows, patches, values]` → `[rows, class token + patches, width]`
    pub fn tokens(&self, arrays: &Arrays, device: &Device) -> Tokens {
        let patches = tensor_f32::<3>(arrays.f32(PATCHES), device);
        let [_, count, _] = patches.dims();
        let values = self.patch.forward(patches); // [rows, patches, width]
        let values = replace_hidden(values, arrays, &self.hidden, device) + self.positions(count);
        let values = prepend_class(values, self.class.as_ref()); // [rows, tokens, width]
        let mask = token_mask(arrays, usize::from(self.class.is_some()));
        let mask = mask.map(|mask| tensor_bool(&mask, &device.clone().inner())); // [rows, tokens]
        Tokens::new(&self.name, self.pool, values, mask)
    }

    /// `[1, patches, width]`
    fn positions(&self, patches: usize) -> Tensor<3> {
        let [_, width] = self.time.dims();
        let bands = self.frequency.as_ref().map_or(1, |frequency| frequency.dims()[0]);
        let steps = patches / bands;
        let time = self.time.val().slice([0..steps]).unsqueeze_dim::<3>(1); // [steps, 1, width]
        let positions = match &self.frequency {
            Some(frequency) => {
                let shape = [steps, bands, width];
                time.expand(shape) + frequency.val().unsqueeze::<3>().expand(shape)
            }
            None => time,
        };
        positions.reshape([1, patches, width])
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use ndarray::Array2;
    use sensorium_contract::{Array, Item, Modality};

    use super::*;
    use crate::{
        audio::{Audio, prepare::MEL},
        patches::HIDDEN,
    };

    fn config(pool: Pool) -> AudioConfig {
        AudioConfig { mels: 8, patch_mels: Some(4), patch_frames: 3, seconds: 0.2, pool, ..Default::default() }
    }

    fn item(frames: usize) -> Item {
        let mel = Array2::from_shape_fn((frames, 8), |(frame, mel)| ((frame * 10 + mel) as f32).sin());
        Item { arrays: Arrays::default().with(MEL, Array::F32(mel.into_dyn())), content: 0 }
    }

    fn collate(config: &AudioConfig, frames: &[usize]) -> Arrays {
        let items: Vec<Item> = frames.iter().map(|&frames| item(frames)).collect();
        Audio::new(&Name::new("audio"), config.clone()).unwrap().collate(&items)
    }

    fn encoder(config: &AudioConfig, device: &Device) -> AudioEncoder {
        AudioEncoder::new(config, &Name::new("audio"), 6, Seed::new(1), device)
    }

    #[test]
    fn padding_changes_no_real_token() {
        let device = Device::flex();
        for (pool, offset) in [(Pool::Mean, 0), (Pool::Statistics, 0), (Pool::Class, 1)] {
            let config = config(pool);
            let encoder = encoder(&config, &device);
            let alone = encoder.tokens(&collate(&config, &[7]), &device);
            let padded = encoder.tokens(&collate(&config, &[20, 7]), &device);
            assert!(alone.mask.is_none());
            assert_eq!(alone.values.dims(), [1, 6 + offset, 6]);
            assert_eq!(padded.values.dims(), [2, 14 + offset, 6]);
            let mask: Vec<bool> = padded.mask.clone().unwrap().into_data().iter::<bool>().collect();
            let real: Vec<bool> = (0..14 + offset).map(|token| token < 6 + offset).collect();
            assert_eq!(mask[14 + offset..], real);
            let row = padded.values.clone().slice([1..2, 0..6 + offset]);
            let difference = (row - alone.values.clone()).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-6, "{difference}");
            let pooled = |tokens: &Tokens, row: usize| tokens.pool().remove(0).vector.slice([row..row + 1]);
            let difference = (pooled(&alone, 0) - pooled(&padded, 1)).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-6, "{difference}");
        }
    }

    #[test]
    fn positions_tell_time_and_frequency_apart() {
        let device = Device::flex();
        let encoder = encoder(&config(Pool::Mean), &device);
        let positions: Vec<f32> = encoder.positions(6).into_data().try_to_vec::<f32>().unwrap();
        let time: Vec<f32> = encoder.time.val().into_data().try_to_vec::<f32>().unwrap();
        let frequency: Vec<f32> = encoder.frequency.as_ref().unwrap().val().into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(positions[5 * 6 + 2], time[2 * 6 + 2] + frequency[6 + 2], "the last patch: step 2, band 1");
        let whole = AudioConfig { patch_mels: None, ..config(Pool::Mean) };
        assert!(self::encoder(&whole, &device).frequency.is_none());
    }

    #[test]
    fn every_parameter_learns() {
        let device = Device::flex().autodiff();
        let config = config(Pool::Class);
        let encoder = encoder(&config, &device);
        let arrays = collate(&config, &[20, 7]);
        let mut hidden = Array2::from_elem((2, 14), false);
        hidden[[0, 3]] = true;
        let arrays = arrays.with(HIDDEN, Array::Bool(hidden.into_dyn()));
        let weights: Vec<f32> = (0..2 * 15 * 6).map(|i| (i as f32).cos()).collect();
        let weights = Tensor::<3>::from_data(TensorData::new(weights, [2, 15, 6]), &device);
        let gradients = (encoder.tokens(&arrays, &device).values * weights).sum().backward();
        assert!(encoder.patch.weight.val().grad(&gradients).is_some());
        assert!(encoder.time.val().grad(&gradients).is_some());
        assert!(encoder.frequency.as_ref().unwrap().val().grad(&gradients).is_some());
        assert!(encoder.class.as_ref().unwrap().val().grad(&gradients).is_some());
        assert!(encoder.hidden.val().grad(&gradients).is_some());
    }
}
