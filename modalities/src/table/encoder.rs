use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use sensorium_backbone::{Draw, Embedding, param};
use sensorium_contract::{Arrays, Name, Pool, Seed, Tokens, tensor_bool, tensor_f32, tensor_i64};

use super::{TableConfig, TableSchema, prepare::RESERVED};

/// Cells to tokens (the feature tokenizer of FT-Transformer, Gorishniy et al. 2021): a number times
/// its column's vector, or its category's vector, or its column's vector for missing cells, or the
/// vector for hidden cells; to a number's also what its waves say; plus, in each case, the column's bias, which says what column it is.
#[derive(Module, Debug)]
pub struct TableEncoder {
    /// What a number is multiplied with, `[numeric columns, width]`.
    pub scales: Option<Param<Tensor<2>>>,
    /// Of numbers that are told by waves too.
    pub waves: Option<Waves>,
    /// In place of a missing number, `[numeric columns, width]`.
    pub missing: Option<Param<Tensor<2>>>,
    /// One vector for each category of each column, `[all categories, width]`.
    pub categories: Option<Embedding>,
    /// `[columns, width]`
    pub biases: Param<Tensor<2>>,
    /// In place of a hidden cell, `[width]`.
    pub hidden: Param<Tensor<1>>,
    /// Stands first when the tokens are pooled by it, `[width]`.
    pub class: Option<Param<Tensor<1>>>,
    #[module(skip)]
    name: Name,
    #[module(skip)]
    pool: Pool,
}

impl TableEncoder {
    /// An encoder for the columns of a schema, with drawn weights.
    pub fn new(
        config: &TableConfig,
        schema: &TableSchema,
        name: &Name,
        width: usize,
        seed: Seed,
        device: &Device,
    ) -> Self {
        let draw = Draw::Uniform((width as f32).powf(-0.5));
        let numeric = schema.numeric.len();
        let vectors = |part: &str| (numeric > 0).then(|| param([numeric, width], draw, seed.named(part), device));
        let entries: usize = schema.categorical.iter().map(|column| RESERVED as usize + column.values.len()).sum();
        let class = || param([width], Draw::Normal(0.02), seed.named("class"), device);
        Self {
            scales: vectors("scales"),
            waves: (numeric > 0 && config.waves > 0).then(|| Waves::new(numeric, config.waves, width, seed, device)),
            missing: vectors("missing"),
            categories: (entries > 0).then(|| Embedding::new(entries, width, draw, seed.named("categories"), device)),
            biases: param([schema.columns(), width], draw, seed.named("biases"), device),
            hidden: param([width], draw, seed.named("hidden"), device),
            class: (config.pool == Pool::Class).then(class),
            name: name.clone(),
            pool: config.pool,
        }
    }

    /// `numbers` `[rows, numeric columns]`, `categories` `[rows, categorical columns]` and, if any
    /// are, which are present and which are hidden → one token a column, after the class token if
    /// there is one. All tokens are real.
    pub fn tokens(&self, arrays: &Arrays, device: &Device) -> Tokens {
        let contents = [self.numbers(arrays, device), self.embedded(arrays, device)];
        let mut content = Tensor::cat(contents.into_iter().flatten().collect(), 1); // [rows, columns, width]
        let [rows, _, width] = content.dims();
        if arrays.contains("hidden") {
            let hidden = tensor_bool::<2>(arrays.bool("hidden"), device).float().unsqueeze_dim::<3>(2); // [rows, columns, 1]
            let shown = hidden.clone().neg().add_scalar(1.0);
            content = content * shown + hidden * self.hidden.val().unsqueeze(); // [rows, columns, width]
        }
        let tokens = content + self.biases.val().unsqueeze(); // [rows, columns, width]
        let tokens = match &self.class {
            Some(class) => Tensor::cat(vec![class.val().reshape([1, 1, width]).expand([rows, 1, width]), tokens], 1),
            None => tokens,
        }; // [rows, tokens, width]
        Tokens::new(&self.name, self.pool, tokens, None)
    }

    /// `[rows, numeric columns, width]`
    fn numbers(&self, arrays: &Arrays, device: &Device) -> Option<Tensor<3>> {
        let (scales, missing) = (self.scales.as_ref()?, self.missing.as_ref()?);
        let numbers = tensor_f32::<2>(arrays.f32("numbers"), device).unsqueeze_dim::<3>(2); // [rows, numeric, 1]
        let linear = numbers.clone() * scales.val().unsqueeze(); // [rows, numeric, width]
        let content = match &self.waves {
            Some(waves) => linear + waves.forward(numbers),
            None => linear,
        };
        if !arrays.contains("present") {
            return Some(content);
        }
        let absent = tensor_bool::<2>(arrays.bool("present"), device).bool_not().float().unsqueeze_dim::<3>(2);
        // A missing number is 0 and adds nothing of its own, but for its waves.
        let content = match &self.waves {
            Some(_) => content * absent.clone().neg().add_scalar(1.0),
            None => content,
        };
        Some(content + absent * missing.val().unsqueeze()) // [rows, numeric, width]
    }

    /// `[rows, categorical columns, width]`
    fn embedded(&self, arrays: &Arrays, device: &Device) -> Option<Tensor<3>> {
        let categories = self.categories.as_ref()?;
        Some(categories.forward(tensor_i64(arrays.i64("categories"), device)))
    }
}

/// Sines and cosines of numbers, of frequencies that each column learns, through a linear layer a column.
#[derive(Module, Debug)]
pub struct Waves {
    /// Turns in a deviation, `[numeric columns, waves]`.
    pub frequencies: Param<Tensor<2>>,
    /// `[numeric columns, 2 · waves, width]`
    pub weights: Param<Tensor<3>>,
}

impl Waves {
    fn new(columns: usize, waves: usize, width: usize, seed: Seed, device: &Device) -> Self {
        let draw = Draw::Uniform((2.0 * waves as f32).powf(-0.5));
        Self {
            frequencies: param([columns, waves], Draw::Normal(0.5), seed.named("frequencies"), device),
            weights: param([columns, 2 * waves, width], draw, seed.named("waves"), device),
        }
    }

    /// `[rows, numeric columns, 1]` → `[rows, numeric columns, width]`
    fn forward(&self, numbers: Tensor<3>) -> Tensor<3> {
        let angles = numbers * self.frequencies.val().mul_scalar(std::f32::consts::TAU).unsqueeze::<3>(); // [rows, columns, waves]
        let waves = Tensor::cat(vec![angles.clone().sin(), angles.cos()], 2); // [rows, columns, 2 · waves]
        waves.swap_dims(0, 1).matmul(self.weights.val()).swap_dims(0, 1) // [rows, columns, width]
    }
}
