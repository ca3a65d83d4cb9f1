//! Who may still come in while the server ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, response::Response};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// More requests than there can be at a time.
const MOST: u32 = 1 << 20;

/// Counts the requests that are being answered, and lets no more in once the server ends.
pub(crate) struct Gate {
    open: AtomicBool,
    requests: Arc<Semaphore>,
}

impl Gate {
    /// Open.
    pub fn new() -> Self {
        Self { open: AtomicBool::new(true), requests: Arc::new(Semaphore::new(MOST as usize)) }
    }

    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    /// A pass for one request, to be kept until it is answered; nothing once the gate is closed.
    pub fn enter(&self) -> Option<OwnedSemaphorePermit> {
        self.is_open().then(|| self.requests.clone().try_acquire_owned().ok()).flatten()
    }

    /// From now on nobody enters.
    pub fn close(&self) {
        self.open.store(false, Ordering::SeqCst);
    }

    /// Waits until all who entered have left; whether they did in time.
    pub async fn empty(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.requests.acquire_many(MOST)).await.is_ok()
    }
}

/// A response that keeps its pass until its body is sent or given up.
pub(crate) fn until_sent(response: Response, pass: OwnedSemaphorePermit) -> Response {
    response.map(|body| {
        Body::new(body.map_err(move |error| {
            // The closure, and the pass in it, live as long as the body.
            let _pass = &pass;
            error
        }))
    })
}
