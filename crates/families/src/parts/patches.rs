use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use sensorium_backbone::{Draw, Linear};
use sensorium_contract::Seed;

/// Square patches of pictures through one linear layer (ViT, Dosovitskiy et al. 2021, section 3.1).
#[derive(Module, Debug)]
pub struct Patches {
    /// `[channels · height · width of a patch, width]`
    pub projection: Linear,
    #[module(skip)]
    pub(crate) side: [usize; 2],
    #[module(skip)]
    pub(crate) stride: [usize; 2],
}

impl Patches {
    /// Patches `[channels, height, width]` that lie side by side.
    pub(crate) fn new([channels, height, width]: [usize; 3], outputs: usize, bias: bool, device: &Device) -> Self {
        let (inputs, draw, seed) = (channels * height * width, Draw::Normal(0.02), Seed::new(0));
        let projection = match bias {
            true => Linear::new(inputs, outputs, draw, seed, device),
            false => Linear::without_bias(inputs, outputs, draw, seed, device),
        };
        Self { projection, side: [height, width], stride: [height, width] }
    }

    /// Rows and columns of patches that fit a picture.
    pub(crate) fn grid(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        let fit = |length: usize, axis: usize| match length.checked_sub(self.side[axis]) {
            Some(rest) => rest / self.stride[axis] + 1,
            None => 0,
        };
        [fit(height, 0), fit(width, 1)]
    }

    /// The raw patches, `[rows, channels, height, width]` → `[rows, patches, channels · height · width of a patch]`
    pub(crate) fn cut(&self, pixels: Tensor<4>) -> Tensor<3> {
        let [rows, channels, height, width] = pixels.dims();
        let [down, across] = self.grid([height, width]);
        if self.side == self.stride {
            let [side, other] = self.side;
            let pixels = pixels.slice([0..rows, 0..channels, 0..down * side, 0..across * other]);
            let grid = pixels.reshape([rows, channels, down, side, across, other]);
            return grid.permute([0, 2, 4, 1, 3, 5]).reshape([rows, down * across, channels * side * other]);
        }
        let patch = |at: usize| {
            let (y, x) = (at / across * self.stride[0], at % across * self.stride[1]);
            let patch = pixels.clone().slice([0..rows, 0..channels, y..y + self.side[0], x..x + self.side[1]]);
            patch.reshape([rows, 1, channels * self.side[0] * self.side[1]])
        };
        Tensor::cat((0..down * across).map(patch).collect(), 1)
    }

    /// `[rows, channels, height, width]` → `[rows, patches, width]`
    pub(crate) fn forward(&self, pixels: Tensor<4>) -> Tensor<3> {
        self.projection.forward(self.cut(pixels))
    }
}

/// Tokens with a learned one, `[1, width]`, before them.
pub(crate) fn with_first(first: &Param<Tensor<2>>, tokens: Tensor<3>) -> Tensor<3> {
    let [rows, _, width] = tokens.dims();
    Tensor::cat(vec![first.val().reshape([1, 1, width]).expand([rows, 1, width]), tokens], 1)
}

/// `[rows, tokens, width]` → `[rows, width]`
pub(crate) fn first_token(x: Tensor<3>) -> Tensor<2> {
    let [rows, _, width] = x.dims();
    x.slice([0..rows, 0..1]).reshape([rows, width])
}
