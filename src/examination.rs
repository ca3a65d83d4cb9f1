//! Cases to be judged, each with models that have not learned from it.

use std::{collections::BTreeSet, path::Path};

use burn::tensor::Device;
use sensorium_adapt::{AdaptError, AdaptRecipe, Predicted, Predictor, Proposal, averaged};
use sensorium_cases::{Case, CasesError, Problem, Sides, deal, sides};
use sensorium_contract::{Name, Seed};
use sensorium_model::Model;
use sensorium_samples::Dataset;

use crate::Error;

/// Cases of a table, with the models that tell them.
pub struct Examination {
    /// The table.
    pub(crate) table: Dataset,
    parts: Vec<Part>,
}

/// Some cases, and the models that have not learned from them.
struct Part {
    predictor: Predictor,
    cases: Vec<usize>,
}

impl Examination {
    /// All cases of a table that is new to a predictor's models.
    pub fn of_table(predictor: Predictor, table: Dataset) -> Self {
        let cases = (0..table.len()).collect();
        Self { table, parts: vec![Part { predictor, cases }] }
    }

    /// The cases that a finished run of [`finetune`](crate::finetune()) kept from its models, each told by the models
    /// that have not seen it, and what they are: `test`, `validation` or `cross-validation`.
    ///
    /// # Errors
    /// If there is no such run, it is not finished, or its table is not there any more or another one.
    pub fn of_run(run: &Path, device: &Device) -> Result<(Self, &'static str), Error> {
        let Some(recipe) = AdaptRecipe::read(run)? else {
            let problem = format!("{}: holds no run of `finetune`: name a table to judge it on", run.display());
            return Err(Error::Usage(problem));
        };
        let proposal = Proposal::resume(recipe, None, Path::new(""))?;
        let divisions = Divisions::of(&proposal)?;
        let folders: Vec<_> = match divisions.sides.len() {
            1 => vec![run.to_owned()],
            folds => (1..=folds).map(|fold| run.join(format!("fold-{fold}"))).collect(),
        };
        let open = |folder: &std::path::PathBuf| Predictor::open(&folder.join("model"), device);
        let predictors = folders.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let models = predictors.into_iter().flat_map(Predictor::into_models).collect();
        Ok((Self::of_divisions(&proposal, &divisions, models), divisions.on()))
    }

    /// The cases that divisions keep from their models, of which there is one each.
    pub(crate) fn of_divisions(proposal: &Proposal, divisions: &Divisions, models: Vec<Model>) -> Self {
        let recipe = &proposal.recipe;
        let predictor = |models| Predictor::of(models, recipe.objective.clone(), recipe.data.reading.clone());
        let parts = match divisions.averaged() {
            Some(cases) => vec![Part { predictor: predictor(models), cases: cases.to_vec() }],
            None => {
                let part = |(model, sides)| Part { predictor: predictor(vec![model]), cases: held_out(sides).to_vec() };
                models.into_iter().zip(&divisions.sides).map(part).collect()
            }
        };
        Self { table: proposal.data.clone(), parts }
    }

    /// What the models say of each case, on average where several have not seen it; `hidden` modalities are taken for
    /// missing.
    ///
    /// # Errors
    /// If there are no cases.
    pub(crate) fn tell(
        &mut self,
        hidden: &[Name],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Predicted>, Error> {
        let all = self.parts.iter().map(|part| part.cases.len()).sum();
        let mut told = Vec::with_capacity(all);
        for Part { predictor, cases } in &mut self.parts {
            let before = told.len();
            let chosen = self.table.choose(cases)?;
            let said = predictor.predict(&chosen, hidden, &mut |done, _| progress(before + done, all))?;
            told.extend(said.into_iter().map(|row| Predicted { index: cases[row.index], ..row }));
        }
        Ok(averaged(told))
    }

    /// The models of the first cases; of others they differ in weights alone.
    pub fn predictor(&self) -> &Predictor {
        &self.parts[0].predictor
    }

    /// What could not be read so far.
    pub(crate) fn remarks(&self) -> Vec<String> {
        self.parts.iter().flat_map(|part| part.predictor.remarks()).collect()
    }
}

/// Who is on which side: once, or once a fold of each cross-validation.
pub(crate) struct Divisions {
    pub sides: Vec<Sides>,
    /// The cases that a split column keeps for testing.
    apart: Vec<usize>,
}

impl Divisions {
    pub fn of(proposal: &Proposal) -> Result<Self, Error> {
        let (cases, seed) = (&proposal.cases, proposal.seed());
        let share = proposal.recipe.data.validation_share;
        let whole = sides(&cases.cases, &cases.problem, share, seed).map_err(AdaptError::from)?;
        let apart = if proposal.recipe.request.split.is_some() { whole.test.clone() } else { Vec::new() };
        let Some(folds) = proposal.recipe.request.folds else { return Ok(Self { sides: vec![whole], apart }) };
        let tested: BTreeSet<usize> = apart.iter().copied().collect();
        let labelled = cases.cases.iter().filter(|case| case.label.is_some() && !tested.contains(&case.index));
        let labelled: Vec<&Case> = labelled.collect();
        if folds < 2 || folds > labelled.len() {
            let problem = format!("expected 2 to {} folds, found {folds}", labelled.len());
            return Err(AdaptError::from(CasesError::Option { option: "--folds", problem }).into());
        }
        let again = (1..proposal.recipe.request.repeats.unwrap_or(1) as u64).map(|n| seed.named("repeat").number(n));
        let repeats = std::iter::once(seed).chain(again);
        let repeat = |seed| in_folds(&labelled, &cases.problem, folds, share, seed);
        let sides = repeats.map(repeat).collect::<Result<Vec<_>, _>>().map_err(AdaptError::from)?;
        Ok(Self { sides: sides.concat(), apart })
    }

    /// What cases the models are judged on.
    pub fn on(&self) -> &'static str {
        match (self.sides.len(), self.sides[0].test.is_empty()) {
            (1, true) => "validation",
            (1, false) => "test",
            _ if self.averaged().is_some() => "test",
            _ => "cross-validation",
        }
    }

    /// The cases that the models of all folds tell together.
    fn averaged(&self) -> Option<&[usize]> {
        (self.sides.len() > 1 && !self.apart.is_empty()).then_some(&self.apart)
    }
}

/// The sides of one cross-validation: each fold is tested once, and of the others `share` is validated on.
fn in_folds(
    labelled: &[&Case],
    problem: &Problem,
    folds: usize,
    share: f64,
    seed: Seed,
) -> Result<Vec<Sides>, CasesError> {
    let dealt = deal(labelled, problem, folds, seed.named("folds"));
    let fold = |fold: usize| {
        let of = |is: bool| labelled.iter().zip(&dealt).filter(move |(_, own)| (**own == fold) == is);
        let rest: Vec<Case> = of(false).map(|(case, _)| (*case).clone()).collect();
        let test = of(true).map(|(case, _)| case.index).collect();
        Ok(Sides { test, ..sides(&rest, problem, share, seed)? })
    };
    (0..folds).map(fold).collect()
}

/// The cases that one model is judged on.
pub(crate) fn held_out(sides: &Sides) -> &[usize] {
    if sides.test.is_empty() { &sides.validation } else { &sides.test }
}
