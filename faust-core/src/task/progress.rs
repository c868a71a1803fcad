//! Progress of restores, reported to the log, the progress bar of the command line, or a listener of the program.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::message::Offset;
use crate::table_state::TableInfo;

/// Listener for the progress of restores. Its methods are called from the partition's task and must not block.
pub trait RestoreListener: Send + Sync {
    /// Called when a restore starts.
    fn started(&self, _progress: &RestoreProgress) {}

    /// Called after records were read, at most a few times per second.
    fn progressed(&self, _progress: &RestoreProgress) {}

    /// Called when the table is readable; its store may still be catching up.
    fn ended(&self, _progress: &RestoreProgress) {}

    /// Called if the restore stops before its end because the partition was revoked or the worker shuts down.
    fn suspended(&self, _progress: &RestoreProgress) {}
}

/// Progress of the restore of one partition of a table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RestoreProgress {
    /// Name of the table.
    pub table: Arc<str>,
    /// Partition of the table.
    pub partition: i32,
    /// First changelog offset to read.
    pub from: Offset,
    /// Next changelog offset to read.
    pub at: Offset,
    /// End of the changelog when the restore started.
    pub end: Offset,
    /// Number of records read so far. It is less than the number of offsets where the changelog was compacted.
    pub records: u64,
    /// Time since the restore started.
    pub took: Duration,
    /// `true` if the changelog is read from its beginning, because there is no store or it is too old.
    pub full: bool,
}

impl RestoreProgress {
    /// Returns the average number of records per second.
    pub fn rate(&self) -> f64 {
        self.records as f64 / self.took.as_secs_f64().max(0.001)
    }

    /// Estimates the remaining time from the average rate; `None` before the first progress.
    pub fn remaining(&self) -> Option<Duration> {
        let passed = self.at.since(self.from);
        if passed == 0 {
            return None;
        }
        let left = self.end.since(self.at);
        Duration::try_from_secs_f64(self.took.as_secs_f64() / passed as f64 * left as f64).ok()
    }
}

/// A listener that logs the progress of restores every five seconds, and their results.
#[derive(Default)]
struct LogListener {
    reported: std::sync::Mutex<std::collections::BTreeMap<(Arc<str>, i32), Instant>>,
}

/// Interval of progress lines for one partition of a table.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// Returns the default listener of a worker, which logs. Other listeners can forward their calls to it.
pub fn log_listener() -> Arc<dyn RestoreListener> {
    Arc::new(LogListener::default())
}

impl RestoreListener for LogListener {
    fn progressed(&self, progress: &RestoreProgress) {
        let RestoreProgress { table, partition, at, end, took, .. } = progress;
        let mut reported = self.reported.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (Arc::clone(table), *partition);
        if *took < LOG_EVERY || reported.get(&key).is_some_and(|last| last.elapsed() < LOG_EVERY) {
            return;
        }
        reported.insert(key, Instant::now());
        drop(reported);
        let remaining = progress.remaining().unwrap_or_default();
        tracing::info!(
            %table, partition,
            "restoring: offset {at} of {end}, {:.0} records/s, about {:.0} s left",
            progress.rate(), remaining.as_secs_f64()
        );
    }

    fn ended(&self, progress: &RestoreProgress) {
        let RestoreProgress { table, partition, from, end, records, took, full, .. } = progress;
        if from == end {
            tracing::debug!(%table, partition, "nothing to restore: the table is at offset {end}, the end of its changelog");
            return;
        }
        let how =
            if *full { "from the beginning".to_owned() } else { format!("from offset {from}, where its store was") };
        tracing::info!(%table, partition, records, "restored {records} records of its changelog {how}, in {took:.1?}");
    }

    fn suspended(&self, progress: &RestoreProgress) {
        let RestoreProgress { table, partition, at, end, .. } = progress;
        tracing::info!(%table, partition, "restore interrupted at offset {at} of {end}");
    }
}

/// Reports of one restore to its listener, limited in frequency.
pub(crate) struct ProgressReporter {
    listener: Arc<dyn RestoreListener>,
    now: RestoreProgress,
    since: Instant,
    reported: Instant,
    every: Duration,
    open: bool,
}

impl ProgressReporter {
    pub(crate) fn start(
        listener: &Arc<dyn RestoreListener>,
        info: &TableInfo,
        partition: i32,
        (from, end): (Offset, Offset),
        full: bool,
    ) -> Self {
        let since = Instant::now();
        let now = RestoreProgress {
            table: Arc::clone(&info.name),
            partition,
            from,
            at: from,
            end,
            records: 0,
            took: Duration::ZERO,
            full,
        };
        listener.started(&now);
        let listener = Arc::clone(listener);
        Self { listener, now, since, reported: since, every: Duration::from_millis(250), open: true }
    }

    /// Records that `records` more were read, and that `at` is the next offset.
    pub(crate) fn advance(&mut self, at: Offset, records: u64) {
        self.now.at = at;
        self.now.records += records;
        if self.reported.elapsed() >= self.every {
            self.reported = Instant::now();
            self.now.took = self.since.elapsed();
            self.listener.progressed(&self.now);
        }
    }

    /// Reports the end of the restore, and returns the final progress.
    pub(crate) fn end(mut self) -> RestoreProgress {
        self.open = false;
        self.now.took = self.since.elapsed();
        self.listener.ended(&self.now);
        self.now.clone()
    }
}

impl Drop for ProgressReporter {
    fn drop(&mut self) {
        if self.open {
            self.now.took = self.since.elapsed();
            self.listener.suspended(&self.now);
        }
    }
}
