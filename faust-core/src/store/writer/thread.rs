//! The thread of the store writer: takes what waits, store by store, and does not give up on a disk that refuses.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::super::merge::merge;
use super::job::Job;
use super::queue::{Queue, gone};
use crate::store::port::{Store, StoreError, StoreErrorKind, Write};

/// Entries written at once: enough for fjall to write files directly, and few enough to end soon when told to.
const CHUNK: usize = 50_000;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The longest that jobs wait for a restore: one that takes longer does not keep the stores of others behind.
    pub(super) rest: Duration,
    /// The pause after the first failure; it doubles each time.
    pub(super) first: Duration,
    /// The longest pause.
    pub(super) longest: Duration,
    /// How often the log hears of it.
    pub(super) report_every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rest: Duration::from_secs(3),
            first: Duration::from_millis(50),
            longest: Duration::from_secs(5),
            report_every: Duration::from_secs(10),
        }
    }
}

/// Runs until the queue says so.
pub(super) fn run(queue: &Queue, pace: Pace) {
    // Whatever happens here, the queue must hear of the end, or a close would wait in vain.
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut refused = Refused::default();
        while let Some(jobs) = queue.take(pace.rest) {
            by_store(jobs).into_iter().for_each(|jobs| write(queue, jobs, pace, &mut refused));
        }
    }));
    queue.ended();
    if ran.is_err() {
        tracing::error!("the store writer panicked; tables are written no more until the worker starts again");
    }
}

/// The jobs of each store together, in their order; the store that has waited longest first.
fn by_store(jobs: Vec<Job>) -> Vec<Vec<Job>> {
    let mut groups: Vec<Vec<Job>> = Vec::new();
    for job in jobs {
        match groups.iter_mut().find(|group| group[0].name == job.name) {
            Some(group) => group.push(job),
            None => groups.push(vec![job]),
        }
    }
    groups
}

/// Stores that did not take something, whatever was tried. What comes later must not be written either: its mark would say
/// that all before it is there, and a restore would never learn of what is missing.
#[derive(Default)]
struct Refused(Vec<(Weak<dyn Store>, StoreError)>);

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

/// Writes the jobs of one store, which are all done together.
fn write(queue: &Queue, jobs: Vec<Job>, pace: Pace, refused: &mut Refused) {
    let Some(last) = jobs.last() else { return };
    if let Some(error) = refused.by(&last.store) {
        jobs.into_iter().for_each(|job| queue.finish(job, Err(error.clone())));
        return;
    }
    let entries = merge(jobs.iter().map(|job| &*job.batch));
    let (most, rest) = entries.split_at(entries.len().saturating_sub(1) / CHUNK * CHUNK);
    // IMPORTANT: the mark of the last job, with the last chunk; what came before it would not be read again.
    let result = most
        .chunks(CHUNK)
        .try_for_each(|chunk| insist(queue, &*last.store, chunk, None, pace))
        .and_then(|()| insist(queue, &*last.store, rest, Some(&last.mark), pace));
    if let Err(error) = &result
        && error.kind() != StoreErrorKind::Gone
    {
        tracing::error!(store = %last.name, "cannot write a table to its store, and trying again is of no use: {error}");
        refused.note(&last.store, error);
    }
    drop(entries);
    jobs.into_iter().for_each(|job| queue.finish(job, result.clone()));
}

/// Tries again while the disk refuses; other errors do not go away.
fn insist(
    queue: &Queue,
    store: &dyn Store,
    entries: &[Write<'_>],
    mark: Option<&[u8]>,
    pace: Pace,
) -> Result<(), StoreError> {
    let (mut pause, mut reported) = (pace.first, None::<Instant>);
    let began = Instant::now();
    loop {
        if queue.is_abandoned() {
            return Err(gone());
        }
        match store.write(entries, mark) {
            Err(error) if error.kind() == StoreErrorKind::Io => {
                if reported.is_none_or(|at| at.elapsed() >= pace.report_every) {
                    tracing::error!(
                        waiting_bytes = queue.backlog(),
                        "cannot write tables to their store, trying again for {:?} now: {error}",
                        began.elapsed(),
                    );
                    reported = Some(Instant::now());
                }
                queue.pause(pause);
                pause = (pause * 2).min(pace.longest);
            }
            Ok(()) if reported.is_some() => {
                tracing::info!("tables can be written to their store again, after {:?}", began.elapsed());
                return Ok(());
            }
            other => return other,
        }
    }
}
