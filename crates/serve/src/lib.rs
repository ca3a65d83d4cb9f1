//! A model behind HTTP: embeddings, search, and a page.
//!
//! [`serve`] answers until it is asked to end. One thread owns the model; what all connections ask is
//! embedded in batches. Whatever a client sends, the answer is bounded in time and memory: requests
//! beyond the queue are answered with 429, long bodies with 413, slow ones with 408, and what cannot
//! be decoded with 400 and the reason.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batch;
mod body;
mod collection;
mod content;
mod embeddings;
mod error;
mod gate;
mod inputs;
mod items;
mod listen;
mod metrics;
mod page;
mod routes;
mod search;
mod service;
mod settings;
mod status;
#[cfg(test)]
mod tests;
mod warm;
mod wire;

use std::{net::SocketAddr, sync::Arc, thread::available_parallelism};

use tokio::{net::TcpListener, runtime::Builder};

pub use collection::{Collection, Hit};
pub use content::{Input, Kind};
pub use error::ServeError;
pub use service::Served;
pub use settings::{ApiKey, Settings};

/// Threads that wait for clients; they do nothing else.
const THREADS: usize = 2;

/// Serves a model until SIGTERM or SIGINT, and returns when all that was begun is answered.
/// `listening` is told the address as soon as requests are answered.
///
/// # Errors
/// If the settings are not safe, the model does not answer, the address cannot be had, or requests
/// were still unanswered when the time for that was over.
pub fn serve(served: Served, settings: &Settings, listening: impl FnOnce(SocketAddr)) -> Result<(), ServeError> {
    settings.check()?;
    let service = Arc::new(service::Service::start(served, settings)?);
    let cores = available_parallelism().map_or(1, |cores| cores.get());
    let runtime =
        Builder::new_multi_thread().worker_threads(THREADS).max_blocking_threads(cores).enable_all().build()?;
    let ended = runtime.block_on(async {
        let failed = |source| ServeError::Listen { address: settings.listen, source };
        let stop = listen::Stop::on_signals()?;
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        listening(listener.local_addr().map_err(failed)?);
        listen::listen(listener, stop, service, settings).await
    });
    runtime.shutdown_background();
    ended
}
