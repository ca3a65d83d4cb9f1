//! A published network in the step loop: its answers to a batch of raw tensors, and a loss.

use std::collections::BTreeMap;

use burn::{module::Module, optim::GradientsParams, tensor::Tensor};
use ndarray::{Array2, Ix2};
use sensorium_contract::{
    Array, Batch, Loss, LossPart, LossSummary, Name, Part, StepContext, StepGradients, Trainable,
};
use sensorium_objectives::{IGNORED, info_nce, likelihood, next_tokens, pairwise_sigmoid};

use crate::{Answers, FamilyError, Inputs, Network};

/// What a published network is trained for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Symmetric InfoNCE of pictures and texts, at the temperature that the network has learned (CLIP).
    Contrastive,
    /// A yes or no for each pair of picture and text (SigLIP).
    PairwiseSigmoid,
    /// The next token, where it is real.
    NextToken,
    /// The token that `labels` names, wherever they name one: hidden tokens, or a target sequence.
    LabelledTokens,
    /// The class that `labels` names.
    Class,
    /// The loss that the network itself answers (MAE).
    Own,
}

/// A network and what it is trained for.
///
/// A batch holds one part, [`Training::part`], whose arrays are the inputs and labels by the names that the
/// reference implementation gives them.
#[derive(Module, Debug)]
pub struct Training {
    /// With autodiff.
    pub network: Network,
    #[module(skip)]
    task: Task,
}

impl Training {
    /// Training of a network whose parameters are on a device with autodiff.
    pub fn new(network: Network, task: Task) -> Self {
        Self { network, task }
    }

    /// Name of the part that a batch's arrays are in.
    pub fn part() -> Name {
        Name::new("inputs")
    }

    /// A batch of raw tensors, each with a first axis of the same length.
    pub fn batch(arrays: &BTreeMap<String, Array>) -> Batch {
        let rows = arrays.values().next().map_or(0, |array| array.shape()[0]);
        let all = arrays.iter().fold(Default::default(), |all: sensorium_contract::Arrays, (name, array)| {
            all.with(name.clone(), array.clone())
        });
        let part = Part { rows: (0..rows).collect(), arrays: all, content: (0..rows as u64).collect() };
        Batch { keys: (0..rows).map(|row| row.to_string()).collect(), parts: [(Self::part(), part)].into() }
    }

    /// The loss of a batch, with its graph.
    ///
    /// # Errors
    /// Names the input that is missing or cannot be used.
    pub fn loss(&self, batch: &Batch) -> Result<Loss, FamilyError> {
        let part = batch.parts.get(&Self::part()).ok_or_else(|| FamilyError::input("inputs", "the batch has none"))?;
        let arrays = part.arrays.iter().map(|(name, array)| (name.to_owned(), array.clone())).collect();
        let inputs = Inputs::new(&arrays, &self.network.device());
        let inputs = if self.task == Task::LabelledTokens { inputs.for_labels() } else { inputs };
        let answers = self.network.forward(&inputs)?;
        let (value, items) = self.task.loss(&answers, &inputs)?;
        Ok(Loss { parts: vec![LossPart { name: self.task.name().to_owned(), value, weight: 1.0, items }] })
    }
}

/// The pieces of a batch as one.
fn joined(pieces: &[Batch]) -> Batch {
    let mut arrays: BTreeMap<String, Vec<&Array>> = BTreeMap::new();
    for part in pieces.iter().filter_map(|piece| piece.parts.get(&Training::part())) {
        part.arrays.iter().for_each(|(name, array)| arrays.entry(name.to_owned()).or_default().push(array));
    }
    let join = |(name, arrays): (String, Vec<&Array>)| (name, Array::concat(&arrays));
    Training::batch(&arrays.into_iter().map(join).collect())
}

impl Task {
    fn compares_samples(self) -> bool {
        matches!(self, Self::Contrastive | Self::PairwiseSigmoid)
    }

    /// As the loss is called in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Contrastive => "contrastive",
            Self::PairwiseSigmoid => "pairwise sigmoid",
            Self::NextToken => "next token",
            Self::LabelledTokens => "labelled tokens",
            Self::Class => "class",
            Self::Own => "own",
        }
    }

    /// Mean and number of items.
    fn loss(self, answers: &Answers, inputs: &Inputs<'_>) -> Result<(Tensor<1>, usize), FamilyError> {
        match self {
            Self::Contrastive | Self::PairwiseSigmoid => {
                let logits: Tensor<2> = answer(answers, "logits_per_image")?; // [pictures, texts]
                let [items, _] = logits.dims();
                let partners = Tensor::<2>::eye(items, &logits.device().inner()).equal_scalar(1.0);
                let loss = match self {
                    Self::Contrastive => info_nce(logits, partners),
                    _ => pairwise_sigmoid(logits, partners, None),
                };
                Ok((loss, items))
            }
            Self::NextToken => {
                let ids = pairs(inputs, "input_ids")?;
                let real = match inputs.has("attention_mask") {
                    true => pairs(inputs, "attention_mask")?.mapv(|real| real != 0),
                    false => Array2::from_elem(ids.dim(), true),
                };
                tokens(answers, &next_tokens(&ids, &real))
            }
            Self::LabelledTokens => tokens(answers, &pairs(inputs, "labels")?),
            Self::Class => {
                let logits: Tensor<2> = answer(answers, "logits")?; // [rows, classes]
                let labels = inputs.integers("labels")?;
                let rows = labels.len();
                let labels = labels.into_shape_with_order([rows, 1]);
                let labels = labels.map_err(|error| FamilyError::input("labels", error.to_string()))?;
                labelled(logits.unsqueeze_dim(1), &labels)
            }
            Self::Own => Ok((answer::<1>(answers, "loss")?, 1)),
        }
    }
}

/// An answer that the task reads.
fn answer<const D: usize>(answers: &Answers, name: &str) -> Result<Tensor<D>, FamilyError> {
    let problem = "the network does not answer it: its checkpoint lacks the head, or the task is another family's";
    answers.floats(name).ok_or_else(|| FamilyError::input(name, problem))
}

fn pairs(inputs: &Inputs<'_>, name: &str) -> Result<Array2<i64>, FamilyError> {
    let ids = inputs.integers(name)?;
    let shape = ids.shape().to_vec();
    ids.into_dimensionality::<Ix2>()
        .map_err(|_| FamilyError::input(name, format!("expected [rows, tokens], found {shape:?}")))
}

/// The scores may be of all tokens, or of labelled ones alone.
fn tokens(answers: &Answers, labels: &Array2<i64>) -> Result<(Tensor<1>, usize), FamilyError> {
    let logits: Tensor<3> = answer(answers, "logits")?;
    let [rows, tokens, _] = logits.dims();
    let given: Vec<i64> = labels.iter().copied().filter(|&label| label != IGNORED).collect();
    match Array2::from_shape_vec((1, given.len()), given) {
        Ok(given) if (rows, tokens) == given.dim() => labelled(logits, &given),
        _ => labelled(logits, labels),
    }
}

fn labelled(logits: Tensor<3>, labels: &Array2<i64>) -> Result<(Tensor<1>, usize), FamilyError> {
    let [rows, tokens, classes] = logits.dims();
    if labels.dim() != (rows, tokens) {
        let problem = format!("expected shape {:?}, found {:?}", [rows, tokens], labels.dim());
        return Err(FamilyError::input("labels", problem));
    }
    if let Some(label) = labels.iter().find(|&&label| label != IGNORED && !(0..classes as i64).contains(&label)) {
        return Err(FamilyError::input("labels", format!("expected classes below {classes}, found {label}")));
    }
    likelihood(logits, labels).ok_or_else(|| FamilyError::input("labels", "all of them are ignored"))
}

impl Trainable for Training {
    /// # Panics
    /// For inputs that the network cannot use: whoever makes batches checks one by [`Training::loss`] first.
    fn gradients(&self, pieces: &[Batch], _context: StepContext) -> StepGradients {
        // What compares samples compares all of them.
        let joined = self.task.compares_samples().then(|| vec![joined(pieces)]);
        let pieces = joined.as_deref().unwrap_or(pieces);
        let losses: Vec<Loss> =
            pieces.iter().map(|piece| self.loss(piece).unwrap_or_else(|error| panic!("{error}"))).collect();
        let items: usize = losses.iter().flat_map(|loss| &loss.parts).map(|part| part.items).sum();
        let share = |part: LossPart| part.value * (part.items as f32 / items as f32);
        let shares = losses.into_iter().flat_map(|loss| loss.parts).map(share);
        // There is a piece at least, and each has a part.
        let total = shares.reduce(|sum, part| sum + part).unwrap_or_else(|| panic!("no batch"));
        let part = LossPart { name: self.task.name().to_owned(), value: total.clone().inner(), weight: 1.0, items };
        let gradients = GradientsParams::from_grads(total.backward(), self);
        StepGradients { gradients, loss: Loss { parts: vec![part] } }
    }

    fn evaluate(&self, batches: &mut dyn Iterator<Item = Batch>, _context: StepContext) -> Vec<LossSummary> {
        let (mut sum, mut items) = (0.0, 0);
        for batch in batches {
            for part in self.loss(&batch).unwrap_or_else(|error| panic!("{error}")).parts {
                sum += f64::from(part.value.into_scalar::<f32>()) * part.items as f64;
                items += part.items;
            }
        }
        let value = (sum / items as f64) as f32;
        vec![LossSummary { name: self.task.name().to_owned(), value, items, constant: None }]
    }
}
