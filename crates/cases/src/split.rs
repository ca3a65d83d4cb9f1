//! Who is on which side: no group on both, classes in equal shares.

use std::collections::BTreeMap;

use rand::Rng as _;
use sensorium_contract::{Seed, Value};

use crate::{Case, CasesError, Problem, ProblemKind, cell::number};

/// Strata that a numeric label is cut into.
const STRATA: usize = 10;

/// A side of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Learned from.
    Train,
    /// Decides when training ends and how probabilities are calibrated.
    Validation,
    /// Judged on, and seen by nothing before.
    Test,
}

/// Indices into the data set, ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sides {
    /// See [`Side::Train`].
    pub train: Vec<usize>,
    /// See [`Side::Validation`].
    pub validation: Vec<usize>,
    /// See [`Side::Test`].
    pub test: Vec<usize>,
}

/// Deals cases to so many folds: cases of a group to the same one, those of a class in equal shares.
/// A function of the cases and the seed alone.
pub fn deal(cases: &[&Case], problem: &Problem, folds: usize, seed: Seed) -> Vec<usize> {
    let strata = strata(cases, problem);
    let mut units: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, case) in cases.iter().enumerate() {
        let unit = case.group.as_ref().map_or_else(|| format!("case {}", case.index), |group| format!("group {group}"));
        units.entry(unit).or_default().push(place);
    }
    let mut units: Vec<(u64, Vec<usize>)> =
        units.into_iter().map(|(name, places)| (seed.named(&name).rng().next_u64(), places)).collect();
    // Large groups first, as small ones can still even out.
    units.sort_by_key(|(order, places)| (std::cmp::Reverse(places.len()), *order));
    let width = strata.iter().max().map_or(1, |most| most + 1);
    let mut held = vec![vec![0_usize; width]; folds];
    let mut dealt = vec![0; cases.len()];
    for (_, places) in units {
        let mut own = vec![0; width];
        places.iter().for_each(|&place| own[strata[place]] += 1);
        // The fold that has the least of what the unit brings; of equal ones the smallest.
        let load = |held: &Vec<usize>| {
            let of_kind: usize = held.iter().zip(&own).map(|(held, own)| held * own).sum();
            (of_kind, held.iter().sum::<usize>())
        };
        let fold = (0..folds).min_by_key(|&fold| load(&held[fold])).unwrap_or(0);
        held[fold].iter_mut().zip(&own).for_each(|(held, own)| *held += own);
        places.iter().for_each(|&place| dealt[place] = fold);
    }
    dealt
}

/// The stratum of each case: its class, the first of its labels, or the tenth that its number is in.
fn strata(cases: &[&Case], problem: &Problem) -> Vec<usize> {
    let mut numbers: Vec<f64> = cases.iter().filter_map(|case| number(case.label.as_ref()?)).collect();
    numbers.sort_unstable_by(f64::total_cmp);
    let class = |name: &str| problem.classes.iter().position(|class| class == name.trim()).unwrap_or(0);
    let stratum = |value: &Value| match problem.kind {
        ProblemKind::Number => number(value)
            .map_or(0, |found| numbers.partition_point(|other| *other < found) * STRATA / numbers.len().max(1)),
        ProblemKind::Labels => value.labels().and_then(|labels| labels.first().map(|name| class(name))).unwrap_or(0),
        _ => value.as_text().map_or(0, |text| class(&text)),
    };
    cases.iter().map(|case| case.label.as_ref().map_or(0, &stratum)).collect()
}

/// Divides labelled cases: by the split column where there is one; else `share` of them, or what
/// the split column left for training where it names no validation, becomes the validation side.
/// A group is on one side of it, unless there is no other group to learn from.
///
/// # Errors
/// A split column that names no side, or a side without cases.
pub fn sides(cases: &[Case], problem: &Problem, share: f64, seed: Seed) -> Result<Sides, CasesError> {
    let labelled: Vec<&Case> = cases.iter().filter(|case| case.label.is_some()).collect();
    let mut train = Vec::new();
    let mut sides = Sides::default();
    for case in labelled {
        match case.split.as_deref().map(side_named).transpose()? {
            None | Some(Side::Train) => train.push(case),
            Some(Side::Validation) => sides.validation.push(case.index),
            Some(Side::Test) => sides.test.push(case.index),
        }
    }
    match sides.validation.is_empty() {
        false => sides.train = train.iter().map(|case| case.index).collect(),
        true => {
            let folds = (1.0 / share.clamp(0.02, 0.5)).round().max(2.0) as usize;
            let several = train.iter().any(|case| case.group != train[0].group);
            let group = |case: &Case| case.group.clone().filter(|_| several);
            let units: Vec<Case> = train.iter().map(|&case| Case { group: group(case), ..case.clone() }).collect();
            let dealt = deal(&units.iter().collect::<Vec<_>>(), problem, folds, seed.named("validation"));
            for (case, fold) in train.iter().zip(dealt) {
                if fold == 0 { &mut sides.validation } else { &mut sides.train }.push(case.index);
            }
        }
    }
    for (name, side) in [("learn from", &sides.train), ("validate on", &sides.validation)] {
        if side.is_empty() {
            return Err(CasesError::Split(format!(
                "no labelled case is left to {name}: there are too few rows or groups"
            )));
        }
    }
    Ok(sides)
}

fn side_named(text: &str) -> Result<Side, CasesError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "train" | "training" | "learn" => Ok(Side::Train),
        "val" | "valid" | "validation" | "dev" | "tune" => Ok(Side::Validation),
        "test" | "testing" | "holdout" | "held-out" => Ok(Side::Test),
        _ => Err(CasesError::Option {
            option: "--split",
            problem: format!("expected train, validation or test in the column, found `{text}`"),
        }),
    }
}
