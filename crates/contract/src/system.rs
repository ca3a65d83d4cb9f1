use std::{collections::BTreeMap, sync::Arc};

use burn::{module::Module, optim::GradientsParams};
use ndarray::Array2;

use crate::{Batch, Constants, Loss, LossSummary, Name, Outputs, Pass, PassPlan, Seed, Target};

/// A loss that reads the outputs of passes.
pub trait Objective {
    /// The passes that [`Objective::loss`] reads.
    fn passes(&self) -> Vec<Pass>;

    /// The truths that the loss compares with, by the names of their parts in a batch.
    fn targets(&self) -> BTreeMap<Name, Arc<dyn Target>> {
        BTreeMap::new()
    }

    /// The chance of each modality of a sample to be left out while training.
    fn modality_dropout(&self) -> f32 {
        0.0
    }

    /// The loss is asked for in one of so many steps; at least 1.
    fn every(&self) -> u64 {
        1
    }

    /// Whether the loss compares samples of the whole batch with each other. Such an objective may
    /// read nothing but embeddings, so that a large batch can go through the model in pieces
    /// (GradCache, Gao et al. 2021).
    fn compares_samples(&self) -> bool;

    /// The parts for which the batch holds anything.
    fn loss(&self, outputs: &Outputs, batch: &Batch) -> Loss;

    /// How many items each part of [`Objective::loss`] will be the mean of, by name. Asked only of
    /// objectives that do not compare samples, to weigh the pieces of a large batch.
    fn items(&self, _plans: &[PassPlan], _pieces: &[Batch]) -> BTreeMap<String, usize> {
        BTreeMap::new()
    }

    /// Adds what each part had to predict, for the least loss of a prediction that ignores the input.
    fn add_truths(&self, _plans: &[PassPlan], _constants: &mut Constants) {}
}

/// Where a step stands.
#[derive(Clone, Copy, Debug)]
pub struct StepContext {
    /// The stream that masks and dropout are drawn from; that of the run, not of the step.
    pub seed: Seed,
    /// Optimiser steps done before this one.
    pub step: u64,
}

/// What a step's forward and backward passes gave.
#[derive(Debug)]
pub struct StepGradients {
    /// Gradients of the weighted loss, by parameter; a parameter that only an absent modality uses
    /// has none.
    pub gradients: GradientsParams,
    /// The parts, without a graph.
    pub loss: Loss,
}

/// What the step loop trains.
pub trait Trainable: Module {
    /// Loss and gradients of one optimiser step. The batch may come in several pieces (gradient
    /// accumulation); the result is that of the whole.
    fn gradients(&self, pieces: &[Batch], context: StepContext) -> StepGradients;

    /// Losses on held-out data, without changing anything.
    fn evaluate(&self, batches: &mut dyn Iterator<Item = Batch>, context: StepContext) -> Vec<LossSummary>;
}

/// Vectors of one modality.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// The samples of the batch that have the modality, ascending.
    pub rows: Vec<usize>,
    /// `[rows, embedding]`, each of length 1.
    pub vectors: Array2<f32>,
}

/// What turns a batch into vectors of one common space.
pub trait Embedder {
    /// Vectors of each modality that is present.
    fn embed(&self, batch: &Batch) -> BTreeMap<Name, Embeddings>;
}
