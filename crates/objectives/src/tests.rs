use std::{collections::BTreeMap, num::NonZeroU64};

use burn::tensor::{Device, Tensor, TensorData};
use ndarray::Array2;
use sensorium_contract::{
    Arrays, Batch, Constants, Corruption, Head, MaskTarget, Name, Objective, Outputs, Part, Pass, PassOutput, PassPlan,
    Seed, Truth, Values,
};

use crate::{
    AnyObjective, ContrastiveConfig, Duplicates, MaskedModellingConfig, MatchingConfig, ObjectiveConfig,
    ObjectiveError, PairwiseSigmoidConfig, Surroundings,
};

const WIDTH: usize = 3;

/// Two modalities, of which `a` predicts classes and `b` a class and two numbers.
fn heads() -> BTreeMap<Name, Vec<Head>> {
    let head = |name: &str, values| Head { name: name.into(), values };
    let a = vec![head("token", Values::Classes(4))];
    let b = vec![head("colour", Values::Classes(3)), head("size", Values::Numbers(2))];
    BTreeMap::from([("a".into(), a), ("b".into(), b)])
}

fn build(config: ObjectiveConfig) -> Result<AnyObjective, ObjectiveError> {
    let surroundings =
        Surroundings { modalities: &heads(), width: &|_| WIDTH, seed: Seed::new(1), device: &Device::flex() };
    config.build(&surroundings)
}

/// Vectors of length 1 that are not in any order.
fn vectors(count: usize, start: f64) -> Vec<[f64; WIDTH]> {
    let vector = |at: usize| {
        let angle = start + 2.4 * at as f64;
        let (sin, cos) = angle.sin_cos();
        [0.6 * sin, 0.8 * sin, cos]
    };
    (0..count).map(vector).collect()
}

fn tensor(vectors: &[[f64; WIDTH]]) -> Tensor<2> {
    let values: Vec<f32> = vectors.iter().flatten().map(|value| *value as f32).collect();
    Tensor::from_data(TensorData::new(values, [vectors.len(), WIDTH]), &Device::flex())
}

/// Samples of which those with equal numbers share content in `a` or in `b`.
struct Samples {
    a: Vec<[f64; WIDTH]>,
    b: Vec<[f64; WIDTH]>,
    contents: [Vec<u64>; 2],
    keys: Vec<&'static str>,
}

impl Samples {
    fn distinct() -> Self {
        let contents = [vec![1, 2, 3, 4, 5], vec![1, 2, 3, 4, 5]];
        Self { a: vectors(5, 0.3), b: vectors(5, 0.9), contents, keys: vec!["k0", "k1", "k2", "k3", "k4"] }
    }

    /// 0 and 2 share a caption, 1 and 4 a picture, 3 and 4 a key.
    fn repeated() -> Self {
        let contents = [vec![1, 2, 3, 4, 2], vec![1, 2, 1, 4, 5]];
        Self { contents, keys: vec!["k0", "k1", "k2", "k3", "k3"], ..Self::distinct() }
    }

    fn loss(&self, config: ObjectiveConfig) -> f64 {
        let objective = build(config).unwrap();
        let part = |content: &Vec<u64>| Part {
            rows: (0..content.len()).collect(),
            arrays: Arrays::default(),
            content: content.clone(),
        };
        let [a, b] = &self.contents;
        let batch = Batch {
            keys: self.keys.iter().map(|key| (*key).to_owned()).collect(),
            parts: BTreeMap::from([("a".into(), part(a)), ("b".into(), part(b))]),
        };
        let output = |name: &str, vectors: &[[f64; WIDTH]]| PassOutput {
            plan: PassPlan { pass: Pass::of(&name.into()), rows: (0..vectors.len()).collect(), targets: Vec::new() },
            features: None,
            embedding: Some(tensor(vectors)),
        };
        let outputs = Outputs(vec![output("a", &self.a), output("b", &self.b)]);
        let mut parts = objective.loss(&outputs, &batch).parts;
        assert_eq!((parts.len(), parts[0].items), (1, self.a.len()));
        f64::from(parts.remove(0).value.into_scalar::<f32>())
    }

    fn similarity(&self, i: usize, j: usize) -> f64 {
        self.a[i].iter().zip(&self.b[j]).map(|(x, y)| x * y).sum()
    }

    fn same(&self, i: usize, j: usize) -> bool {
        i != j && (self.contents.iter().any(|content| content[i] == content[j]) || self.keys[i] == self.keys[j])
    }

    /// InfoNCE by its formula.
    fn contrastive(&self, temperature: f64, duplicates: Duplicates) -> f64 {
        let count = self.a.len();
        let logit = |i, j| self.similarity(i, j) / temperature;
        let direction = |logit: &dyn Fn(usize, usize) -> f64| {
            let row = |i: usize| {
                let counted = |j: &usize| duplicates == Duplicates::Positive || !self.same(i, *j);
                let all: f64 = (0..count).filter(counted).map(|j| logit(i, j).exp()).sum();
                let partner = |j: &usize| *j == i || duplicates == Duplicates::Positive && self.same(i, *j);
                let partners: Vec<usize> = (0..count).filter(partner).collect();
                let sum: f64 = partners.iter().map(|&j| logit(i, j) - all.ln()).sum();
                -sum / partners.len() as f64
            };
            (0..count).map(row).sum::<f64>() / count as f64
        };
        (direction(&logit) + direction(&|i, j| logit(j, i))) / 2.0
    }

    /// SigLIP's loss by its formula.
    fn sigmoid(&self, scale: f64, bias: f64, duplicates: Duplicates) -> f64 {
        let count = self.a.len();
        let mut sum = 0.0;
        for i in 0..count {
            for j in 0..count {
                let sign = match (i == j, self.same(i, j), duplicates) {
                    (true, ..) | (_, true, Duplicates::Positive) => 1.0,
                    (_, true, Duplicates::Ignored) => continue,
                    (_, false, _) => -1.0,
                };
                sum += (-sign * (scale * self.similarity(i, j) + bias)).exp().ln_1p();
            }
        }
        sum / count as f64
    }
}

fn contrastive(duplicates: Duplicates) -> ObjectiveConfig {
    let config = ContrastiveConfig { duplicates, temperature: 0.2, ..ContrastiveConfig::default() };
    ObjectiveConfig::Contrastive(config)
}

fn sigmoid(duplicates: Duplicates) -> ObjectiveConfig {
    let config = PairwiseSigmoidConfig { duplicates, scale: 3.0, bias: -1.5, ..PairwiseSigmoidConfig::default() };
    ObjectiveConfig::PairwiseSigmoid(config)
}

#[track_caller]
fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-5 * expected.abs().max(0.1), "found {found}, expected {expected}");
}

#[test]
fn contrastive_follows_its_formula() {
    for samples in [Samples::distinct(), Samples::repeated()] {
        for duplicates in [Duplicates::Positive, Duplicates::Ignored] {
            assert_close(samples.loss(contrastive(duplicates)), samples.contrastive(0.2, duplicates));
        }
    }
    let repeated = Samples::repeated();
    assert!(
        (repeated.contrastive(0.2, Duplicates::Positive) - repeated.contrastive(0.2, Duplicates::Ignored)).abs() > 0.1
    );
}

#[test]
fn pairwise_sigmoid_follows_its_formula() {
    for samples in [Samples::distinct(), Samples::repeated()] {
        for duplicates in [Duplicates::Positive, Duplicates::Ignored] {
            assert_close(samples.loss(sigmoid(duplicates)), samples.sigmoid(3.0, -1.5, duplicates));
        }
    }
}

/// Two samples look alike and are called alike: were one the other's negative, the loss could not vanish.
#[test]
fn equal_captions_are_never_negatives() {
    let vectors = vec![[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]];
    let samples = |captions: [u64; 3]| Samples {
        a: vectors.clone(),
        b: vectors.clone(),
        contents: [vec![1, 2, 3], captions.to_vec()],
        keys: vec!["k0", "k1", "k2"],
    };
    let (apart, together) = (samples([1, 2, 3]), samples([1, 1, 3]));
    assert!(apart.loss(contrastive(Duplicates::Ignored)) > 2.0 / 3.0 * 2_f64.ln());
    assert!(together.loss(contrastive(Duplicates::Ignored)) < 1e-3);
    // As positives each of the two has two partners, between which it cannot choose.
    let least = together.loss(contrastive(Duplicates::Positive));
    assert!((least - 2.0 / 3.0 * 2_f64.ln()).abs() < 1e-3, "{least}");
}

#[test]
fn a_temperature_is_limited() {
    let config = ContrastiveConfig { temperature: 1e-4, ..ContrastiveConfig::default() };
    let samples = Samples::distinct();
    assert_close(samples.loss(ObjectiveConfig::Contrastive(config)), samples.contrastive(0.01, Duplicates::Positive));
}

fn plan(pass: Pass, targets: Vec<MaskTarget>, rows: usize) -> PassPlan {
    PassPlan { pass, rows: (0..rows).collect(), targets }
}

fn target(modality: &str, head: usize, truth: Truth) -> MaskTarget {
    let count = match &truth {
        Truth::Classes(classes) => classes.len(),
        Truth::Numbers(numbers) => numbers.nrows(),
    };
    MaskTarget { modality: modality.into(), head, rows: (0..count).collect(), tokens: vec![0; count], truth }
}

/// Plan after plan, as evaluation sees them.
fn least_losses(objective: &AnyObjective, plans: &[PassPlan]) -> BTreeMap<String, f32> {
    let mut constants = Constants::default();
    plans.iter().for_each(|plan| objective.add_truths(std::slice::from_ref(plan), &mut constants));
    constants.losses()
}

#[test]
fn the_best_constant_is_entropy_and_variance() {
    let objective = build(ObjectiveConfig::MaskedModelling(MaskedModellingConfig::default())).unwrap();
    let masked = |name: &str| Pass::of(&name.into()).with(Corruption::Masked);
    let numbers = Array2::from_shape_vec([2, 2], vec![1.0, 10.0, 3.0, 10.0]).unwrap();
    let more = Array2::from_shape_vec([1, 2], vec![5.0, 4.0]).unwrap();
    let seen = [
        plan(masked("a"), vec![target("a", 0, Truth::Classes(vec![0, 0, 1]))], 3),
        plan(masked("a"), vec![target("a", 0, Truth::Classes(vec![3]))], 1),
        plan(masked("b"), vec![target("b", 0, Truth::Classes(vec![2])), target("b", 1, Truth::Numbers(numbers))], 2),
        plan(masked("b"), vec![target("b", 1, Truth::Numbers(more))], 1),
    ];
    let constants = least_losses(&objective, &seen);
    // Classes: frequencies 1/2, 1/4, 1/4.
    assert_close(f64::from(constants["masked a"]), 0.5 * 2_f64.ln() + 0.5 * 4_f64.ln());
    // Column 0 is 1, 3, 5 (variance 8/3), column 1 is 10, 10, 4 (variance 8): 16/3 for each of three items; the one
    // class of the fourth is sure.
    assert_close(f64::from(constants["masked b"]), 16.0 / 3.0 * 3.0 / 4.0);
    let items = objective.items(&seen, &[]);
    assert_eq!(items, BTreeMap::from([("masked a".to_owned(), 4), ("masked b".to_owned(), 4)]));
    assert!(least_losses(&objective, &[]).is_empty());
}

#[test]
fn the_best_constant_of_matching_is_the_entropy_of_the_share() {
    let config = MatchingConfig { modalities: vec!["a".into(), "b".into()], weight: 1.0, every: NonZeroU64::MIN };
    let objective = build(ObjectiveConfig::Matching(config)).unwrap();
    let pass = Pass::joint(&["a".into(), "b".into()]);
    let matched = plan(pass.clone(), Vec::new(), 3);
    let mismatched = |rows| plan(pass.clone().with(Corruption::Mismatched), Vec::new(), rows);
    let constant = |plans: &[PassPlan]| f64::from(least_losses(&objective, plans)["matching a + b"]);
    assert_close(constant(&[matched.clone(), mismatched(3)]), 2_f64.ln());
    assert_close(constant(&[matched.clone(), mismatched(1)]), 0.75 * (4.0_f64 / 3.0).ln() + 0.25 * 4_f64.ln());
    assert!(constant(&[matched]).abs() < 1e-6);
}

#[test]
fn impossible_objectives_say_why() {
    let names = |names: &[&str]| names.iter().map(|name| Name::new(name)).collect::<Vec<_>>();
    let pair =
        |a: &str, b: &str| ContrastiveConfig { pairs: vec![[a.into(), b.into()]], ..ContrastiveConfig::default() };
    let masked = |passes: &[&[&str]]| {
        let passes = passes.iter().map(|pass| names(pass)).collect();
        ObjectiveConfig::MaskedModelling(MaskedModellingConfig { passes, ..MaskedModellingConfig::default() })
    };
    let matching = |modalities: &[&str]| {
        ObjectiveConfig::Matching(MatchingConfig { modalities: names(modalities), weight: 1.0, every: NonZeroU64::MIN })
    };
    let cold = ContrastiveConfig { temperature: 0.0, ..ContrastiveConfig::default() };
    let flat = PairwiseSigmoidConfig { scale: -1.0, ..PairwiseSigmoidConfig::default() };
    for (config, part) in [
        (ObjectiveConfig::Contrastive(pair("a", "c")), "names the modality `c`, but the recipe has `a`, `b`"),
        (ObjectiveConfig::Contrastive(pair("a", "a")), "`a` is paired with itself"),
        (ObjectiveConfig::Contrastive(cold), "`temperature` must be above 0, found 0"),
        (ObjectiveConfig::PairwiseSigmoid(flat), "`scale` must be above 0, found -1"),
        (masked(&[&["a", "a"]]), "names `a` twice"),
        (masked(&[&["a"], &["a"]]), "reads a twice"),
        (masked(&[&[]]), "names no modality"),
        (matching(&["a"]), "two modalities or more"),
        (matching(&["a", "a"]), "names `a` twice"),
    ] {
        let message = build(config).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
}
