//! How much a step computes.

use std::collections::BTreeMap;

use sensorium_contract::{Arrays, Batch, Name, StepContext};

use crate::{BatchPlan, Model, Topology, plan::InputKey};

/// A backward pass counts as two forward passes.
const STEP: f64 = 3.0;

impl Model {
    /// FLOPs of a training step over this batch: products with weights and of attention, of the
    /// tokens that are no padding.
    pub fn flops(&self, batch: &Batch, context: StepContext) -> f64 {
        let plan = BatchPlan::new(batch, &self.passes_at(context.step), self.preparation(), context);
        let topology = &self.architecture().model.topology;
        let tokens: BTreeMap<&InputKey, Vec<usize>> =
            plan.inputs.iter().map(|(key, input)| (key, self.real_tokens(&key.0, &input.arrays))).collect();
        let alone = |(key, rows): (&&InputKey, &Vec<usize>)| -> f64 {
            rows.iter().map(|&tokens| topology.flops_alone(&key.0, tokens)).sum()
        };
        let mut sum: f64 = tokens.iter().map(alone).sum();
        for pass in &plan.passes {
            let inputs: Vec<(&Vec<usize>, &Vec<Option<usize>>)> =
                pass.inputs().map(|(key, places)| (&tokens[key], places)).collect();
            for row in 0..pass.plan.rows.len() {
                // What a sample lacks counts nothing.
                let tokens = inputs.iter().filter_map(|(tokens, places)| Some(tokens[places[row]?])).sum();
                sum += topology.flops_together(inputs.len(), tokens);
            }
        }
        STEP * sum
    }

    /// How many tokens of each row are no padding.
    fn real_tokens(&self, name: &Name, arrays: &Arrays) -> Vec<usize> {
        let tokens = self.encoders[self.number(name)].tokens(arrays, &self.device().inner());
        let [rows, all, _] = tokens.values.dims();
        match tokens.mask {
            None => vec![all; rows],
            Some(mask) => {
                let counts = mask.int().sum_dim(1).into_data(); // [rows, 1]
                counts.iter::<i64>().map(|count| count as usize).collect()
            }
        }
    }
}

impl Topology {
    /// FLOPs of what is computed of a sample's modality once, whatever passes read it.
    fn flops_alone(&self, name: &Name, tokens: usize) -> f64 {
        match self {
            Self::Shared { .. } => 0.0,
            Self::Towers { towers } | Self::Fused { towers, .. } => towers[name].flops(tokens),
        }
    }

    /// FLOPs of what a pass adds to that, over a sample with so many tokens of all its modalities.
    fn flops_together(&self, modalities: usize, tokens: usize) -> f64 {
        match (self, modalities) {
            (Self::Shared { trunk }, _) => trunk.flops(tokens),
            (Self::Fused { joint, .. }, 2..) => joint.flops(tokens),
            _ => 0.0,
        }
    }
}
