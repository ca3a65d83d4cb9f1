//! The one thread that owns the model, and the bounded queue before it.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use sensorium_contract::{Decoded, Embedder, Item, Name, Preparation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{Settings, error::Refusal, metrics::Metrics};

/// A vector of length 1.
pub(crate) type Vector = Vec<f32>;

/// One item that waits for its vector.
struct Job {
    name: Name,
    item: Item,
    since: Instant,
    answer: oneshot::Sender<Result<Vector, Refusal>>,
    /// Its place in the queue, free again when it is answered.
    _place: Option<OwnedSemaphorePermit>,
}

/// The way to the model. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Queue {
    jobs: Sender<Job>,
    places: Arc<Semaphore>,
    size: usize,
    batch: usize,
    /// How long the last batch took, in microseconds.
    pace: Arc<AtomicU64>,
}

impl Queue {
    /// Starts the model's thread. It ends when the last clone of the queue is gone.
    pub fn start(
        model: Box<dyn Embedder + Send>,
        preparation: Arc<Preparation>,
        settings: &Settings,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = channel();
        let pace = Arc::new(AtomicU64::new(0));
        let worker =
            Worker { model, preparation, metrics, pace: pace.clone(), batch: settings.batch, wait: settings.wait };
        thread::Builder::new().name("model".to_owned()).spawn(move || worker.run(&waiting))?;
        let places = Arc::new(Semaphore::new(settings.queue));
        Ok(Self { jobs, places, size: settings.queue, batch: settings.batch, pace })
    }

    /// Places for so many items, taken before any work is done for them.
    pub fn reserve(&self, items: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        if items > self.size {
            let message = format!("at most {} items in a request, found {items}", self.size);
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        // Not more than the queue's size, which is far below 2³².
        self.places.clone().try_acquire_many_owned(items as u32).map_err(|_| self.busy())
    }

    /// Whether there is any place: if not, a request need not even be looked at.
    pub fn refuse_if_full(&self) -> Result<(), Refusal> {
        if self.places.available_permits() == 0 { Err(self.busy()) } else { Ok(()) }
    }

    fn busy(&self) -> Refusal {
        Refusal::busy("the queue is full; try again later", self.seconds_to_empty())
    }

    /// Items that are taken in and not yet answered.
    pub fn waiting(&self) -> usize {
        self.size - self.places.available_permits()
    }

    fn seconds_to_empty(&self) -> u64 {
        let batches = self.size.div_ceil(self.batch) as u64;
        (batches * self.pace.load(Ordering::Relaxed)).div_ceil(1_000_000).max(1)
    }

    /// The vectors of some items, in their order.
    pub async fn embed(
        &self,
        items: Vec<(Name, Item)>,
        mut places: OwnedSemaphorePermit,
    ) -> Result<Vec<Vector>, Refusal> {
        let since = Instant::now();
        let mut answers = Vec::with_capacity(items.len());
        for (name, item) in items {
            let (answer, answered) = oneshot::channel();
            let job = Job { name, item, since, answer, _place: places.split(1) };
            self.jobs.send(job).map_err(|_| Refusal::fault("the model's thread has ended"))?;
            answers.push(answered);
        }
        let mut vectors = Vec::with_capacity(answers.len());
        for answered in answers {
            vectors.push(answered.await.map_err(|_| Refusal::fault("the model's thread has ended"))??);
        }
        Ok(vectors)
    }
}

/// What the thread owns.
struct Worker {
    model: Box<dyn Embedder + Send>,
    preparation: Arc<Preparation>,
    metrics: Arc<Metrics>,
    pace: Arc<AtomicU64>,
    batch: usize,
    wait: Duration,
}

impl Worker {
    fn run(&self, waiting: &Receiver<Job>) {
        while let Ok(first) = waiting.recv() {
            let jobs = self.gather(first, waiting);
            if jobs.is_empty() {
                continue;
            }
            let begin = Instant::now();
            let count = jobs.len();
            self.answer(jobs);
            self.pace.store(begin.elapsed().as_micros() as u64, Ordering::Relaxed);
            self.metrics.batch(count, begin.elapsed());
        }
    }

    /// What is asked until the batch is full, or its first item has waited long enough. Items whose
    /// clients have gone are dropped.
    fn gather(&self, first: Job, waiting: &Receiver<Job>) -> Vec<Job> {
        let until = first.since + self.wait;
        let mut jobs = vec![first];
        while jobs.len() < self.batch {
            match waiting.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(job) => jobs.push(job),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        jobs.retain(|job| !job.answer.is_closed());
        jobs
    }

    /// Embeds a batch. If that panics, each item is embedded alone, so that none has to answer for another.
    fn answer(&self, jobs: Vec<Job>) {
        let items: Vec<(Name, Item)> = jobs.iter().map(|job| (job.name.clone(), job.item.clone())).collect();
        match catch_unwind(AssertUnwindSafe(|| self.embed(items))) {
            Ok(vectors) => {
                let answer = |(job, vector): (Job, Option<Vector>)| job.answer.send(vector.ok_or_else(no_vector));
                jobs.into_iter().zip(vectors).map(answer).for_each(drop);
            }
            Err(_) if jobs.len() > 1 => jobs.into_iter().for_each(|job| self.answer(vec![job])),
            Err(_) => {
                jobs.into_iter().for_each(|job| drop(job.answer.send(Err(Refusal::fault("the model panicked")))));
            }
        }
    }

    /// The items' vectors, in their order; nothing where a vector is not made of numbers.
    fn embed(&self, items: Vec<(Name, Item)>) -> Vec<Option<Vector>> {
        let count = items.len();
        let names: Vec<Name> = items.iter().map(|(name, _)| name.clone()).collect();
        let sample = |(name, item)| (String::new(), Decoded::from([(name, item)]));
        let batch = self.preparation.collate(items.into_iter().map(sample).collect());
        let mut found: BTreeMap<usize, Vector> = BTreeMap::new();
        for (name, embeddings) in self.model.embed(&batch) {
            let rows = embeddings.rows.iter().zip(embeddings.vectors.outer_iter());
            found.extend(rows.filter(|(row, _)| names[**row] == name).map(|(row, vector)| (*row, vector.to_vec())));
        }
        let finite = |vector: &Vector| vector.iter().all(|value| value.is_finite());
        (0..count).map(|row| found.remove(&row).filter(finite)).collect()
    }
}

fn no_vector() -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "the model gives no vector for this")
}
