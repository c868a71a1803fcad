//! The thread of the store writer. It writes the pending jobs store by store, and retries while the disk fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::super::merge::merge;
use super::job::Job;
use super::queue::{Queue, gone};
use crate::store::port::{Store, StoreError, StoreErrorKind};

/// Maximum number of entries per write: enough for fjall to write files directly, and few enough for a prompt shutdown.
const CHUNK: usize = 50_000;

/// Size of the jobs after which a round is synced before its end.
const SYNC_BYTES: u64 = 8 << 20;

/// Delays of the thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Maximum delay of jobs during a restore, so that a long restore does not hold up the stores of other tables.
    pub(super) rest: Duration,
    /// Pause after the first failure, which doubles with each further failure.
    pub(super) first: Duration,
    /// Maximum pause.
    pub(super) longest: Duration,
    /// Interval between log lines about the failure.
    pub(super) report_every: Duration,
    /// Set if a write is tried again until the disk accepts it. Otherwise, its jobs remain pending after the first failure.
    pub(super) retries: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rest: Duration::from_secs(3),
            first: Duration::from_millis(50),
            longest: Duration::from_secs(5),
            report_every: Duration::from_secs(10),
            retries: true,
        }
    }
}

/// Runs until the queue is closed.
pub(super) fn run(queue: &Queue, pace: Pace) {
    // The queue must be notified of the end even after a panic, or a close would wait until its timeout.
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut refused = Refused::default();
        while let Some(jobs) = queue.take(pace.rest) {
            write_all(queue, jobs, pace, &mut refused);
        }
    }));
    queue.ended();
    if ran.is_err() {
        tracing::error!("the store writer panicked; no table is written to its store until the worker restarts");
    }
}

/// Writes jobs, store by store, and syncs them together. Returns whether any was completed.
pub(super) fn write_all(queue: &Queue, jobs: Vec<Job>, pace: Pace, refused: &mut Refused) -> bool {
    let (mut written, mut bytes, mut completed) = (Vec::new(), 0, false);
    for jobs in by_store(jobs) {
        bytes += jobs.iter().map(Job::size_bytes).sum::<u64>();
        match write(queue, &jobs, pace, refused) {
            Ok(()) => written.push(jobs),
            Err(error) => completed |= complete(queue, jobs, Err(error), pace),
        }
        // Jobs that are complete make room for others.
        if bytes >= SYNC_BYTES {
            completed |= sync(queue, std::mem::take(&mut written), pace, refused);
            bytes = 0;
        }
    }
    sync(queue, written, pace, refused) | completed
}

/// Syncs what was written for these stores, and completes their jobs. Returns whether any was completed.
fn sync(queue: &Queue, mut stores: Vec<Vec<Job>>, pace: Pace, refused: &mut Refused) -> bool {
    let (mut retries, mut completed) = (DiskRetries::new(pace), false);
    while !stores.is_empty() {
        let (mut failed, mut error, mut result) = (Vec::new(), None, Err(gone()));
        for jobs in stores {
            let Some(last) = jobs.last() else { continue };
            match last.store.sync() {
                Err(why) if is_of_disk(&why, pace) => {
                    failed.push(jobs);
                    error = Some(why);
                }
                synced => {
                    note_refusal(last, &synced, refused);
                    completed |= complete(queue, jobs, synced.clone(), pace);
                    result = result.or(synced);
                }
            }
        }
        let Some(error) = error else {
            // Once, not for each store.
            retries.end(&result);
            break;
        };
        if !retries.pause(queue, &error) {
            failed.into_iter().for_each(|jobs| completed |= complete(queue, jobs, Err(gone()), pace));
            break;
        }
        // Nothing that was not synced is known to be in the store.
        stores = Vec::new();
        for jobs in failed {
            match write(queue, &jobs, pace, refused) {
                Ok(()) => stores.push(jobs),
                Err(error) => completed |= complete(queue, jobs, Err(error), pace),
            }
        }
    }
    completed
}

/// Groups the jobs by store, in their order. The store with the oldest job comes first.
///
/// The name does not identify a store: jobs of one that was destroyed may be pending beside those of its successor.
fn by_store(jobs: Vec<Job>) -> Vec<Vec<Job>> {
    let mut groups: Vec<Vec<Job>> = Vec::new();
    for job in jobs {
        match groups.iter_mut().find(|group| Arc::ptr_eq(&group[0].store, &job.store)) {
            Some(group) => group.push(job),
            None => groups.push(vec![job]),
        }
    }
    groups
}

/// Stores that have permanently failed to write a batch. Later batches must not be written either: their marks would claim
/// that all earlier changes are in the store, and a restore would never add the missing ones.
#[derive(Default)]
pub(super) struct Refused(Vec<(Weak<dyn Store>, StoreError)>);

impl Refused {
    fn by(&mut self, store: &Arc<dyn Store>) -> Option<StoreError> {
        self.0.retain(|(refused, _)| refused.strong_count() > 0);
        let same =
            |(refused, _): &&(Weak<dyn Store>, StoreError)| std::ptr::addr_eq(refused.as_ptr(), Arc::as_ptr(store));
        self.0.iter().find(same).map(|(_, error)| error.clone())
    }

    fn note(&mut self, store: &Arc<dyn Store>, error: &StoreError) {
        self.0.push((Arc::downgrade(store), error.clone()));
    }
}

/// Writes the jobs of one store.
fn write(queue: &Queue, jobs: &[Job], pace: Pace, refused: &mut Refused) -> Result<(), StoreError> {
    let Some(last) = jobs.last() else { return Ok(()) };
    if let Some(error) = refused.by(&last.store) {
        return Err(error);
    }
    let entries = merge(jobs.iter().map(|job| &*job.batch));
    let (most, rest) = entries.split_at(entries.len().saturating_sub(1) / CHUNK * CHUNK);
    // IMPORTANT: only the last chunk may carry the mark, that of the last job: a restore does not read changes before
    // the mark again. And after an error, all chunks are written again: what was not synced may be lost.
    let write_chunks = || {
        for chunk in most.chunks(CHUNK) {
            last.store.write(chunk, None)?;
            if queue.is_abandoned() {
                return Err(gone());
            }
        }
        last.store.write(rest, Some(&last.mark))
    };
    let mut retries = DiskRetries::new(pace);
    let result = loop {
        if queue.is_abandoned() {
            break Err(gone());
        }
        match write_chunks() {
            Err(error) if is_of_disk(&error, pace) => drop(retries.pause(queue, &error)),
            result => {
                retries.end(&result);
                break result;
            }
        }
    };
    note_refusal(last, &result, refused);
    result
}

/// Notes an error after which a store is not written to any more.
fn note_refusal(job: &Job, result: &Result<(), StoreError>, refused: &mut Refused) {
    if let Err(error) = result
        && !matches!(error.kind(), StoreErrorKind::Gone | StoreErrorKind::Io)
    {
        tracing::error!(store = %job.name, "cannot write a table to its store, and retrying does not help: {error}");
        refused.note(&job.store, error);
    }
}

/// Completes the jobs of a store. Returns `false` if they are pending again, because the disk has failed and this pace does
/// not wait for it.
fn complete(queue: &Queue, jobs: Vec<Job>, result: Result<(), StoreError>, pace: Pace) -> bool {
    match &result {
        Err(error) if error.kind() == StoreErrorKind::Io && !pace.retries => {
            if let Some(job) = jobs.first() {
                tracing::error!(store = %job.name, "cannot write a table to its store, the next step tries again: {error}");
            }
            queue.put_back(jobs);
            false
        }
        _ => {
            jobs.into_iter().for_each(|job| queue.finish(job, result.clone()));
            true
        }
    }
}

/// Returns whether the disk has failed, and this pace waits for it.
fn is_of_disk(error: &StoreError, pace: Pace) -> bool {
    error.kind() == StoreErrorKind::Io && pace.retries
}

/// The attempts of one operation while the disk fails.
struct DiskRetries {
    pause: Duration,
    pace: Pace,
    began: Instant,
    reported: Option<Instant>,
}

impl DiskRetries {
    fn new(pace: Pace) -> Self {
        Self { pause: pace.first, pace, began: Instant::now(), reported: None }
    }

    /// Reports the error, at intervals, and pauses. Returns `false` if the writer is to end.
    fn pause(&mut self, queue: &Queue, error: &StoreError) -> bool {
        if self.reported.is_none_or(|at| at.elapsed() >= self.pace.report_every) {
            tracing::error!(
                waiting_bytes = queue.backlog(),
                "cannot write tables to their store, retrying for {:?}: {error}",
                self.began.elapsed(),
            );
            self.reported = Some(Instant::now());
        }
        queue.pause(self.pause);
        self.pause = (self.pause * 2).min(self.pace.longest);
        !queue.is_abandoned()
    }

    /// Reports the end of the failures, if there were any.
    fn end(&self, result: &Result<(), StoreError>) {
        if self.reported.is_some() && result.is_ok() {
            tracing::info!("tables can be written to their store again, after {:?}", self.began.elapsed());
        }
    }
}
