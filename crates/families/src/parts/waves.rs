use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, module::conv1d, ops::ConvOptions},
};
use sensorium_backbone::{Draw, Norm, NormKind, param};
use sensorium_contract::Seed;
use sensorium_kernels::Activation;

use crate::Layout;

/// Of the encoder's norms; configurations do not change it.
const EPSILON: f64 = 1e-5;

/// Where the layers of a [`WaveEncoder`] normalise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaveNorms {
    /// After the first alone, each channel over time.
    FirstOverTime,
    /// After each, over the channels.
    OverChannels,
}

/// Sizes of a [`WaveEncoder`].
#[derive(Clone, Debug)]
pub(crate) struct WaveSizes {
    /// Channels, samples of a filter and samples from filter to filter of each layer.
    pub layers: Vec<[usize; 3]>,
    pub bias: bool,
    pub norms: WaveNorms,
    pub activation: Activation,
}

impl WaveSizes {
    /// Frames of so many samples.
    pub(crate) fn frames(&self, samples: usize) -> usize {
        self.layers.iter().fold(samples, |length, &[_, filter, stride]| match length.checked_sub(filter) {
            Some(rest) => rest / stride + 1,
            None => 0,
        })
    }

    fn has_norm(&self, layer: usize) -> bool {
        layer == 0 || self.norms == WaveNorms::OverChannels
    }

    /// Channels that a layer reads.
    fn inputs(&self, layer: usize) -> usize {
        layer.checked_sub(1).map_or(1, |before| self.layers[before][0])
    }
}

/// Convolutions from samples of sound to frames (wav2vec 2.0, Baevski et al. 2020, section 2).
#[derive(Module, Debug)]
pub struct WaveEncoder {
    /// In the order in which sound passes them.
    pub layers: Vec<WaveLayer>,
    #[module(skip)]
    sizes: WaveSizes,
}

/// One convolution of a [`WaveEncoder`].
#[derive(Module, Debug)]
pub struct WaveLayer {
    /// `[channels, inputs, samples of a filter]`
    pub weight: Param<Tensor<3>>,
    /// `[channels]`
    pub bias: Option<Param<Tensor<1>>>,
    /// Before the activation.
    pub norm: Option<Norm>,
}

impl WaveEncoder {
    pub(crate) fn new(sizes: &WaveSizes, device: &Device) -> Self {
        let seed = Seed::new(0);
        let layer = |(at, &[channels, filter, _]): (usize, &[usize; 3])| WaveLayer {
            weight: param([channels, sizes.inputs(at), filter], Draw::Normal(0.02), seed, device),
            bias: sizes.bias.then(|| param([channels], Draw::Constant(0.0), seed, device)),
            norm: sizes.has_norm(at).then(|| Norm::new(NormKind::Layer, channels, EPSILON, seed, device)),
        };
        Self { layers: sizes.layers.iter().enumerate().map(layer).collect(), sizes: sizes.clone() }
    }

    /// Names below `theirs`, with the number of the layer.
    pub(crate) fn layout(layout: &mut Layout, own: &str, theirs: &str, sizes: &WaveSizes) {
        for (at, &[channels, filter, _]) in sizes.layers.iter().enumerate() {
            let (own, theirs) = (format!("{own}.layers.{at}"), format!("{theirs}.{at}"));
            let weight = [channels, sizes.inputs(at), filter];
            layout.tensor(format!("{own}.weight"), format!("{theirs}.conv.weight"), &weight);
            if sizes.bias {
                layout.tensor(format!("{own}.bias"), format!("{theirs}.conv.bias"), &[channels]);
            }
            if sizes.has_norm(at) {
                layout.norm(&format!("{own}.norm"), &format!("{theirs}.layer_norm"), channels, NormKind::Layer);
            }
        }
    }

    /// Frames of so many samples.
    pub(crate) fn frames(&self, samples: usize) -> usize {
        self.sizes.frames(samples)
    }

    /// `[rows, samples]` → `[rows, frames, channels]`
    pub(crate) fn forward(&self, samples: Tensor<2>) -> Tensor<3> {
        let mut x = samples.unsqueeze_dim(1); // [rows, 1, samples]
        for (layer, &[_, _, stride]) in self.layers.iter().zip(&self.sizes.layers) {
            let bias = layer.bias.as_ref().map(Param::val);
            let y = conv1d(x, layer.weight.val(), bias, ConvOptions::new([stride], [0], [1], 1));
            let y = match (&layer.norm, self.sizes.norms) {
                (None, _) => y,
                (Some(norm), WaveNorms::FirstOverTime) => over_time(y, norm),
                (Some(norm), WaveNorms::OverChannels) => norm.forward(y.swap_dims(1, 2)).swap_dims(1, 2),
            };
            x = self.sizes.activation.apply(y); // [rows, channels, frames]
        }
        x.swap_dims(1, 2)
    }
}

/// Each channel of `[rows, channels, frames]` to mean 0 and variance 1 over its frames.
fn over_time(x: Tensor<3>, norm: &Norm) -> Tensor<3> {
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().square().mean_dim(2); // [rows, channels, 1]
    let y = centred / variance.add_scalar(EPSILON).sqrt() * norm.gamma.val().reshape([1, -1, 1]);
    match &norm.beta {
        Some(beta) => y + beta.val().reshape([1, -1, 1]),
        None => y,
    }
}

/// Positions from a convolution over neighbours in groups of channels, whose weight is a direction and a length
/// for each place of the filter (wav2vec 2.0, section 2; weight normalisation, Salimans and Kingma 2016).
#[derive(Module, Debug)]
pub struct WavePositions {
    /// `[1, 1, filter]`
    pub length: Param<Tensor<3>>,
    /// `[width, width / groups, filter]`
    pub direction: Param<Tensor<3>>,
    /// `[width]`
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    activation: Activation,
}

impl WavePositions {
    /// `[width, filter, groups]`
    pub(crate) fn new([width, filter, groups]: [usize; 3], activation: Activation, device: &Device) -> Self {
        let seed = Seed::new(0);
        Self {
            length: param([1, 1, filter], Draw::Constant(1.0), seed, device),
            direction: param([width, width / groups, filter], Draw::Normal(0.02), seed, device),
            bias: param([width], Draw::Constant(0.0), seed, device),
            groups,
            activation,
        }
    }

    /// Names below `theirs`.
    pub(crate) fn layout(layout: &mut Layout, own: &str, theirs: &str, [width, filter, groups]: [usize; 3]) {
        let weight = format!("{theirs}.parametrizations.weight");
        layout.tensor(format!("{own}.length"), format!("{weight}.original0"), &[1, 1, filter]);
        layout.tensor(format!("{own}.direction"), format!("{weight}.original1"), &[width, width / groups, filter]);
        layout.tensor(format!("{own}.bias"), format!("{theirs}.bias"), &[width]);
    }

    /// `[rows, frames, width]` → the same
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let direction = self.direction.val();
        let [rows, frames, width] = x.dims();
        let [_, _, filter] = direction.dims();
        let norm = direction.clone().square().sum_dim(0).sum_dim(1).sqrt(); // [1, 1, filter]
        let weight = direction * (self.length.val() / norm);
        let options = ConvOptions::new([1], [filter / 2], [1], self.groups);
        let y = conv1d(x.swap_dims(1, 2), weight, Some(self.bias.val()), options);
        // A filter of even length has one place more than there are frames.
        let y = y.slice([0..rows, 0..width, 0..frames]);
        self.activation.apply(y).swap_dims(1, 2)
    }
}
