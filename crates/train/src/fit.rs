use std::{ops::Range, time::Instant};

use sensorium_contract::{Seed, Trainable};
use sensorium_samples::{LoadError, LoadedBatch};
use sensorium_state::RunDirectory;
use serde_json::Value;

use crate::{
    Best, Display, Evaluator, Metric, Stop, TrainConfig, TrainError, checkpoint,
    journal::Journal,
    training::{Evaluated, StepSettings, Stepped, Training},
};

/// Keys of a recipe that may change while a run is going on: they change no weight.
pub const FREE_KEYS: [&str; 3] = ["train.evaluate_every", "train.checkpoint_every", "train.log_every"];

/// Batches of consecutive steps, in their order.
pub type BatchStream = Box<dyn Iterator<Item = Result<LoadedBatch, LoadError>>>;

/// The batches of the given steps, counted from 0. A step's batch must be the same whatever step
/// the stream begins with.
pub type Batches<'a> = Box<dyn FnMut(Range<u64>) -> BatchStream + 'a>;

/// Everything that a training run needs beside the model.
pub struct Session<'a, T> {
    /// The recipe's `[train]` table.
    pub config: &'a TrainConfig,
    /// The whole resolved recipe, as an object; a run goes on only with the one it was begun with.
    pub recipe: &'a Value,
    /// Further keys of it that may change while the run is going on, beside [`FREE_KEYS`]:
    /// numbers of threads, sizes of caches.
    pub free_keys: &'a [&'a str],
    /// The run's seed.
    pub seed: Seed,
    /// Steps until each sample was drawn once.
    pub steps_per_epoch: u64,
    /// The data.
    pub batches: Batches<'a>,
    /// What is measured on the way.
    pub evaluators: Vec<Box<dyn Evaluator<T> + 'a>>,
    /// Where everything goes, and where a run that was begun continues.
    pub run: &'a RunDirectory,
    /// A request to end early.
    pub stop: Stop,
    /// What the user sees.
    pub display: Display,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All steps are done.
    Finished,
    /// A signal came; the state is saved and the same call continues. A program should exit with
    /// 128 plus the signal's number (130 for SIGINT, 143 for SIGTERM).
    Interrupted {
        /// The signal's number.
        signal: i32,
    },
}

/// What a run gives.
#[derive(Debug)]
pub struct Outcome<T> {
    /// The model, without autodiff; with the averaged weights if an average is kept.
    pub model: T,
    /// Steps done.
    pub step: u64,
    /// Why it ended.
    pub ended: Ended,
    /// The best evaluation; its checkpoint is in the run directory.
    pub best: Option<Best>,
    /// What the last evaluation found, names as in `metrics.jsonl`.
    pub evaluation: Vec<Metric>,
}

/// Trains a model to the end of its recipe, or until it is asked to stop.
///
/// A run directory that holds checkpoints is continued from the last whole one, and ends in the
/// same weights and records as if it had never stopped.
///
/// # Errors
/// [`TrainError`]; the run directory then holds the last checkpoint from before.
pub fn fit<T: Trainable>(model: T, mut session: Session<'_, T>) -> Result<Outcome<T>, TrainError> {
    let settings = session.settings()?;
    session.config.check_devices(&model)?;
    session.claim()?;
    let start = checkpoint::start(model, session.config, session.run)?;
    start.remarks.iter().for_each(|remark| session.display.say(remark));
    let mut training = start.training;
    let mut journal = Journal::open(session.run, training.step, start.metrics_length)?;
    session.display.begin(training.step, settings.steps);
    let mut stream = None;
    loop {
        let signal = session.stop.requested();
        let evaluated = match training.pending && signal.is_none() {
            true => Some(session.evaluate(&mut training, &mut journal, settings)?),
            false => None,
        };
        let exhausted = training.step == settings.steps || session.is_out_of_patience(&training, settings);
        let finished = exhausted && !training.pending;
        if session.must_save(&training, settings, signal.is_some() || finished, evaluated) {
            let begin = Instant::now();
            journal.sync()?;
            checkpoint::save(&mut training, session.run, journal.metrics_length())?;
            journal.checkpoint(training.step, begin.elapsed())?;
        }
        match (finished, signal) {
            (true, _) => return Ok(session.outcome(training, Ended::Finished)),
            (false, Some(signal)) => return Ok(session.outcome(training, Ended::Interrupted { signal })),
            (false, None) => {}
        }
        let stream = stream.get_or_insert_with(|| (session.batches)(training.step..settings.steps));
        let Some(loaded) = stream.next() else {
            return Err(TrainError::DataEnded { step: training.step + 1, steps: settings.steps });
        };
        let loaded = loaded?;
        let Stepped { training: stepped, record, time } = training.advance(&loaded, settings)?;
        training = stepped;
        training.pending = session.evaluation_is_due(training.step, settings);
        journal.faults(training.step, &loaded.faults)?;
        if is_due(training.step, session.config.log_every, settings.steps) {
            journal.step(&record, time)?;
        }
        session.display.step(&record, time);
    }
}

fn is_due(step: u64, every: u64, steps: u64) -> bool {
    step.is_multiple_of(every) || step == steps
}

impl<'a, T: Trainable> Session<'a, T> {
    fn settings(&self) -> Result<StepSettings<'a>, TrainError> {
        self.config.check()?;
        let steps = self.config.total_steps(self.steps_per_epoch)?;
        Ok(StepSettings { config: self.config, seed: self.seed, steps, steps_per_epoch: self.steps_per_epoch })
    }

    fn claim(&self) -> Result<(), TrainError> {
        let free: Vec<&str> = FREE_KEYS.iter().chain(self.free_keys).copied().collect();
        Ok(self.run.claim(self.recipe, &free)?)
    }

    fn evaluation_is_due(&self, step: u64, settings: StepSettings<'_>) -> bool {
        let every = self.config.evaluation_interval(settings.steps, settings.steps_per_epoch);
        !self.evaluators.is_empty() && is_due(step, every, settings.steps)
    }

    /// Whether so many evaluations found nothing better that the run ends.
    fn is_out_of_patience(&self, training: &Training<T>, settings: StepSettings<'_>) -> bool {
        let every = self.config.evaluation_interval(settings.steps, settings.steps_per_epoch);
        let (Some(patience), Some(best)) = (self.config.patience, &training.best) else { return false };
        training.step.saturating_sub(best.step) >= patience.saturating_mul(every)
    }

    fn must_save(
        &self,
        training: &Training<T>,
        settings: StepSettings<'_>,
        ends: bool,
        evaluated: Option<bool>,
    ) -> bool {
        let every = self.config.checkpoint_every.unwrap_or((settings.steps / 20).max(1));
        let due = ends || is_due(training.step, every, settings.steps);
        match evaluated {
            // A checkpoint that there may be of this step says that its evaluation is still to be done.
            Some(improved) => improved || due,
            None => due && training.step > 0 && training.saved != Some(training.step),
        }
    }

    /// Whether the model is the best so far.
    fn evaluate(
        &mut self,
        training: &mut Training<T>,
        journal: &mut Journal,
        settings: StepSettings<'_>,
    ) -> Result<bool, TrainError> {
        let Evaluated { improved, time } = training.evaluate(&mut self.evaluators, self.config.best.as_deref())?;
        let step = training.step;
        journal.evaluation(step, settings.epoch(step), &training.evaluation, time)?;
        let decisive = training.best.as_ref().map(|best| &best.metric);
        let now = training.evaluation.iter().find(|metric| Some(&metric.name) == decisive);
        if let (Some(now), Some(best)) = (now, &training.best) {
            let line =
                format!("step {step}: {} {:.4} (best {:.4} at step {})", now.name, now.value, best.value, best.step);
            self.display.say(&line);
        }
        Ok(improved)
    }

    fn outcome(&self, training: Training<T>, ended: Ended) -> Outcome<T> {
        self.display.end();
        let model = training.finished_model();
        Outcome { model, step: training.step, ended, best: training.best, evaluation: training.evaluation }
    }
}
