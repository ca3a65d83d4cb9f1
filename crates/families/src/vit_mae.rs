//! MAE (He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners"): agrees with
//! `ViTMAEForPreTraining` and `ViTMAEModel`.
//!
//! A ViT that reads the patches with the least noise, and a narrower trunk that paints the others. As an encoder it
//! reads all patches, as its authors fine-tune it.

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor},
};
use ndarray::Array2;
use sensorium_backbone::{Biases, Draw, Linear, NormKind, Transformer, TransformerConfig, param};
use sensorium_contract::{Pool, Seed, tensor_f32};
use serde::Deserialize;

use crate::{
    Content, FamilyError, Tower, TowerHead,
    config::{Act, Sides, check, hidden_ratio, positive},
    network::{Answers, Family, Found, Inputs, Layout, Published, Reads},
    parts::{Patches, PictureEmbeddings, PictureSizes},
    vit::BLOCK,
};

/// `ViTMAEConfig`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct VitMaeConfig {
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: Act,
    pub layer_norm_eps: f64,
    pub image_size: Sides,
    pub patch_size: Sides,
    pub num_channels: usize,
    pub qkv_bias: bool,
    pub decoder_num_attention_heads: usize,
    pub decoder_hidden_size: usize,
    pub decoder_num_hidden_layers: usize,
    pub decoder_intermediate_size: usize,
    pub mask_ratio: f64,
    pub norm_pix_loss: bool,
}

impl Default for VitMaeConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Act::Gelu,
            layer_norm_eps: 1e-12,
            image_size: Sides::Same(224),
            patch_size: Sides::Same(16),
            num_channels: 3,
            qkv_bias: true,
            decoder_num_attention_heads: 16,
            decoder_hidden_size: 512,
            decoder_num_hidden_layers: 8,
            decoder_intermediate_size: 2048,
            mask_ratio: 0.75,
            norm_pix_loss: false,
        }
    }
}

impl VitMaeConfig {
    fn trunk(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.num_hidden_layers,
            width: self.hidden_size,
            heads: self.num_attention_heads,
            hidden_ratio: hidden_ratio(self.intermediate_size, self.hidden_size),
            activation: self.hidden_act.into(),
            epsilon: self.layer_norm_eps,
            biases: Biases { qkv: self.qkv_bias, ..Biases::default() },
            ..TransformerConfig::default()
        }
    }

    fn decoder(&self) -> TransformerConfig {
        TransformerConfig {
            layers: self.decoder_num_hidden_layers,
            width: self.decoder_hidden_size,
            heads: self.decoder_num_attention_heads,
            hidden_ratio: hidden_ratio(self.decoder_intermediate_size, self.decoder_hidden_size),
            ..self.trunk()
        }
    }

    fn embeddings(&self) -> PictureSizes {
        PictureSizes {
            channels: self.num_channels,
            picture: self.image_size.pair(),
            patch: self.patch_size.pair(),
            stride: self.patch_size.pair(),
            width: self.hidden_size,
            first: &["cls_token"],
            bias: true,
            hidden: None,
        }
    }

    /// How many patches stay visible.
    fn kept(&self) -> usize {
        (self.embeddings().patches() as f64 * (1.0 - self.mask_ratio)) as usize
    }

    /// Values of a patch.
    fn pixels(&self) -> usize {
        let [height, width] = self.patch_size.pair();
        self.num_channels * height * width
    }
}

/// Embeddings, trunk and the decoder that its checkpoint may have.
#[derive(Module, Debug)]
pub struct VitMae {
    embeddings: PictureEmbeddings,
    trunk: Transformer,
    decoder: Option<Painter>,
    #[module(skip)]
    kept: usize,
    #[module(skip)]
    normalised: bool,
}

/// From the features of the visible patches to the pixels of all.
#[derive(Module, Debug)]
pub struct Painter {
    /// `[width, decoder width]`
    embed: Linear,
    /// In place of a patch that was hidden, `[1, decoder width]`.
    hidden: Param<Tensor<2>>,
    /// `[1, tokens, decoder width]`
    positions: Param<Tensor<3>>,
    trunk: Transformer,
    /// `[decoder width, values of a patch]`
    pixels: Linear,
}

/// Which patches are seen, on the host.
struct Order {
    /// Patches by noise, `[rows, patches]`.
    by_noise: Array2<i64>,
    /// Where each patch is in that order, `[rows, patches]`.
    places: Array2<i64>,
}

impl Order {
    fn new(noise: &Array2<f32>) -> Self {
        let (rows, patches) = noise.dim();
        let mut by_noise = Array2::zeros((rows, patches));
        let mut places = Array2::zeros((rows, patches));
        for row in 0..rows {
            let mut order: Vec<usize> = (0..patches).collect();
            order.sort_by(|&a, &b| noise[[row, a]].total_cmp(&noise[[row, b]]));
            for (place, &patch) in order.iter().enumerate() {
                by_noise[[row, place]] = patch as i64;
                places[[row, patch]] = place as i64;
            }
        }
        Self { by_noise, places }
    }

    /// 1 where a patch is hidden, `[rows, patches]`.
    fn mask(&self, kept: usize) -> Array2<f32> {
        self.places.mapv(|place| f32::from(u8::from(place as usize >= kept)))
    }
}

impl Family for VitMae {
    type Config = VitMaeConfig;

    fn check(config: &VitMaeConfig) -> Result<(), String> {
        config.embeddings().check()?;
        if !(0.0..=1.0).contains(&config.mask_ratio) || config.kept() == 0 {
            return Err(format!("`mask_ratio` {} leaves no patch to see", config.mask_ratio));
        }
        positive(&[("decoder_hidden_size", config.decoder_hidden_size)])?;
        check(&config.trunk())?;
        check(&config.decoder()).map_err(|problem| format!("decoder: {problem}"))
    }

    fn published(_config: &VitMaeConfig) -> Published {
        Published {
            prefix: "vit.",
            renames: vec![("decoder.decoder_layers.", "decoder.decoder_encoder.layer.")],
            ..Published::default()
        }
    }

    fn layout(config: &VitMaeConfig, found: &Found) -> Layout {
        let (width, painter) = (config.hidden_size, config.decoder());
        let mut layout = Layout::default();
        PictureEmbeddings::layout(&mut layout, "embeddings", "vit.embeddings", &config.embeddings());
        layout.blocks("trunk", "vit.encoder.layer.{}", &config.trunk(), &BLOCK);
        layout.norm("trunk.norm", "vit.layernorm", width, NormKind::Layer);
        if found.has(DECODER) {
            let tokens = config.embeddings().tokens();
            layout.linear("decoder.embed", "decoder.decoder_embed", [width, painter.width], true);
            layout.tensor("decoder.hidden", DECODER, &[1, 1, painter.width]);
            layout.tensor("decoder.positions", "decoder.decoder_pos_embed", &[1, tokens, painter.width]);
            layout.blocks("decoder.trunk", "decoder.decoder_encoder.layer.{}", &painter, &BLOCK);
            layout.norm("decoder.trunk.norm", "decoder.decoder_norm", painter.width, NormKind::Layer);
            layout.linear("decoder.pixels", "decoder.decoder_pred", [painter.width, config.pixels()], true);
        }
        layout
    }

    fn new(config: &VitMaeConfig, found: &Found, device: &Device) -> Self {
        Self {
            embeddings: PictureEmbeddings::new(&config.embeddings(), device),
            trunk: Transformer::new(&config.trunk(), Seed::new(0), device),
            decoder: found.has(DECODER).then(|| Painter::new(config, device)),
            kept: config.kept(),
            normalised: config.norm_pix_loss,
        }
    }

    fn reads(&self) -> Vec<Reads> {
        vec![Reads::PICTURE]
    }

    fn towers(&self, _picture: [usize; 2]) -> Vec<Tower> {
        let tokens = self.embeddings.tower(self.embeddings.positions.val(), None);
        let pool = Some(Pool::Class);
        vec![Tower { content: Content::Picture, tokens, trunk: self.trunk.clone(), pool, head: TowerHead::None }]
    }

    fn forward(&self, inputs: &Inputs<'_>) -> Result<Answers, FamilyError> {
        let pixels = self.embeddings.pixels_of_size(inputs)?;
        let tokens = self.embeddings.tokens(pixels.clone(), inputs)?; // [rows, patches, width]
        if inputs.are_for_vectors() {
            let all = self.embeddings.placed(tokens, self.embeddings.positions.val()); // [rows, 1 + patches, width]
            return Ok(Answers::default().with("last_hidden_state", self.trunk.run(all, None, None)));
        }
        let [rows, patches, _] = tokens.dims();
        let order = Order::new(&inputs.host_floats("noise", [rows, patches])?);
        let x = self.trunk.run(self.visible(tokens, &order, inputs), None, None); // [rows, 1 + kept, width]
        let mask = order.mask(self.kept).into_dyn();
        let hidden = tensor_f32::<2>(&mask, inputs.device());
        let answers = match &self.decoder {
            Some(decoder) => {
                let logits = decoder.forward(x.clone(), inputs.tensor(&order.places)); // [rows, patches, values]
                let target = self.target(pixels);
                let loss = (self.kept < patches).then(|| loss(logits.clone(), target, hidden.clone()));
                let answers = Answers::default().with("logits", logits);
                loss.into_iter().fold(answers, |answers, loss| answers.with_scalar("loss", loss))
            }
            None => Answers::default(),
        };
        let answers = answers.with("last_hidden_state", x).with("mask", hidden);
        Ok(answers.with_integers("ids_restore", order.places.into_dyn()))
    }
}

impl VitMae {
    /// The first token and the patches that are seen, with their positions, `[rows, 1 + kept, width]`.
    fn visible(&self, tokens: Tensor<3>, order: &Order, inputs: &Inputs<'_>) -> Tensor<3> {
        let all = self.embeddings.placed(tokens, self.embeddings.positions.val());
        let [_, count, _] = all.dims();
        let patches = gathered(all.clone().narrow(1, 1, count - 1), inputs.tensor(&order.by_noise));
        Tensor::cat(vec![all.narrow(1, 0, 1), patches.narrow(1, 0, self.kept)], 1)
    }

    /// What is to be painted, each patch's values in the order row, column, channel.
    fn target(&self, pixels: Tensor<4>) -> Tensor<3> {
        let values = by_pixel(&self.embeddings.patches, pixels); // [rows, patches, values]
        match self.normalised {
            true => {
                let mean = values.clone().mean_dim(2);
                let variance = values.clone().var(2);
                (values - mean) / variance.add_scalar(1e-6).sqrt()
            }
            false => values,
        }
    }
}

impl Painter {
    fn new(config: &VitMaeConfig, device: &Device) -> Self {
        let (trunk, draw, seed) = (config.decoder(), Draw::Normal(0.02), Seed::new(0));
        let positions = param([1, config.embeddings().tokens(), trunk.width], draw, seed, device);
        Self {
            embed: Linear::new(config.hidden_size, trunk.width, draw, seed, device),
            hidden: param([1, trunk.width], draw, seed, device),
            positions,
            trunk: Transformer::new(&trunk, seed, device),
            pixels: Linear::new(trunk.width, config.pixels(), draw, seed, device),
        }
    }

    /// `[rows, 1 + kept, width]`, and each patch's place `[rows, patches]` → `[rows, patches, values]`
    fn forward(&self, x: Tensor<3>, places: Tensor<2, Int>) -> Tensor<3> {
        let x = self.embed.forward(x); // [rows, 1 + kept, decoder width]
        let [rows, seen, width] = x.dims();
        let [_, patches] = places.dims();
        let shown = x.clone().narrow(1, 1, seen - 1);
        let all = match patches + 1 - seen {
            0 => shown,
            hidden => Tensor::cat(vec![shown, self.hidden.val().unsqueeze::<3>().expand([rows, hidden, width])], 1),
        };
        let all = Tensor::cat(vec![x.narrow(1, 0, 1), gathered(all, places)], 1); // [rows, 1 + patches, decoder width]
        let all = self.trunk.run(all + self.positions.val(), None, None);
        self.pixels.forward(all.narrow(1, 1, patches))
    }
}

/// Each row's tokens in another order, `[rows, tokens, width]` by `[rows, tokens]`.
fn gathered(x: Tensor<3>, ids: Tensor<2, Int>) -> Tensor<3> {
    let [rows, tokens, width] = x.dims();
    let first = Tensor::<1, Int>::arange(0..rows as i64, &ids.device()).mul_scalar(tokens as i64);
    let ids = (ids + first.unsqueeze_dim(1)).reshape([rows * tokens]);
    x.reshape([rows * tokens, width]).select(0, ids).reshape([rows, tokens, width])
}

/// The raw patches with the channels last, `[rows, patches, height · width · channels]`.
fn by_pixel(cut: &Patches, pixels: Tensor<4>) -> Tensor<3> {
    let [_, channels, _, _] = pixels.dims();
    let x = cut.cut(pixels); // [rows, patches, channels · height · width]
    let [rows, patches, values] = x.dims();
    let x = x.reshape([rows, patches, channels, values / channels]);
    x.swap_dims(2, 3).reshape([rows, patches, values])
}

/// Mean squared error over the hidden patches.
fn loss(painted: Tensor<3>, target: Tensor<3>, hidden: Tensor<2>) -> Tensor<1> {
    let error = (painted - target).square().mean_dim(2).squeeze_dim::<2>(2); // [rows, patches]
    (error * hidden.clone()).sum() / hidden.sum()
}

const DECODER: &str = "decoder.mask_token";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patches_with_the_least_noise_are_seen() {
        let order = Order::new(&Array2::from_shape_vec((1, 4), vec![0.4, 0.1, 0.9, 0.2]).unwrap());
        assert_eq!(order.by_noise.as_slice().unwrap(), [1, 3, 0, 2]);
        assert_eq!(order.places.as_slice().unwrap(), [2, 0, 3, 1]);
        assert_eq!(order.mask(2).as_slice().unwrap(), [1.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn a_ratio_that_hides_all_is_refused() {
        assert!(VitMae::check(&VitMaeConfig::default()).is_ok());
        let problem = VitMae::check(&VitMaeConfig { mask_ratio: 1.0, ..VitMaeConfig::default() }).unwrap_err();
        assert!(problem.contains("`mask_ratio`"), "{problem}");
    }
}
