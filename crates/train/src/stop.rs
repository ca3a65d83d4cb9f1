use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::TrainError;

/// A request that a run save its state and end.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// The signal's number; 0 while nothing was asked.
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// A request that [`Stop::request`] makes.
    pub fn new() -> Self {
        Self::default()
    }

    /// A request that the first SIGINT or SIGTERM makes. A second signal ends the process at once,
    /// with 128 plus its number as exit code.
    ///
    /// # Errors
    /// [`TrainError::Signals`].
    pub fn on_signals() -> Result<Self, TrainError> {
        let stop = Self::new();
        let again = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal must find the flag unset.
            flag::register_conditional_shutdown(signal, 128 + signal, again.clone())
                .and_then(|_| flag::register(signal, again.clone()))
                .and_then(|_| flag::register_usize(signal, stop.signal.clone(), signal as usize))
                .map_err(TrainError::Signals)?;
        }
        Ok(stop)
    }

    /// Asks as if this signal had come.
    pub fn request(&self, signal: i32) {
        self.signal.store(signal as usize, Ordering::SeqCst);
    }

    /// The signal that asked, if one has.
    pub fn requested(&self) -> Option<i32> {
        match self.signal.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal as i32),
        }
    }
}
