use burn::{
    optim::GradientsParams,
    tensor::{Tensor, TensorData},
};
use sensorium_contract::{Seed, StepContext};
use sensorium_state::export;

use super::*;
use crate::{AdamW, Average, FlatGradients, HeldOutLosses, OptimizerConfig, TrainConfig, TrainError, split_batch};

#[derive(Module, Debug)]
struct Pair {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

fn pair(device: &Device) -> Pair {
    Pair {
        weight: Param::from_data(TensorData::from([[0.5f32, -1.0], [2.0, 0.25]]), device),
        bias: Param::from_data(TensorData::from([0.1f32, -0.2]), device),
    }
}

fn gradients(pair: &Pair, weight: [[f32; 2]; 2], bias: Option<[f32; 2]>) -> FlatGradients {
    let mut gradients = GradientsParams::new();
    let device = Device::flex();
    gradients.register(pair.weight.id, Tensor::<2>::from_data(TensorData::from(weight), &device));
    if let Some(bias) = bias {
        gradients.register(pair.bias.id, Tensor::<1>::from_data(TensorData::from(bias), &device));
    }
    FlatGradients::take(pair, gradients)
}

fn values(module: &impl Module) -> Vec<f32> {
    export(module).into_iter().flat_map(|tensor| tensor.values).collect()
}

fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 2e-6 * expected.abs().max(0.1), "{found} against {expected}");
    }
}

/// Gradients of the weight, and of the bias if it has one.
type Gradients = ([[f32; 2]; 2], Option<[f32; 2]>);

const STEPS: [Gradients; 3] = [
    ([[1.0, -2.0], [0.5, 0.0]], Some([0.3, -0.1])),
    ([[-0.5, 1.0], [2.0, 0.01]], None),
    ([[3.0, 4.0], [-1.0, 0.2]], Some([5.0, -7.0])),
];

/// Recorded from PyTorch 2.15: `AdamW([{w, decay 0.1}, {b, decay 0}], lr 0.01, betas (0.9, 0.98),
/// eps 1e-8)` after `clip_grad_norm_(1.0)`, the bias's gradient being `None` in the second step.
const NORMS: [f64; 3] = [2.313006639480591, 2.2913095951080322, 10.001999855041504];
const WEIGHTS: [[f32; 6]; 3] = [
    [0.489_5, -0.989, 1.988, 0.249_75, 0.09, -0.19],
    [0.486_376_14, -0.985_376_7, 1.977_216, 0.242_094_37, 0.09, -0.19],
    [0.480_783_55, -0.984_957_46, 1.969_155_7, 0.234_452_58, 0.081_151_93, -0.182_196_9],
];
const FIRST: [f32; 4] = [0.045_373_92, 0.009_232_154, 0.086_069_33, 0.002_392_388_4];

fn recorded_config() -> OptimizerConfig {
    OptimizerConfig { learning_rate: 0.01, weight_decay: 0.1, ..OptimizerConfig::default() }
}

#[test]
fn steps_equal_pytorchs() {
    let mut pair = pair(&device());
    let mut optimizer = AdamW::new(&recorded_config(), &pair).unwrap();
    for (((weight, bias), norm), expected) in STEPS.into_iter().zip(NORMS).zip(WEIGHTS) {
        let gradients = gradients(&pair, weight, bias);
        assert!((gradients.norm() - norm).abs() < 1e-6 * norm);
        let ids = (pair.weight.id, pair.bias.id);
        pair = optimizer.step(pair, gradients, 0.01, None);
        assert_close(&values(&pair), &expected);
        assert_eq!((pair.weight.id, pair.bias.id), ids);
        assert!(pair.weight.val().is_autodiff() && pair.weight.is_require_grad());
    }
    let moments = optimizer.moments();
    assert_eq!(moments[0].name, "weight.first");
    assert_close(&moments[0].values, &FIRST);
    let steps = optimizer.steps();
    assert_eq!((steps["weight"], steps["bias"]), (3, 2));
}

#[test]
fn a_restored_optimizer_goes_on_bit_for_bit() {
    let step = |optimizer: &mut AdamW, pair: Pair, k: usize| {
        let gradients = gradients(&pair, STEPS[k].0, STEPS[k].1);
        optimizer.step(pair, gradients, 0.01, None)
    };
    let start = pair(&device());
    let mut optimizer = AdamW::new(&recorded_config(), &start).unwrap();
    let after_one = step(&mut optimizer, start, 0);
    let mut restored = AdamW::new(&recorded_config(), &after_one).unwrap();
    let moments = optimizer.moments().into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
    restored.restore(&moments, &optimizer.steps()).unwrap();
    let through = |mut optimizer: AdamW| {
        let two = step(&mut optimizer, after_one.clone(), 1);
        values(&step(&mut optimizer, two, 2))
    };
    assert_eq!(through(optimizer), through(restored));

    let mut fresh = AdamW::new(&recorded_config(), &after_one).unwrap();
    let odd = [("weight".to_owned(), 1), ("head".to_owned(), 1)].into();
    assert!(fresh.restore(&moments, &odd).unwrap_err().contains("knows 1"));
    assert!(fresh.restore(&BTreeMap::new(), &odd).unwrap_err().contains("`weight.first` is missing"));
}

#[test]
fn decay_is_for_matrices_and_groups_change_it() {
    let decayed = |config: &OptimizerConfig| {
        let pair = pair(&device());
        let before = values(&pair);
        let gradients = gradients(&pair, [[0.0; 2]; 2], Some([0.0; 2]));
        let mut optimizer = AdamW::new(config, &pair).unwrap();
        let after = values(&optimizer.step(pair, gradients, 0.01, None));
        before.into_iter().zip(after).map(|(before, after)| ((1.0 - after / before) * 1e4).round()).collect::<Vec<_>>()
    };
    let mut config = recorded_config();
    assert_eq!(decayed(&config), [10.0, 10.0, 10.0, 10.0, 0.0, 0.0]);
    config.groups = serde_json::from_value(json!([
        { "match": "*", "weight_decay": 0.2 },
        { "match": "wei*", "lr": 0.5 },
    ]))
    .unwrap();
    // The last entry that matches counts, and one without a decay leaves what an earlier one said.
    assert_eq!(decayed(&config), [10.0, 10.0, 10.0, 10.0, 20.0, 20.0]);

    config.groups = serde_json::from_value(json!([{ "match": "trunk.*" }])).unwrap();
    let error = AdamW::new(&config, &pair(&device())).unwrap_err().to_string();
    assert_eq!(error, "train.optimizer.groups.0.match: `trunk.*` matches no parameter");
}

#[test]
fn a_locked_parameter_counts_for_nothing() {
    let start = pair(&Device::flex().autodiff());
    let groups = serde_json::from_value(json!([{ "match": "wei*", "lr": 0 }])).unwrap();
    let mut optimizer = AdamW::new(&OptimizerConfig { groups, ..recorded_config() }, &start).unwrap();
    assert_eq!(optimizer.trained(), 2);
    let start = optimizer.lock(start);
    let factors = Tensor::from_data([3.0f32, 4.0], &Device::flex());
    let loss = start.weight.val().sum().mul_scalar(100.0) + (start.bias.val() * factors).sum();
    let gradients = FlatGradients::take(&start, GradientsParams::from_grads(loss.backward(), &start));
    assert_close(&[gradients.norm() as f32], &[5.0]);
    let before = values(&start);
    let stepped = optimizer.step(start, gradients, 0.01, None);
    let after = values(&stepped);
    assert_eq!(before[..4], after[..4]);
    assert_ne!(before[4..], after[4..]);
    assert!(!stepped.weight.val().is_require_grad() && stepped.bias.val().is_require_grad());
    let moments: Vec<String> = optimizer.moments().into_iter().map(|moment| moment.name).collect();
    assert_eq!(moments, ["bias.first", "bias.second"]);
}

#[test]
fn locks_are_modalities_or_patterns() {
    let lock = |lock: &str| {
        let config = TrainConfig { lock: vec![lock.to_owned()], ..TrainConfig::default() };
        let parameters = ["encoders.0.bias", "encoders.1.bias", "trunk.weight"].map(str::to_owned);
        let of = |name: &str| (name == "image").then(|| vec!["encoders.0.bias".to_owned()]);
        let locked = config.with_locks(&parameters, of)?;
        Ok::<_, TrainError>(
            locked.optimizer.groups.into_iter().map(|group| (group.pattern, group.lr)).collect::<Vec<_>>(),
        )
    };
    assert_eq!(lock("image").unwrap(), [("encoders.0.bias".to_owned(), 0.0)]);
    assert_eq!(lock("trunk.*").unwrap(), [("trunk.*".to_owned(), 0.0)]);
    let error = lock("picture").unwrap_err().to_string();
    assert_eq!(error, "train.lock: `picture`: there is no such modality, and no parameter matches it");
}

#[test]
fn the_average_follows_the_weights() {
    let start = pair(&device());
    let mut average = Average::new(0.5, &start, 0);
    let mut optimizer = AdamW::new(&recorded_config(), &start).unwrap();
    let mut expected = values(&start);
    let mut pair = start;
    for (t, (weight, bias)) in STEPS.into_iter().enumerate() {
        let gradients = gradients(&pair, weight, bias);
        average.begin();
        pair = optimizer.step(pair, gradients, 0.01, Some(&mut average));
        let t = t as f32 + 1.0;
        let decay = f32::min(0.5, (1.0 + t) / (10.0 + t));
        let now = values(&pair);
        expected.iter_mut().zip(now).for_each(|(mean, now)| *mean = decay * *mean + (1.0 - decay) * now);
    }
    let averaged = average.module(&pair);
    assert_close(&values(&averaged), &expected);
    assert!(!averaged.weight.val().is_autodiff());
    assert_ne!(values(&averaged), values(&pair));
}

#[test]
fn pieces_give_the_gradients_of_the_whole() {
    let model = Regression::new(&device());
    let context = StepContext { seed: Seed::new(0), step: 0 };
    let norm = |pieces: usize| {
        let gradients = model.gradients(&split_batch(&batch(0), pieces), context);
        FlatGradients::take(&model, gradients.gradients).norm()
    };
    let whole = norm(1);
    assert!(whole > 0.1);
    for pieces in [2, 3, 8] {
        assert!((norm(pieces) - whole).abs() < 1e-5 * whole);
    }
}

#[test]
fn a_part_that_no_sample_has_leaves_its_parameters_alone() {
    let model = Regression::new(&device());
    let mut optimizer = AdamW::new(&recorded_config(), &model).unwrap();
    let context = StepContext { seed: Seed::new(0), step: 0 };
    let gradients = model.gradients(&[batch(1)], context).gradients;
    let gradients = FlatGradients::take(&model, gradients);
    let before = model.right.val().into_data();
    let weight = model.weight.val().into_data();
    let model = optimizer.step(model, gradients, 0.01, None);
    assert_eq!(model.right.val().into_data(), before);
    assert_ne!(model.weight.val().into_data(), weight);
    assert!(!optimizer.steps().contains_key("right"));
}

#[test]
fn held_out_losses_stand_beside_the_constant() {
    let batches: crate::HeldOutBatches = std::sync::Arc::new(|| Box::new((0..2).map(|step| Ok(loaded(step)))));
    let mut evaluator = HeldOutLosses { batches, seed: Seed::new(0) };
    let metrics = evaluator.evaluate(&Regression::new(&device()).valid(), 3).unwrap();
    let names: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, ["left", "left/constant"]);
    assert!(metrics[0].value > 0.0 && metrics[1].value == 1.0);

    let fails = || sensorium_samples::LoadError::Collate { step: 1, message: "odd".into() };
    let batches: crate::HeldOutBatches =
        std::sync::Arc::new(move || Box::new([Ok(loaded(0)), Err(fails())].into_iter()));
    let mut evaluator = HeldOutLosses { batches, seed: Seed::new(0) };
    let error = evaluator.evaluate(&Regression::new(&device()).valid(), 3).unwrap_err();
    assert!(error.to_string().contains("odd"));
}

/// Not a test of correctness: `cargo test --release -p sensorium-train -- --ignored speed --nocapture`.
#[test]
#[ignore = "measures"]
fn speed_of_a_step_on_five_million_parameters() {
    #[derive(Module, Debug)]
    struct Wide {
        layers: Vec<Param<Tensor<2>>>,
    }
    let device = device();
    let layers = (0..20).map(|_| Param::from_tensor(Tensor::ones([500, 500], &device))).collect();
    let mut wide = Wide { layers };
    let mut optimizer = AdamW::new(&OptimizerConfig::default(), &wide).unwrap();
    let mut average = Average::new(0.99, &wide, 0);
    for (title, averaged) in [("optimiser", false), ("with average", true)] {
        let mut best = [f64::MAX; 2];
        for _ in 0..20 {
            let mut gradients = GradientsParams::new();
            for layer in &wide.layers {
                gradients.register(layer.id, Tensor::<2>::ones([500, 500], &Device::flex()));
            }
            let begin = std::time::Instant::now();
            let gradients = FlatGradients::take(&wide, gradients);
            let norm = begin.elapsed().as_secs_f64() * 1e3;
            average.begin();
            wide = optimizer.step(wide, gradients, 1e-3, averaged.then_some(&mut average));
            let step = begin.elapsed().as_secs_f64() * 1e3 - norm;
            best = [best[0].min(norm), best[1].min(step)];
        }
        println!("{title}: norm {:.1} ms, step {:.1} ms", best[0], best[1]);
    }
}
