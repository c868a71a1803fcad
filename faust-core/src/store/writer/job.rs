//! A job of the store writer: the changes of one seal in one store.

use std::sync::Arc;

use crate::store::port::{Store, StoreError, StoreName};
use crate::store::sealed::Sealed;

/// What one cut has changed in one store.
pub(crate) struct Job {
    /// Where to write it.
    pub(crate) store: Arc<dyn Store>,
    /// The store's name: jobs of one name are written in the order in which they were submitted.
    pub(crate) name: StoreName,
    /// The changes.
    pub(crate) batch: Arc<Sealed>,
    /// How far in the changelog the store is with them.
    pub(crate) mark: Vec<u8>,
    /// Called once, on the writer's thread: it must not block.
    pub(crate) done: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

impl Job {
    /// What it counts against the limit.
    pub(super) fn size_bytes(&self) -> u64 {
        self.batch.size_bytes() + (size_of::<Self>() + self.mark.len()) as u64
    }
}
