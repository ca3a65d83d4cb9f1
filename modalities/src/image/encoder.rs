use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use sensorium_backbone::{Draw, Linear, Norm, NormKind, param};
use sensorium_contract::{Arrays, Name, Pool, Seed, Tokens, tensor_bool, tensor_f32};

use super::{
    config::ImageConfig,
    positions::{Grid, resize_positions},
};
use crate::patches::{PATCHES, prepend_class, replace_hidden, token_mask};

/// Patches to tokens: one linear layer, learned positions (Dosovitskiy et al. 2021).
#[derive(Module, Debug)]
pub struct ImageEncoder {
    /// `[channels · patch · patch, width]`; in a patch channels, then rows, then columns.
    pub patch: Linear,
    /// `[class token + patches, width]`
    pub positions: Param<Tensor<2>>,
    /// `[width]`; with `pool = "class"`.
    pub class: Option<Param<Tensor<1>>>,
    /// Stands in for a hidden patch, `[width]`.
    pub hidden: Param<Tensor<1>>,
    /// Of the tokens.
    pub norm: Option<Norm>,
    #[module(skip)]
    name: Name,
    #[module(skip)]
    pool: Pool,
}

impl ImageEncoder {
    /// An encoder of the modality `name` into tokens of `width`.
    pub fn new(config: &ImageConfig, name: &Name, width: usize, seed: Seed, device: &Device) -> Self {
        let inputs = config.patch_values();
        let normal = Draw::Normal(0.02);
        let class = || param([width], normal, seed.named("class"), device);
        Self {
            patch: Linear::new(inputs, width, Draw::Normal((inputs as f32).powf(-0.5)), seed.named("patch"), device),
            positions: param(
                [config.offset() + config.grid().patches(), width],
                normal,
                seed.named("positions"),
                device,
            ),
            class: (config.pool == Pool::Class).then(class),
            hidden: param([width], normal, seed.named("hidden"), device),
            norm: config.norm.map(|epsilon| Norm::new(NormKind::Layer, width, epsilon, seed, device)),
            name: name.clone(),
            pool: config.pool,
        }
    }

    /// Tokens of the batch, class token first.
    ///
    /// # Shapes
    /// `patches` `[rows, patches, values]` → `[rows, class token + patches, width]`
    pub fn tokens(&self, arrays: &Arrays, device: &Device) -> Tokens {
        let patches = tensor_f32::<3>(arrays.f32(PATCHES), device);
        let [_, count, _] = patches.dims();
        let values = self.patch.forward(patches); // [rows, patches, width]
        let values = replace_hidden(values, arrays, &self.hidden, device);
        let values = prepend_class(values, self.class.as_ref()); // [rows, tokens, width]
        let values = values + self.positions(count).unsqueeze();
        let values = match &self.norm {
            Some(norm) => norm.forward(values),
            None => values,
        };
        let mask = token_mask(arrays, usize::from(self.class.is_some()));
        let mask = mask.map(|mask| tensor_bool(&mask, &device.clone().inner())); // [rows, tokens]
        Tokens::new(&self.name, self.pool, values, mask)
    }

    /// `[class token + patches, width]`: those of one picture, again and again for each of several.
    fn positions(&self, patches: usize) -> Tensor<2> {
        let (all, offset) = (self.positions.val(), usize::from(self.class.is_some()));
        let [tokens, _] = all.dims();
        let own = tokens - offset;
        let pictures = patches / own.max(1);
        if pictures <= 1 {
            return all;
        }
        let repeated = all.clone().narrow(0, offset, own).repeat_dim(0, pictures);
        match offset {
            0 => repeated,
            _ => Tensor::cat(vec![all.narrow(0, 0, offset), repeated], 0),
        }
    }

    /// The same encoder for pictures of another size: positions are interpolated from one grid to the other.
    pub fn with_grid(mut self, from: Grid, to: Grid) -> Self {
        self.positions = self.positions.map(|positions| resize_positions(positions, from, to));
        self
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use ndarray::{Array2, Array3};
    use sensorium_contract::Array;

    use super::*;
    use crate::{image::Size, patches::HIDDEN};

    fn config() -> ImageConfig {
        ImageConfig { size: Size::Square(8), patch: 4, channels: 1, ..Default::default() }
    }

    fn arrays() -> Arrays {
        let patches = Array3::from_shape_fn((2, 4, 16), |(r, p, v)| ((r * 64 + p * 16 + v) as f32).sin());
        Arrays::default().with(PATCHES, Array::F32(patches.into_dyn()))
    }

    fn encoder(config: &ImageConfig, device: &Device) -> ImageEncoder {
        ImageEncoder::new(config, &Name::new("image"), 6, Seed::new(1), device)
    }

    fn values(tensor: Tensor<3>) -> Vec<f32> {
        tensor.into_data().try_to_vec::<f32>().unwrap()
    }

    #[test]
    fn a_class_token_stands_in_front_only_if_it_is_pooled() {
        let device = Device::flex();
        let tokens = encoder(&config(), &device).tokens(&arrays(), &device);
        assert_eq!(tokens.values.dims(), [2, 5, 6]);
        assert_eq!((tokens.segments[0].pool, tokens.segments[0].range.clone()), (Pool::Class, 0..5));
        let mean = ImageConfig { pool: Pool::Mean, ..config() };
        let encoder = encoder(&mean, &device);
        assert!(encoder.class.is_none());
        assert_eq!(encoder.tokens(&arrays(), &device).values.dims(), [2, 4, 6]);
    }

    #[test]
    fn pictures_of_a_sample_have_the_same_positions() {
        let device = Device::flex();
        let one = arrays().f32(PATCHES).clone(); // [2, 4, 16]
        let twice = ndarray::concatenate(ndarray::Axis(1), &[one.view(), one.view()]).unwrap();
        for pool in [Pool::Class, Pool::Mean] {
            let encoder = encoder(&ImageConfig { pool, ..config() }, &device);
            let alone = encoder.tokens(&arrays(), &device).values;
            let both = encoder.tokens(&Arrays::default().with(PATCHES, Array::F32(twice.clone())), &device).values;
            let [_, tokens, _] = alone.dims();
            assert_eq!(both.dims()[1], tokens + 4);
            assert_eq!(values(both.clone().narrow(1, 0, tokens)), values(alone.clone()));
            assert_eq!(values(both.narrow(1, tokens, 4)), values(alone.narrow(1, tokens - 4, 4)));
        }
    }

    #[test]
    fn a_hidden_patch_leaves_no_trace_of_its_pixels() {
        let device = Device::flex();
        let encoder = encoder(&config(), &device);
        let mut hidden = Array2::from_elem((2, 4), false);
        hidden[[1, 2]] = true;
        let hide = |arrays: Arrays| arrays.with(HIDDEN, Array::Bool(hidden.clone().into_dyn()));
        let mut other = arrays().f32(PATCHES).clone();
        other.slice_mut(ndarray::s![1, 2, ..]).fill(7.0);
        let other = arrays().with(PATCHES, Array::F32(other));
        let plain = values(encoder.tokens(&arrays(), &device).values);
        let masked = values(encoder.tokens(&hide(arrays()), &device).values);
        assert_eq!(masked, values(encoder.tokens(&hide(other), &device).values));
        let differ: Vec<_> = (0..10).filter(|t| plain[t * 6..t * 6 + 6] != masked[t * 6..t * 6 + 6]).collect();
        assert_eq!(differ, [8], "row 1, token 3");
    }

    #[test]
    fn every_parameter_learns_and_the_hidden_one_only_if_something_is_hidden() {
        let device = Device::flex().autodiff();
        let encoder = encoder(&config(), &device);
        let hidden = Array2::from_elem((2, 4), true).into_dyn();
        for (arrays, masked) in [(arrays(), false), (arrays().with(HIDDEN, Array::Bool(hidden)), true)] {
            let weights: Vec<f32> = (0..60).map(|i| (i as f32).cos()).collect();
            let weights = Tensor::<3>::from_data(TensorData::new(weights, [2, 5, 6]), &device);
            let gradients = (encoder.tokens(&arrays, &device).values * weights).sum().backward();
            assert!(encoder.positions.val().grad(&gradients).is_some());
            assert!(encoder.class.as_ref().unwrap().val().grad(&gradients).is_some());
            assert_eq!(encoder.hidden.val().grad(&gradients).is_some(), masked);
            let weight = encoder.patch.weight.val().grad(&gradients).unwrap();
            assert_eq!(weight.abs().sum().into_scalar::<f32>() > 0.0, !masked);
        }
    }

    #[test]
    fn another_grid_takes_interpolated_positions() {
        let device = Device::flex();
        let encoder = encoder(&config(), &device).with_grid(config().grid(), Grid { rows: 4, columns: 3 });
        assert_eq!(encoder.positions.val().dims(), [13, 6]);
    }
}
