//! What workers have still to do, are doing, and have done.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{Finished, Loaded};

/// Batches of consecutive steps, each made in chunks by several workers.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Most batches that are worked on or ready.
    ahead: usize,
    state: Mutex<State>,
    /// There may be a chunk to work on.
    work: Condvar,
    /// A batch is ready.
    ready: Condvar,
}

#[derive(Debug)]
struct State {
    /// Steps for which nothing was begun.
    steps: Range<u64>,
    /// In the order of their steps.
    jobs: VecDeque<Job>,
    stopped: bool,
}

/// A batch in the making.
#[derive(Debug)]
struct Job {
    step: u64,
    samples: Arc<[usize]>,
    /// Samples that workers have taken.
    taken: usize,
    /// Samples that are not loaded yet.
    missing: usize,
    loaded: Vec<Option<Loaded>>,
    finished: Option<Finished>,
}

/// A part of a batch for one worker.
pub(crate) struct Task {
    pub step: u64,
    /// The whole batch.
    pub samples: Arc<[usize]>,
    /// The worker's part of it.
    pub chunk: Range<usize>,
}

impl Queue {
    pub fn new(steps: Range<u64>, ahead: usize) -> Self {
        let state = State { steps, jobs: VecDeque::new(), stopped: false };
        Self { ahead, state: Mutex::new(state), work: Condvar::new(), ready: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece of work, of the earliest batch that has any; waits for it. Nothing if there
    /// will be no more. `batch` tells the samples of a step.
    pub fn task(&self, chunk: usize, batch: impl Fn(u64) -> Vec<usize>) -> Option<Task> {
        let mut state = self.state();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(job) = state.jobs.iter_mut().find(|job| job.taken < job.samples.len()) {
                let chunk = job.taken..(job.taken + chunk).min(job.samples.len());
                job.taken = chunk.end;
                return Some(Task { step: job.step, samples: job.samples.clone(), chunk });
            }
            if state.jobs.len() < self.ahead && !state.steps.is_empty() {
                let step = state.steps.start;
                state.steps.start += 1;
                let job = Job::new(step, batch(step).into());
                state.jobs.push_back(job);
                self.work.notify_all();
            } else if state.steps.is_empty() {
                return None;
            } else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Hands in loaded samples; the whole batch if these were the last of it.
    pub fn put(&self, step: u64, first: usize, loaded: Vec<Loaded>) -> Option<Vec<Loaded>> {
        let mut state = self.state();
        let job = state.jobs.iter_mut().find(|job| job.step == step)?;
        job.missing -= loaded.len();
        for (slot, sample) in job.loaded[first..].iter_mut().zip(loaded) {
            *slot = Some(sample);
        }
        (job.missing == 0).then(|| std::mem::take(&mut job.loaded).into_iter().flatten().collect())
    }

    /// Hands in a batch.
    pub fn finish(&self, step: u64, finished: Finished) {
        let mut state = self.state();
        if let Some(job) = state.jobs.iter_mut().find(|job| job.step == step) {
            job.finished = Some(finished);
        }
        self.ready.notify_all();
    }

    /// Waits for the batch of a step, which must be the earliest that was not taken yet.
    pub fn take(&self, step: u64) -> Finished {
        let mut state = self.state();
        loop {
            let first = state.jobs.front_mut().filter(|job| job.step == step);
            if let Some(finished) = first.and_then(|job| job.finished.take()) {
                state.jobs.pop_front();
                self.work.notify_all();
                return finished;
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the workers' loops.
    pub fn stop(&self) {
        self.state().stopped = true;
        self.work.notify_all();
    }
}

impl Job {
    fn new(step: u64, samples: Arc<[usize]>) -> Self {
        let missing = samples.len();
        let loaded = (0..missing).map(|_| None).collect();
        Self { step, samples, taken: 0, missing, loaded, finished: None }
    }
}
