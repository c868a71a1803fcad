//! Who hears how a restore goes: the log, the command line's bar, or the program.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::table_state::TableInfo;

/// Hears of restores. Called from the partition's task: it must not block.
pub trait RestoreListener: Send + Sync {
    /// A restore begins.
    fn started(&self, _progress: &RestoreProgress) {}

    /// Records were read; a few times a second at most.
    fn progressed(&self, _progress: &RestoreProgress) {}

    /// The table is readable; its store may still be catching up.
    fn ended(&self, _progress: &RestoreProgress) {}

    /// The partition was taken away, or the worker stops, before the end.
    fn suspended(&self, _progress: &RestoreProgress) {}
}

/// How far the restore of one table's partition is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RestoreProgress {
    /// The table.
    pub table: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// The first offset of the changelog that is read.
    pub from: i64,
    /// Where it is.
    pub at: i64,
    /// The changelog's end when the restore began.
    pub end: i64,
    /// Records read so far: less than the offsets passed, where the changelog was compacted.
    pub records: u64,
    /// How long it has taken so far.
    pub took: Duration,
    /// Whether the changelog is read from its beginning, because there was no store.
    pub full: bool,
}

impl RestoreProgress {
    /// Records a second so far.
    pub fn rate(&self) -> f64 {
        self.records as f64 / self.took.as_secs_f64().max(0.001)
    }

    /// How long the rest will take at the pace so far; `None` before there is a pace.
    pub fn remaining(&self) -> Option<Duration> {
        let passed = self.at - self.from;
        if passed <= 0 {
            return None;
        }
        let left = (self.end - self.at).max(0) as f64;
        Duration::try_from_secs_f64(self.took.as_secs_f64() / passed as f64 * left).ok()
    }
}

/// Writes restores to the log: how they go every five seconds, and how they went.
#[derive(Default)]
struct LogListener {
    told: std::sync::Mutex<std::collections::BTreeMap<(Arc<str>, i32), Instant>>,
}

/// The time between two lines about one table's partition.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// The listener of a worker that was given no other: one that shows more can pass on to it what it hears.
pub fn log_listener() -> Arc<dyn RestoreListener> {
    Arc::new(LogListener::default())
}

impl RestoreListener for LogListener {
    fn progressed(&self, progress: &RestoreProgress) {
        let RestoreProgress { table, partition, at, end, took, .. } = progress;
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (Arc::clone(table), *partition);
        if *took < LOG_EVERY || told.get(&key).is_some_and(|last| last.elapsed() < LOG_EVERY) {
            return;
        }
        told.insert(key, Instant::now());
        drop(told);
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
            tracing::debug!(%table, partition, "nothing to restore: it is at offset {end} as its changelog is");
            return;
        }
        let how =
            if *full { "from the beginning".to_owned() } else { format!("from offset {from}, where its store was") };
        tracing::info!(%table, partition, records, "restored {records} records of its changelog {how}, in {took:.1?}");
    }

    fn suspended(&self, progress: &RestoreProgress) {
        let RestoreProgress { table, partition, at, end, .. } = progress;
        tracing::info!(%table, partition, "restore broken off at offset {at} of {end}");
    }
}

/// Tells the listener at the right times.
pub(crate) struct Progress {
    listener: Arc<dyn RestoreListener>,
    now: RestoreProgress,
    since: Instant,
    told: Instant,
    every: Duration,
    open: bool,
}

impl Progress {
    pub(crate) fn start(
        listener: &Arc<dyn RestoreListener>,
        info: &TableInfo,
        partition: i32,
        (from, end): (i64, i64),
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
        Self { listener, now, since, told: since, every: Duration::from_millis(250), open: true }
    }

    /// So many records were read, up to this offset.
    pub(crate) fn advance(&mut self, at: i64, records: u64) {
        self.now.at = at;
        self.now.records += records;
        if self.told.elapsed() >= self.every {
            self.told = Instant::now();
            self.now.took = self.since.elapsed();
            self.listener.progressed(&self.now);
        }
    }

    /// All of it was read.
    pub(crate) fn end(mut self) -> RestoreProgress {
        self.open = false;
        self.now.took = self.since.elapsed();
        self.listener.ended(&self.now);
        self.now.clone()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.open {
            self.now.took = self.since.elapsed();
            self.listener.suspended(&self.now);
        }
    }
}
