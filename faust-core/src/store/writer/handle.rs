//! The handle to the store writer, and the jobs it takes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::job::Job;
use super::queue::{End, Queue};
use super::thread::{Pace, Refused};
use crate::store::port::StoreName;
use crate::store::writer::thread;

/// Number of pending bytes with which the writer is quiet.
const QUIET: u64 = 1 << 20;

/// A handle to the store writer. The thread ends when the last handle is dropped, without writing the pending jobs.
#[derive(Clone)]
pub(crate) struct StoreWriter {
    handle: Arc<ThreadGuard>,
}

/// The error of a writer that was closed with pending jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{bytes} bytes of tables were not written to the store within {within:?}; no data is lost, but the next start \
     restores them from the changelog"
)]
pub(crate) struct Unwritten {
    /// Number of bytes that were not written.
    pub(crate) bytes: u64,
    /// The timeout.
    pub(crate) within: Duration,
}

impl StoreWriter {
    /// Starts the thread. `limit_bytes` is the setting `state_memory`.
    ///
    /// # Errors
    /// Returns an error if the thread cannot be started.
    pub(crate) fn spawn(limit_bytes: u64) -> std::io::Result<Self> {
        Self::spawn_paced(limit_bytes, Pace::default())
    }

    fn spawn_paced(limit_bytes: u64, pace: Pace) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::new(limit_bytes));
        let of_thread = Arc::clone(&queue);
        std::thread::Builder::new().name("faust-store".to_owned()).spawn(move || thread::run(&of_thread, pace))?;
        Ok(Self { handle: Arc::new(ThreadGuard { queue, stepped: None }) })
    }

    /// Creates a writer without a thread: it writes only in [`step`](Self::step).
    pub(crate) fn stepped(limit_bytes: u64) -> Self {
        let (queue, stepped) = (Arc::new(Queue::new(limit_bytes)), Some(Mutex::default()));
        Self { handle: Arc::new(ThreadGuard { queue, stepped }) }
    }

    /// Writes all pending jobs on this thread, if the writer is [`stepped`](Self::stepped). Returns whether any was
    /// completed: those for which the disk fails remain pending, because a step does not wait for it.
    pub(crate) fn step(&self) -> bool {
        let Some(stepped) = &self.handle.stepped else { return false };
        let jobs = self.queue().take_pending();
        let mut refused = stepped.lock().unwrap_or_else(PoisonError::into_inner);
        thread::write_all(self.queue(), jobs, Pace { retries: false, ..Pace::default() }, &mut refused)
    }

    /// Adds a job. Never blocks, and accepts the job even if there is no room.
    pub(crate) fn submit(&self, job: Job) {
        self.queue().push(job);
    }

    /// Returns the number of bytes that are pending or being written.
    pub(crate) fn backlog(&self) -> u64 {
        self.queue().backlog()
    }

    /// Returns whether there is room: false once the backlog has exceeded the limit, until it is below half of it.
    pub(crate) fn has_room(&self) -> bool {
        self.queue().has_room()
    }

    /// Waits until there is room. A stopped writer has room, because its jobs fail at once.
    pub(crate) async fn room(&self) {
        self.queue().until(Queue::has_room).await;
    }

    /// Waits until next to nothing is pending, so that the next job is written soon, whatever was submitted before.
    pub(crate) async fn quiet(&self) {
        self.queue().until(|queue| queue.backlog() <= QUIET).await;
    }

    /// Waits until every job submitted for this store before the call has been written or has failed.
    pub(crate) async fn flushed(&self, store: &StoreName) {
        let submitted = self.queue().submitted(store);
        let _awaiting = self.prioritize();
        self.queue().until(|queue| queue.has_finished(store, submitted)).await;
    }

    /// Delays jobs until the returned guard is dropped, so that more of them are merged. Used during a restore, because
    /// making tables readable has priority over writing them to stores. Jobs are not delayed for long, nor while the
    /// backlog is large.
    pub(crate) fn rest(&self) -> PriorityGuard {
        self.queue().wish(|rests, _| *rests += 1);
        PriorityGuard { queue: Arc::clone(self.queue()), take_back: |rests, _| *rests -= 1 }
    }

    /// Suspends the delays of [`rest`](Self::rest) until the returned guard is dropped. Used while a task waits for a
    /// store.
    pub(crate) fn prioritize(&self) -> PriorityGuard {
        self.queue().wish(|_, awaited| *awaited += 1);
        PriorityGuard { queue: Arc::clone(self.queue()), take_back: |_, awaited| *awaited -= 1 }
    }

    /// Writes the pending jobs, accepts no more, and stops the thread. Jobs that remain fail with the kind `Gone`.
    /// Without a thread, it makes one step, which takes as long as the disk does.
    ///
    /// # Errors
    /// Returns an error on timeout, if a disk is full or does not respond. A blocked write may still complete later.
    pub(crate) async fn close(self, within: Duration) -> Result<(), Unwritten> {
        let deadline = Instant::now() + within;
        self.queue().end(End::Drained);
        if self.handle.stepped.is_some() {
            self.step();
            let bytes = self.backlog();
            self.queue().ended();
            return if bytes == 0 { Ok(()) } else { Err(Unwritten { bytes, within }) };
        }
        let queue = Arc::clone(self.queue());
        // Waits in real time on a separate thread, because a test may have paused the runtime's clock.
        let ended = tokio::task::spawn_blocking(move || queue.wait_for_end(deadline)).await;
        let bytes = self.backlog();
        self.queue().end(End::Abandoned);
        if ended.unwrap_or(false) { Ok(()) } else { Err(Unwritten { bytes, within }) }
    }

    fn queue(&self) -> &Arc<Queue> {
        &self.handle.queue
    }
}

/// A guard that withdraws a request to the writer when it is dropped.
#[must_use = "the request is withdrawn when the value is dropped"]
pub(crate) struct PriorityGuard {
    queue: Arc<Queue>,
    take_back: fn(&mut usize, &mut usize),
}

impl Drop for PriorityGuard {
    fn drop(&mut self) {
        self.queue.wish(self.take_back);
    }
}

/// Stops the thread on drop, which happens with the last clone of a [`StoreWriter`].
struct ThreadGuard {
    queue: Arc<Queue>,
    /// The state that the thread would have, of a writer without one.
    stepped: Option<Mutex<Refused>>,
}

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        if self.stepped.is_some() {
            self.queue.ended();
        } else {
            self.queue.end(End::Abandoned);
        }
    }
}

#[cfg(test)]
mod tests;
