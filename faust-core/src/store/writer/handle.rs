//! The handle to the store writer, and the jobs it takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::Job;
use super::queue::{End, Queue};
use super::thread::Pace;
use crate::store::port::StoreName;
use crate::store::writer::thread;

/// A handle to the thread. It ends when the last handle is dropped; what waits then is not written.
#[derive(Clone)]
pub(crate) struct StoreWriter {
    handle: Arc<Handle>,
}

/// The writer was closed with work left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{bytes} bytes of tables were not written to the store within {within:?}; nothing is lost, but the next start \
     restores them from the changelog"
)]
pub(crate) struct Unwritten {
    /// How much was left.
    pub(crate) bytes: u64,
    /// The time it was given.
    pub(crate) within: Duration,
}

impl StoreWriter {
    /// Starts the thread. `limit_bytes` is the setting `state_memory`.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn spawn(limit_bytes: u64) -> std::io::Result<Self> {
        Self::spawn_paced(limit_bytes, Pace::default())
    }

    fn spawn_paced(limit_bytes: u64, pace: Pace) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::new(limit_bytes));
        let of_thread = Arc::clone(&queue);
        std::thread::Builder::new().name("faust-store".to_owned()).spawn(move || thread::run(&of_thread, pace))?;
        Ok(Self { handle: Arc::new(Handle { queue }) })
    }

    /// Adds a job; never blocks, and takes it even when there is no room.
    pub(crate) fn submit(&self, job: Job) {
        self.queue().push(job);
    }

    /// Bytes that wait or are being written.
    pub(crate) fn backlog(&self) -> u64 {
        self.queue().backlog()
    }

    /// False from when the backlog exceeds the limit until it is below half of it.
    pub(crate) fn has_room(&self) -> bool {
        self.queue().has_room()
    }

    /// Waits until there is room. A writer that has ended has room: its jobs fail at once.
    pub(crate) async fn room(&self) {
        self.queue().until(Queue::has_room).await;
    }

    /// Waits until every job submitted for this store before the call is written, or has failed.
    pub(crate) async fn flushed(&self, store: &StoreName) {
        let submitted = self.queue().submitted(store);
        let _awaiting = self.hurry();
        self.queue().until(|queue| queue.has_finished(store, submitted)).await;
    }

    /// Until this is dropped, jobs wait for company: somebody restores, and tables that can be read come before stores
    /// that have them. Not when much waits already, or for long.
    pub(crate) fn rest(&self) -> Wish {
        self.queue().wish(|rests, _| *rests += 1);
        Wish { queue: Arc::clone(self.queue()), take_back: |rests, _| *rests -= 1 }
    }

    /// Until this is dropped, nothing [rests](Self::rest): somebody waits for a store.
    pub(crate) fn hurry(&self) -> Wish {
        self.queue().wish(|_, awaited| *awaited += 1);
        Wish { queue: Arc::clone(self.queue()), take_back: |_, awaited| *awaited -= 1 }
    }

    /// Writes what waits, takes no more, and ends the thread. Jobs that are left fail with kind `Gone`.
    ///
    /// # Errors
    /// Time ran out: a disk is full or stuck. A write that the system holds may still end later.
    pub(crate) async fn close(self, within: Duration) -> Result<(), Unwritten> {
        let deadline = Instant::now() + within;
        self.queue().end(End::Drained);
        let queue = Arc::clone(self.queue());
        // Real time on a thread of its own, since tests may have stopped the runtime's clock.
        let ended = tokio::task::spawn_blocking(move || queue.wait_for_end(deadline)).await;
        let bytes = self.backlog();
        self.queue().end(End::Abandoned);
        if ended.unwrap_or(false) { Ok(()) } else { Err(Unwritten { bytes, within }) }
    }

    fn queue(&self) -> &Arc<Queue> {
        &self.handle.queue
    }
}

/// Holds as long as it lives.
pub(crate) struct Wish {
    queue: Arc<Queue>,
    take_back: fn(&mut usize, &mut usize),
}

impl Drop for Wish {
    fn drop(&mut self) {
        self.queue.wish(self.take_back);
    }
}

/// Ends the thread when the last clone goes.
struct Handle {
    queue: Arc<Queue>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.end(End::Abandoned);
    }
}

#[cfg(test)]
mod tests;
