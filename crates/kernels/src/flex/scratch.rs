//! Memory that each thread keeps for its part of an operation.

use std::cell::RefCell;

use super::{attend, buffer::Buffer, panels::Panels};

/// Buffers whose numbers mean nothing between two uses.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) attention: attend::Scratch,
    pub(crate) panels: [Panels; 2],
    pub(crate) rows: [Buffer; 9],
}

/// Lends this thread's memory to `work`, which must not itself wait for other threads: one whose
/// work is taken over in the meantime would find the memory in use.
pub(crate) fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(work)
}
