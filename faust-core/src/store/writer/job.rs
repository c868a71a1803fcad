//! A job of the store writer: the changes of one seal in one store.

use std::sync::Arc;

use crate::store::port::{Store, StoreError, StoreName};
use crate::store::sealed::Sealed;

/// The changes of one seal to one store.
pub(crate) struct Job {
    /// The store to write to. Jobs of the same store are written in the order in which they were submitted.
    pub(crate) store: Arc<dyn Store>,
    /// The store's name, by which others wait for the jobs.
    pub(crate) name: StoreName,
    /// The changes.
    pub(crate) batch: Arc<Sealed>,
    /// The position in the changelog that the store has reached with these changes.
    pub(crate) mark: Vec<u8>,
    /// Callback with the result. It is called once, on the writer's thread, and must not block.
    pub(crate) done: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

impl Job {
    /// Returns the bytes that the job counts toward the limit.
    pub(super) fn size_bytes(&self) -> u64 {
        self.batch.size_bytes() + (size_of::<Self>() + self.mark.len()) as u64
    }
}
