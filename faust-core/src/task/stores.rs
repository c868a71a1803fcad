//! The stores of a worker's tables, with their writer and their memory budget.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use super::leases::StoreLeases;
use crate::config::Settings;
use crate::error::Error;
use crate::store::{Store, StoreError, StoreName, StoreSet, StoreWriter};
use crate::table_state::CacheBudget;

/// The stores of a worker, shared by its tasks.
pub(crate) struct WorkerStores {
    /// `None` if tables are kept in memory only, and once the worker has ended: its handle must not keep the stores locked.
    set: std::sync::Mutex<Option<Arc<dyn StoreSet>>>,
    is_stepped: bool,
    writer: StoreWriter,
    budget: Arc<CacheBudget>,
    leases: StoreLeases,
    /// The standby that passes a batch to the writer.
    standby_turn: Mutex<()>,
}

impl WorkerStores {
    /// Starts the writer.
    ///
    /// # Errors
    /// The writer's thread cannot be started.
    pub(crate) fn new(set: Option<Arc<dyn StoreSet>>, settings: &Settings) -> Result<Self, Error> {
        let limit = settings.state_memory.0;
        let is_stepped = is_stepped(set.as_ref());
        let writer = if is_stepped {
            StoreWriter::stepped(limit)
        } else {
            StoreWriter::spawn(limit)
                .map_err(|error| Error::LocalState(format!("cannot start the store writer's thread: {error}")))?
        };
        let budget = CacheBudget::new(settings.table_cache_memory.0);
        Ok(Self {
            set: std::sync::Mutex::new(set),
            is_stepped,
            writer,
            budget,
            leases: StoreLeases::default(),
            standby_turn: Mutex::default(),
        })
    }

    fn set(&self) -> Option<Arc<dyn StoreSet>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn writer(&self) -> &StoreWriter {
        &self.writer
    }

    pub(super) fn budget(&self) -> &Arc<CacheBudget> {
        &self.budget
    }

    /// Returns the number of damaged databases that were moved aside at start.
    pub(super) fn set_aside(&self) -> u64 {
        self.set().map_or(0, |set| set.set_aside())
    }

    /// Returns the size of the stores on disk in bytes; `None` without any.
    pub(crate) async fn on_disk(&self) -> Result<Option<u64>, Error> {
        let Some(set) = self.set() else { return Ok(None) };
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

    /// Returns the leases of the stores.
    pub(crate) fn leases(&self) -> &StoreLeases {
        &self.leases
    }

    /// Waits for the turn of a standby to pass a batch to the writer: the changes of this worker's own tables come first, and the
    /// other standbys wait. So a takeover never waits for more than a batch to be written.
    pub(super) async fn standby_turn(&self) -> MutexGuard<'_, ()> {
        let turn = self.standby_turn.lock().await;
        self.writer.quiet().await;
        turn
    }

    /// Returns whether there are stores: tables that are kept in memory only have none, nor has a worker that has ended.
    pub(super) fn are_there(&self) -> bool {
        self.set().is_some()
    }

    /// Opens a store, after its pending writes have completed.
    pub(super) async fn open(&self, name: &StoreName) -> Result<Option<Arc<dyn Store>>, StoreError> {
        let Some(set) = self.set() else { return Ok(None) };
        self.writer.flushed(name).await;
        let name = name.clone();
        self.blocking(move || set.open(&name)).await.map(Some)
    }

    /// Replaces a store with an empty one.
    pub(super) async fn recreate(&self, name: &StoreName) -> Result<Option<Arc<dyn Store>>, StoreError> {
        let Some(set) = self.set() else { return Ok(None) };
        let name = name.clone();
        let recreate = move || {
            set.destroy(&name)?;
            set.open(&name)
        };
        self.blocking(recreate).await.map(Some)
    }

    /// Waits for pending writes, and closes the stores.
    pub(crate) async fn close(&self, within: Duration) {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner).take();
        if set.is_none() {
            return;
        }
        if let Err(unwritten) = self.writer.clone().close(within).await {
            tracing::warn!("the stores were closed with pending writes: {unwritten}");
        }
    }

    /// Makes the pending writes of stores that have no thread for them. Returns whether any was completed.
    pub(crate) fn step(&self) -> bool {
        self.writer.step()
    }

    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.is_stepped {
            return call();
        }
        match tokio::task::spawn_blocking(call).await {
            Ok(result) => result,
            // The call panicked: it is not cancelled, because the runtime outlives the worker.
            Err(join) => std::panic::resume_unwind(join.into_panic()),
        }
    }
}

fn is_stepped(set: Option<&Arc<dyn StoreSet>>) -> bool {
    set.is_some_and(|set| set.is_stepped())
}
