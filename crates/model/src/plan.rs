//! What goes into the passes of a batch, decided on the host.

use std::collections::BTreeMap;

use sensorium_contract::{
    Arrays, Batch, Corruption, MaskTarget, Name, Pass, PassPlan, Preparation, Presence, Rng, StepContext, Truth,
};

/// One modality of a batch as an encoder reads it, plain or with hidden tokens.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// The samples that have the modality, ascending.
    pub rows: Vec<usize>,
    /// Their arrays.
    pub arrays: Arrays,
    targets: Vec<MaskTarget>,
}

/// Which input of a modality, and whether its tokens are hidden.
pub(crate) type InputKey = (Name, bool);

/// A pass, with the places of its rows in the inputs that it reads.
#[derive(Clone, Debug)]
pub(crate) struct PlannedPass {
    pub plan: PassPlan,
    inputs: Vec<(InputKey, Places)>,
}

/// Where the rows of a pass are in one modality's input; nothing for a row that lacks the modality.
pub(crate) type Places = Vec<Option<usize>>;

impl PlannedPass {
    /// The inputs that the pass reads, in the order of its modalities; one that no row has is absent.
    pub fn inputs(&self) -> impl Iterator<Item = (&InputKey, &Places)> {
        self.inputs.iter().map(|(key, places)| (key, places))
    }
}

/// What goes into the passes of one batch.
///
/// An input that several passes read is made, and encoded, once.
#[derive(Clone, Debug, Default)]
pub struct BatchPlan {
    pub(crate) inputs: BTreeMap<InputKey, Input>,
    pub(crate) passes: Vec<PlannedPass>,
}

impl BatchPlan {
    /// Plans the passes for which the batch holds samples.
    pub fn new(batch: &Batch, passes: &[Pass], preparation: &Preparation, context: StepContext) -> Self {
        let mut plan = Self::default();
        for pass in passes {
            plan.add(batch, pass, preparation, context);
        }
        plan
    }

    /// The plans of the passes alone.
    pub(crate) fn pass_plans(&self) -> impl Iterator<Item = &PassPlan> {
        self.passes.iter().map(|pass| &pass.plan)
    }

    fn add(&mut self, batch: &Batch, pass: &Pass, preparation: &Preparation, context: StepContext) {
        let rows = match pass.presence {
            Presence::All => batch.rows_with(&pass.modalities),
            Presence::Any => batch.rows_with_any(&pass.modalities),
        };
        let (rows, last) = match pass.corruption {
            Corruption::Mismatched => mismatched(batch, pass, rows),
            _ => (rows.clone(), rows),
        };
        if rows.is_empty() {
            return;
        }
        let masked = pass.corruption == Corruption::Masked;
        let mut inputs = Vec::with_capacity(pass.modalities.len());
        let mut targets = Vec::new();
        for (at, name) in pass.modalities.iter().enumerate().filter(|(_, name)| batch.parts.contains_key(*name)) {
            let key = (name.clone(), masked);
            let new = || Input::new(batch, name, masked, preparation, context);
            let input = self.inputs.entry(key.clone()).or_insert_with(new);
            let own = if at + 1 == pass.modalities.len() { &last } else { &rows };
            // An input holds all rows that have its modality.
            let places: Places = own.iter().map(|row| input.rows.binary_search(row).ok()).collect();
            targets.extend(input.targets.iter().map(|target| of_places(target, &places)));
            inputs.push((key, places));
        }
        self.passes.push(PlannedPass { plan: PassPlan { pass: pass.clone(), rows, targets }, inputs });
    }
}

impl Input {
    fn new(batch: &Batch, name: &Name, masked: bool, preparation: &Preparation, context: StepContext) -> Self {
        let rows = batch.rows_with(std::slice::from_ref(name));
        let arrays = batch.arrays(name, &rows);
        if !masked {
            return Self { rows, arrays, targets: Vec::new() };
        }
        let seed = context.seed.named("mask").number(context.step).named(name);
        let mut rngs: Vec<Rng> = rows.iter().map(|&row| seed.named(&batch.keys[row]).rng()).collect();
        let hidden = preparation.modalities[name].mask(&arrays, &mut rngs);
        let named = |target| MaskTarget { modality: name.clone(), ..target };
        Self { rows, arrays: hidden.arrays, targets: hidden.targets.into_iter().map(named).collect() }
    }
}

/// Rows for which another sample of different content exists, and that sample.
fn mismatched(batch: &Batch, pass: &Pass, rows: Vec<usize>) -> (Vec<usize>, Vec<usize>) {
    let contents: Vec<Vec<u64>> = pass.modalities.iter().map(|name| batch.content(name, &rows)).collect();
    let n = rows.len();
    let differs = |i: usize, j: usize| contents.iter().all(|content| content[i] != content[j]);
    // The first further on that differs: over the epochs each sample meets many others, because
    // the order of samples changes. Of a batch in pieces, each piece has its own partners.
    let other = |i: usize| (1..n).map(|step| (i + step) % n).find(|&j| differs(i, j));
    (0..n).filter_map(|i| other(i).map(|j| (rows[i], rows[j]))).unzip()
}

/// The targets of some of an input's rows, renumbered to their order in `places`.
fn of_places(target: &MaskTarget, places: &[Option<usize>]) -> MaskTarget {
    let identity = places.iter().enumerate().all(|(at, &place)| place == Some(at));
    if identity && target.rows.iter().all(|&row| row < places.len()) {
        return target.clone();
    }
    let known = places.iter().enumerate().filter_map(|(at, place)| Some(((*place)?, at)));
    let position: BTreeMap<usize, usize> = known.collect();
    let kept: Vec<usize> = (0..target.rows.len()).filter(|&at| position.contains_key(&target.rows[at])).collect();
    let truth = match &target.truth {
        Truth::Classes(classes) => Truth::Classes(kept.iter().map(|&at| classes[at]).collect()),
        Truth::Numbers(numbers) => Truth::Numbers(numbers.select(ndarray::Axis(0), &kept)),
    };
    MaskTarget {
        rows: kept.iter().map(|&at| position[&target.rows[at]]).collect(),
        tokens: kept.iter().map(|&at| target.tokens[at]).collect(),
        truth,
        ..target.clone()
    }
}
