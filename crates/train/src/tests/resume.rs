use super::*;
use crate::{Ended, Metric};

#[test]
fn a_run_stopped_at_any_step_ends_as_if_it_had_not() {
    let config = small();
    let straight = tempfile::tempdir().unwrap();
    let whole = run(straight.path(), &config);
    assert_eq!(whole.ended, Ended::Finished);
    assert!(whole.evaluation.len() == 2 && whole.best.is_some());
    for stop_at in 0..12 {
        let home = tempfile::tempdir().unwrap();
        let part = run_until(home.path(), &config, Some(stop_at)).unwrap();
        // The step in which the request comes is finished first.
        assert_eq!(part.step, stop_at + 1);
        assert_eq!(part.ended, Ended::Interrupted { signal: 2 });
        let rest = run(home.path(), &config);
        assert_same(straight.path(), home.path());
        assert_eq!((rest.best, rest.evaluation), (whole.best.clone(), whole.evaluation.clone()));
    }
}

#[test]
fn a_run_stopped_often_ends_as_if_it_had_not() {
    let config = small();
    let (straight, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(straight.path(), &config);
    for stop_at in [0, 2, 2, 3, 7, 8, 11] {
        run_until(home.path(), &config, Some(stop_at)).unwrap();
    }
    run(home.path(), &config);
    assert_same(straight.path(), home.path());
    assert_eq!(checkpoints(straight.path()), checkpoints(home.path()));
}

/// What a killed run leaves: a checkpoint, and records of later steps.
#[test]
fn records_after_the_last_checkpoint_are_made_again() {
    let config = small();
    let (straight, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(straight.path(), &config);
    run(home.path(), &config);
    fs::remove_dir_all(home.path().join("checkpoints/step-00000012")).unwrap();
    fs::write(home.path().join("metrics.jsonl"), text(home.path(), "metrics.jsonl") + "{\"step\": 1").unwrap();
    run(home.path(), &config);
    assert_same(straight.path(), home.path());
}

/// A run that was interrupted before an evaluation, resumed, and killed after it.
#[test]
fn an_evaluation_is_recorded_once() {
    let config = small();
    let (straight, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(straight.path(), &config);
    run_until(home.path(), &config, Some(5)).unwrap();
    let is_evaluation = |line: &str| line.starts_with("{\"step\":6,") && line.contains("evaluation");
    assert!(!text(home.path(), "metrics.jsonl").lines().any(is_evaluation));
    let whole = text(straight.path(), "metrics.jsonl");
    let evaluation = whole.lines().find(|line| is_evaluation(line)).unwrap();
    let killed = format!("{}{evaluation}\n", text(home.path(), "metrics.jsonl"));
    fs::write(home.path().join("metrics.jsonl"), killed).unwrap();
    run(home.path(), &config);
    assert_same(straight.path(), home.path());
}

#[test]
fn a_finished_run_is_not_run_again() {
    let (home, config) = (tempfile::tempdir().unwrap(), small());
    let first = run(home.path(), &config);
    let before = remains(home.path());
    let again = run_on(home.path(), &config, Box::new(|_| panic!("no data is needed")), Stop::new()).unwrap();
    assert_eq!(before, remains(home.path()));
    assert_eq!((first.best, first.evaluation, first.step), (again.best, again.evaluation, again.step));
    assert_eq!(first.model.weight.val().into_data(), again.model.weight.val().into_data());
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    let config = small();
    let (straight, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(straight.path(), &config);
    run_until(home.path(), &config, Some(8)).unwrap();
    assert!(checkpoints(home.path()).contains(&"step-00000009".to_owned()));
    let model = home.path().join("checkpoints/step-00000009/model.safetensors");
    let mut bytes = fs::read(&model).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&model, bytes).unwrap();
    run(home.path(), &config);
    assert!(checkpoints(home.path()).contains(&"damaged-step-00000009".to_owned()));
    fs::remove_dir_all(home.path().join("checkpoints/damaged-step-00000009")).unwrap();
    assert_same(straight.path(), home.path());

    for name in checkpoints(home.path()) {
        fs::remove_file(home.path().join("checkpoints").join(name).join("state.json")).unwrap();
    }
    run(home.path(), &config);
    let aside = checkpoints(home.path()).into_iter().filter(|name| name.starts_with("damaged-"));
    aside.for_each(|name| fs::remove_dir_all(home.path().join("checkpoints").join(name)).unwrap());
    assert_same(straight.path(), home.path());
}

#[test]
fn pieces_train_alike() {
    let home = [1, 4].map(|pieces| {
        let home = tempfile::tempdir().unwrap();
        run(home.path(), &TrainConfig { pieces, ..small() });
        home
    });
    let losses = |home: &tempfile::TempDir| -> Vec<f64> {
        lines(home.path(), "metrics.jsonl").iter().filter_map(|line| line["loss"].as_f64()).collect()
    };
    let (one, four) = (losses(&home[0]), losses(&home[1]));
    assert_eq!(one.len(), 12);
    one.iter().zip(four).for_each(|(one, four)| assert!((one - four).abs() < 1e-5 * one, "{one} against {four}"));
}

#[test]
fn the_last_two_and_the_best_are_kept() {
    let (home, config) = (tempfile::tempdir().unwrap(), TrainConfig { evaluate_every: Some(1), ..small() });
    let outcome = run(home.path(), &config);
    let best = outcome.best.unwrap();
    assert_eq!(best.metric, "distance/squared");
    let evaluations = lines(home.path(), "metrics.jsonl").into_iter().filter(|line| line["evaluation"].is_object());
    let values: Vec<f64> = evaluations.map(|line| line["evaluation"]["distance/squared"].as_f64().unwrap()).collect();
    let least = (1..=12).min_by(|&a: &usize, &b| values[a - 1].total_cmp(&values[b - 1])).unwrap();
    assert!((2..=9).contains(&least), "the test wants a best step in the middle, not {least} of {values:?}");
    assert_eq!(best.step, least as u64);
    let expected = [format!("step-{least:08}"), "step-00000010".into(), "step-00000012".into()];
    assert_eq!(checkpoints(home.path()), expected);
}

#[test]
fn the_configured_metric_decides() {
    let home = tempfile::tempdir().unwrap();
    let config = TrainConfig { best: Some("distance/step".into()), ..small() };
    assert_eq!(run(home.path(), &config).best.unwrap().step, 12);
    let home = tempfile::tempdir().unwrap();
    let config = TrainConfig { best: Some("recall".into()), ..small() };
    let error = run_until(home.path(), &config, None).unwrap_err().to_string();
    assert_eq!(error, "train.best: no evaluation gives `recall`; there are distance/squared, distance/step");
}

#[test]
fn another_recipe_does_not_continue_but_free_keys_may_change() {
    let home = tempfile::tempdir().unwrap();
    run_until(home.path(), &small(), Some(4)).unwrap();
    let mut other = small();
    other.optimizer.learning_rate = 0.01;
    let error = run_until(home.path(), &other, None).unwrap_err().to_string();
    assert!(error.starts_with("the recipe differs in `train.optimizer.learning_rate` (was 0.05, now 0.01)"), "{error}");
    let outcome = run(home.path(), &TrainConfig { log_every: 5, checkpoint_every: None, ..small() });
    assert_eq!(outcome.step, 12);
}

#[test]
fn records_tell_steps_parts_and_evaluations() {
    let home = tempfile::tempdir().unwrap();
    run(home.path(), &small());
    let lines = lines(home.path(), "metrics.jsonl");
    assert_eq!(lines.len(), 12 + 4);
    let first = &lines[0];
    assert_eq!((first["step"].as_u64(), first["epoch"].as_f64()), (Some(1), Some(0.25)));
    assert_eq!(first["lr"].as_f64(), Some(0.025));
    assert_eq!(first["parts"]["left"]["items"].as_u64(), Some(8));
    assert_eq!(first["parts"]["right"]["items"].as_u64(), Some(3));
    assert!(lines[1]["parts"]["right"].is_null());
    let sum =
        0.5 * (first["parts"]["left"]["value"].as_f64().unwrap() + first["parts"]["right"]["value"].as_f64().unwrap());
    assert!((first["loss"].as_f64().unwrap() - sum).abs() < 1e-6);
    assert_eq!(lines[3]["evaluation"]["distance/step"].as_f64(), Some(3.0));
    let faults = super::lines(home.path(), "faults.jsonl");
    assert_eq!(faults.len(), 3);
    assert_eq!(faults[0]["key"], "broken-2");
    assert!(super::lines(home.path(), "timing.jsonl").iter().any(|line| line["optimizer"].is_f64()));
}

#[test]
fn the_loss_goes_down() {
    let home = tempfile::tempdir().unwrap();
    let config =
        config(json!({ "epochs": 30, "ema": 0.9, "optimizer": { "learning_rate": 0.05, "weight_decay": 0.0 } }));
    let outcome = run(home.path(), &config);
    assert_eq!(outcome.step, 120);
    let losses: Vec<f64> =
        lines(home.path(), "metrics.jsonl").iter().filter_map(|line| line["loss"].as_f64()).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    assert!(mean(&losses[100..]) < 0.5 * mean(&losses[..10]), "{losses:?}");
    let find = |name: &str| outcome.evaluation.iter().find(|metric: &&Metric| metric.name == name).unwrap().value;
    assert_eq!(find("distance/step"), 120.0);
}
