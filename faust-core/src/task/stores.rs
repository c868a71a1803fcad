//! The stores of a worker's tables, with their writer and their memory budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::config::Settings;
use crate::error::Error;
use crate::store::{PriorityGuard, Store, StoreError, StoreName, StoreSet, StoreWriter};
use crate::table_state::CacheBudget;

/// The stores of a worker, shared by its tasks.
pub(crate) struct WorkerStores {
    /// `None` if tables are kept in memory only.
    set: Option<Arc<dyn StoreSet>>,
    writer: StoreWriter,
    budget: Arc<CacheBudget>,
    /// Calls to stores in progress on other threads.
    calls: Arc<AtomicUsize>,
}

impl WorkerStores {
    /// Starts the writer.
    ///
    /// # Errors
    /// The writer's thread cannot be started.
    pub(crate) fn new(set: Option<Arc<dyn StoreSet>>, settings: &Settings) -> Result<Self, Error> {
        let writer = StoreWriter::spawn(settings.state_memory.0)
            .map_err(|error| Error::LocalState(format!("cannot start the store writer's thread: {error}")))?;
        let budget = CacheBudget::new(settings.table_cache_memory.0);
        Ok(Self { set, writer, budget, calls: Arc::default() })
    }

    pub(crate) fn writer(&self) -> &StoreWriter {
        &self.writer
    }

    pub(super) fn budget(&self) -> &Arc<CacheBudget> {
        &self.budget
    }

    /// Returns the number of damaged databases that were moved aside at start.
    pub(super) fn set_aside(&self) -> u64 {
        self.set.as_ref().map_or(0, |set| set.set_aside())
    }

    /// Returns the size of the stores on disk in bytes; `None` without any.
    pub(crate) async fn on_disk(&self) -> Result<Option<u64>, Error> {
        let Some(set) = self.set.clone() else { return Ok(None) };
        let size = self.blocking(move || set.size_on_disk()).await;
        size.map(Some).map_err(|error| Error::LocalState(error.to_string()))
    }

    /// Returns the number of bytes that are pending to be written.
    pub(crate) fn backlog(&self) -> u64 {
        self.writer.backlog()
    }

    /// Returns the number of bytes that the tables hold in memory.
    pub(crate) fn memory(&self) -> u64 {
        self.budget.used()
    }

    /// Opens a store, after its pending writes have completed.
    pub(super) async fn open(&self, name: &StoreName) -> Result<Option<Arc<dyn Store>>, StoreError> {
        let Some(set) = self.set.clone() else { return Ok(None) };
        self.writer.flushed(name).await;
        let name = name.clone();
        self.blocking(move || set.open(&name)).await.map(Some)
    }

    /// Replaces a store with an empty one.
    pub(super) async fn recreate(&self, name: &StoreName) -> Result<Option<Arc<dyn Store>>, StoreError> {
        let Some(set) = self.set.clone() else { return Ok(None) };
        let name = name.clone();
        let recreate = move || {
            set.destroy(&name)?;
            set.open(&name)
        };
        self.blocking(recreate).await.map(Some)
    }

    /// Waits for pending writes, and closes the stores.
    pub(crate) async fn close(&self, within: Duration) {
        if self.set.is_none() {
            return;
        }
        let _calling = Calling::begin(&self.calls);
        if let Err(unwritten) = self.writer.clone().close(within).await {
            tracing::warn!("the stores were closed with pending writes: {unwritten}");
        }
    }

    /// Returns `true` while other threads work for the stores. Their time is the system's, not the test driver's.
    pub(crate) fn is_busy(&self) -> bool {
        self.calls.load(Ordering::Acquire) > 0 || self.writer.backlog() > 0
    }

    /// Makes the writer write without delay until the guard is dropped.
    pub(crate) fn prioritize(&self) -> PriorityGuard {
        self.writer.prioritize()
    }

    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // IMPORTANT: the guard is held by the call as well as by the caller, which may be dropped before the call ends.
        let calling = Calling::begin(&self.calls);
        let of_call = Arc::clone(&calling);
        let called = tokio::task::spawn_blocking(move || {
            let _until_over = of_call;
            call()
        });
        let called = called.await;
        drop(calling);
        match called {
            Ok(result) => result,
            // The call panicked: it is not cancelled, because the runtime outlives the worker.
            Err(join) => std::panic::resume_unwind(join.into_panic()),
        }
    }
}

/// A call to a store on another thread, counted until it has returned and its result was taken.
struct Calling(Arc<AtomicUsize>);

impl Calling {
    fn begin(calls: &Arc<AtomicUsize>) -> Arc<Self> {
        calls.fetch_add(1, Ordering::AcqRel);
        Arc::new(Self(Arc::clone(calls)))
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
