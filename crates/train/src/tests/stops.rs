use super::*;

fn run_with(
    directory: &Path,
    config: &TrainConfig,
    change: impl Fn(u64, LoadedBatch) -> LoadedBatch + Clone + 'static,
) -> Result<Outcome<Regression>, TrainError> {
    let stream = move |steps: std::ops::Range<u64>| -> BatchStream {
        let change = change.clone();
        Box::new(steps.map(move |step| Ok(change(step, loaded(step)))))
    };
    run_on(directory, config, Box::new(stream), Stop::new())
}

fn poison(batch: &mut Batch, part: &str, name: &'static str, value: f32) {
    let part = batch.parts.get_mut(&Name::new(part)).unwrap();
    let mut array = part.arrays.f32(name).clone();
    array[[0, 0]] = value;
    part.arrays = std::mem::take(&mut part.arrays).with(name, Array::F32(array));
}

#[test]
fn a_loss_that_is_not_a_number_stops_the_run() {
    let home = tempfile::tempdir().unwrap();
    let error = run_with(home.path(), &small(), |step, mut loaded| {
        if step == 4 {
            poison(&mut loaded.batch, "right", "y", f32::NAN);
        }
        loaded
    })
    .unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("step 5: the loss of `right` is NaN; the batch's samples: sample-32, "), "{message}");
    assert!(message.ends_with(", sample-39"), "{message}");
    assert_eq!(checkpoints(home.path()), ["step-00000003", "step-00000004"]);
    assert_eq!(lines(home.path(), "metrics.jsonl").last().unwrap()["step"], 4);
}

#[test]
fn a_gradient_that_is_not_finite_stops_the_run() {
    let home = tempfile::tempdir().unwrap();
    let error = run_with(home.path(), &small(), |step, mut loaded| {
        if step == 1 {
            // The loss is still finite, the square of its gradient is not.
            poison(&mut loaded.batch, "left", "y", 1e19);
            poison(&mut loaded.batch, "left", "x", 1e3);
        }
        loaded
    })
    .unwrap_err();
    assert!(
        matches!(&error, TrainError::NonFinite { step: 2, what, .. } if what == "the gradient of `weight`"),
        "{error}"
    );
}

#[test]
fn an_empty_batch_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let outcome = run_with(home.path(), &small(), |step, mut loaded| {
        if step == 4 {
            loaded.batch = Batch::default();
        }
        loaded
    });
    assert_eq!(outcome.unwrap().step, 12);
    let line = &lines(home.path(), "metrics.jsonl")[5];
    assert_eq!(
        (line["step"].as_u64(), line["loss"].as_f64(), line["grad_norm"].as_f64()),
        (Some(5), Some(0.0), Some(0.0))
    );
}

#[test]
fn data_that_ends_early_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let stream = |steps: std::ops::Range<u64>| -> BatchStream { Box::new(steps.take(5).map(|step| Ok(loaded(step)))) };
    let error = run_on(home.path(), &small(), Box::new(stream), Stop::new()).unwrap_err();
    assert_eq!(error.to_string(), "the data ended before step 6 of 12");
}

#[test]
fn a_checkpoint_that_cannot_be_written_is_named() {
    let home = tempfile::tempdir().unwrap();
    let checkpoints = home.path().join("checkpoints");
    let error = run_with(home.path(), &small(), move |step, loaded| {
        if step == 5 {
            fs::remove_dir_all(&checkpoints).unwrap();
            fs::write(&checkpoints, b"in the way").unwrap();
        }
        loaded
    })
    .unwrap_err();
    assert!(error.to_string().contains("checkpoints"), "{error}");
    assert!(matches!(error, TrainError::State(_)));
}

#[test]
fn an_evaluator_that_fails_is_named() {
    struct Fails;
    impl Evaluator<Regression> for Fails {
        fn name(&self) -> &str {
            "retrieval"
        }
        fn evaluate(
            &mut self,
            _: &Regression,
            _: u64,
        ) -> Result<Vec<Metric>, Box<dyn std::error::Error + Send + Sync>> {
            Err("no pair".into())
        }
    }
    let (home, config) = (tempfile::tempdir().unwrap(), small());
    let run = RunDirectory::open_or_create(home.path()).unwrap();
    let session = Session {
        config: &config,
        recipe: &json!({}),
        free_keys: &[],
        seed: Seed::new(0),
        steps_per_epoch: 4,
        batches: Box::new(|steps| Box::new(steps.map(|step| Ok(loaded(step))))),
        evaluators: vec![Box::new(Fails)],
        run: &run,
        stop: Stop::new(),
        display: Display::quiet(),
    };
    let error = fit(Regression::new(&device()), session).unwrap_err();
    assert_eq!(error.to_string(), "step 3: evaluation `retrieval`: no pair");
}

#[test]
fn only_one_process_writes_to_a_run() {
    let home = tempfile::tempdir().unwrap();
    let _run = RunDirectory::open_or_create(home.path()).unwrap();
    let error = RunDirectory::open_or_create(home.path()).unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
}
