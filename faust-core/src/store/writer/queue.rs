//! The state shared by the handles and the thread of the store writer: the pending jobs and their counts.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::job::Job;
use crate::store::port::{StoreError, StoreErrorKind, StoreName};

/// The pending jobs and their counts.
pub(super) struct Queue {
    limit: u64,
    inner: Mutex<Inner>,
    /// Notifies threads of changes to `inner`.
    changed: Condvar,
    /// Notifies tasks of finished jobs.
    progress: Notify,
    backlog: AtomicU64,
    /// Set once the backlog has exceeded the limit, until it is below half of it.
    full: AtomicBool,
}

#[derive(Default)]
struct Inner {
    jobs: Vec<Job>,
    /// Time at which the oldest pending job was submitted.
    since: Option<Instant>,
    /// Number of guards of [`StoreWriter::rest`](super::StoreWriter::rest).
    rests: usize,
    /// Number of guards of [`StoreWriter::prioritize`](super::StoreWriter::prioritize).
    awaited: usize,
    end: Option<End>,
    /// Set once the thread has ended.
    ended: bool,
    /// Numbers of submitted and finished jobs of each store.
    counts: HashMap<StoreName, QueueCounts>,
}

#[derive(Clone, Copy, Default)]
struct QueueCounts {
    submitted: u64,
    finished: u64,
}

/// Ways to stop the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// Once no jobs are pending.
    Drained,
    /// As soon as possible.
    Abandoned,
}

impl Queue {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            inner: Mutex::default(),
            changed: Condvar::new(),
            progress: Notify::new(),
            backlog: AtomicU64::new(0),
            full: AtomicBool::new(false),
        }
    }

    /// Adds a job, or fails it if the writer is closed.
    pub(super) fn push(&self, job: Job) {
        let mut inner = self.inner();
        inner.counts.entry(job.name.clone()).or_default().submitted += 1;
        let backlog = self.backlog.fetch_add(job.size_bytes(), Ordering::Relaxed) + job.size_bytes();
        if inner.end.is_some() {
            drop(inner);
            self.finish(job, Err(gone()));
            return;
        }
        if backlog > self.limit {
            self.full.store(true, Ordering::Relaxed);
        }
        if inner.jobs.is_empty() {
            inner.since = Some(Instant::now());
        }
        inner.jobs.push(job);
        drop(inner);
        self.changed.notify_all();
    }

    /// Waits for jobs and takes all of them. During a restore, it delays them until the oldest has waited for `rest`.
    /// Returns `None` if the thread is to end.
    pub(super) fn take(&self, rest: Duration) -> Option<Vec<Job>> {
        let mut inner = self.inner();
        loop {
            match inner.end {
                Some(End::Abandoned) => return None,
                Some(End::Drained) if inner.jobs.is_empty() => return None,
                _ if inner.jobs.is_empty() => inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
                _ => match self.rest(&inner, rest) {
                    None => return Some(std::mem::take(&mut inner.jobs)),
                    Some(rest) => {
                        let waited = self.changed.wait_timeout(inner, rest);
                        inner = waited.unwrap_or_else(PoisonError::into_inner).0;
                    }
                },
            }
        }
    }

    /// Takes all jobs without waiting.
    pub(super) fn take_pending(&self) -> Vec<Job> {
        std::mem::take(&mut self.inner().jobs)
    }

    /// Adds jobs that could not be written to the pending ones again, as the oldest.
    pub(super) fn put_back(&self, jobs: Vec<Job>) {
        self.inner().jobs.splice(0..0, jobs);
    }

    /// Returns the time for which the pending jobs are still to be delayed, if any.
    fn rest(&self, inner: &Inner, longest: Duration) -> Option<Duration> {
        let wished = inner.rests > 0 && inner.awaited == 0 && inner.end.is_none();
        let waited = inner.since.filter(|_| wished && self.backlog() < self.limit / 4 * 3)?.elapsed();
        longest.checked_sub(waited).filter(|rest| !rest.is_zero())
    }

    /// Changes the numbers of guards that delay jobs and that suspend the delays.
    pub(super) fn wish(&self, change: impl FnOnce(&mut usize, &mut usize)) {
        let mut inner = self.inner();
        let Inner { rests, awaited, .. } = &mut *inner;
        change(rests, awaited);
        drop(inner);
        self.changed.notify_all();
    }

    /// Completes a job with its result.
    pub(super) fn finish(&self, job: Job, result: Result<(), StoreError>) {
        let (size, name) = (job.size_bytes(), job.name);
        // Call `done` before counting the job as finished: waiters may rely on its effects.
        if catch_unwind(AssertUnwindSafe(|| (job.done)(result))).is_err() {
            tracing::error!(store = %name, "the callback of a store write panicked");
        }
        let mut inner = self.inner();
        inner.counts.entry(name).or_default().finished += 1;
        let backlog = self.backlog.fetch_sub(size, Ordering::Relaxed) - size;
        if backlog < self.limit / 2 || backlog == 0 {
            self.full.store(false, Ordering::Relaxed);
        }
        drop(inner);
        self.progress.notify_waiters();
    }

    pub(super) fn end(&self, end: End) {
        let mut inner = self.inner();
        inner.end = inner.end.max(Some(end));
        drop(inner);
        self.changed.notify_all();
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.inner().end == Some(End::Abandoned)
    }

    /// Blocks for the given time, or until the writer is abandoned.
    pub(super) fn pause(&self, pause: Duration) {
        let goes_on = |inner: &mut Inner| inner.end != Some(End::Abandoned);
        let waited = self.changed.wait_timeout_while(self.inner(), pause, goes_on);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Records that the thread has ended, and fails the remaining jobs.
    pub(super) fn ended(&self) {
        let mut inner = self.inner();
        inner.end = Some(End::Abandoned);
        let left = std::mem::take(&mut inner.jobs);
        drop(inner);
        left.into_iter().for_each(|job| self.finish(job, Err(gone())));
        self.inner().ended = true;
        self.full.store(false, Ordering::Relaxed);
        self.changed.notify_all();
        self.progress.notify_waiters();
    }

    /// Blocks until the thread has ended. Returns false on timeout.
    pub(super) fn wait_for_end(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(self.inner(), left, |inner| !inner.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// Waits until a condition holds that changes only when a job finishes or the thread ends.
    pub(super) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            // IMPORTANT: enable the notification before checking, or progress between the two would be missed.
            progress.as_mut().enable();
            if holds(self) {
                return;
            }
            progress.await;
        }
    }

    pub(super) fn backlog(&self) -> u64 {
        self.backlog.load(Ordering::Relaxed)
    }

    pub(super) fn has_room(&self) -> bool {
        !self.full.load(Ordering::Relaxed)
    }

    pub(super) fn submitted(&self, store: &StoreName) -> u64 {
        self.inner().counts.get(store).map_or(0, |counts| counts.submitted)
    }

    /// Returns whether this number of jobs of the store have finished, or the thread has ended.
    pub(super) fn has_finished(&self, store: &StoreName, jobs: u64) -> bool {
        let inner = self.inner();
        inner.ended || inner.counts.get(store).is_some_and(|counts| counts.finished >= jobs) || jobs == 0
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates the error of jobs that the writer did not write before it was stopped.
pub(super) fn gone() -> StoreError {
    let why = "was stopped before it wrote these changes; the next restore reads them from the changelog";
    StoreError::new(StoreErrorKind::Gone, "the store writer".to_owned(), why.to_owned())
}
