//! Counts of what a worker has done, for its log, its status and its tests.

use std::sync::atomic::{AtomicU64, Ordering};

/// The worker's counters. All of them only grow.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    events: AtomicU64,
    sent: AtomicU64,
    dead_letters: AtomicU64,
    skipped: AtomicU64,
    commits: AtomicU64,
    cuts_missed: AtomicU64,
    agent_failures: AtomicU64,
    rebalances: AtomicU64,
    disconnects: AtomicU64,
    changelog: AtomicU64,
    stored: AtomicU64,
    restored: AtomicU64,
    late_events: AtomicU64,
    windows_closed: AtomicU64,
    misplaced_keys: AtomicU64,
    stores_set_aside: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Messages read and decoded.
    pub events: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages that could not be decoded and went to the dead-letter topic.
    pub dead_letters: u64,
    /// Messages that could not be decoded and were left out, as the policy says.
    pub skipped: u64,
    /// Commits that the broker has accepted.
    pub commits: u64,
    /// Commits left out because a task did not come to rest in time.
    pub cuts_missed: u64,
    /// Agents that failed, each time one did.
    pub agent_failures: u64,
    /// Assignments received.
    pub rebalances: u64,
    /// Times the brokers went away.
    pub disconnects: u64,
    /// Records written to changelogs of tables.
    pub changelog: u64,
    /// Entries that reached the stores of tables.
    pub stored: u64,
    /// Records read from changelogs to restore tables.
    pub restored: u64,
    /// Writes to a window that was gone when their event came: one for each such window and each call of the agent.
    pub late_events: u64,
    /// Windows that were removed, counted for each key.
    pub windows_closed: u64,
    /// Keys written to a table in a partition that is not theirs by their bytes.
    pub misplaced_keys: u64,
    /// Stores that could not be opened, were put aside and restored.
    pub stores_set_aside: u64,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $method:ident => $field:ident),* $(,)?) => {
        $($(#[$doc])* pub(crate) fn $method(&self) { self.$field.fetch_add(1, Ordering::Relaxed); })*
    };
}

impl Stats {
    counters! {
        dead_letter => dead_letters,
        skipped => skipped,
        committed => commits,
        cut_missed => cuts_missed,
        agent_failed => agent_failures,
        rebalanced => rebalances,
        disconnected => disconnects,
        late_event => late_events,
        misplaced_key => misplaced_keys,
    }

    /// Records went to a changelog.
    pub(crate) fn changelog(&self, count: u64) {
        self.changelog.fetch_add(count, Ordering::Relaxed);
    }

    /// Entries are in a store.
    pub(crate) fn stored(&self, count: u64) {
        self.stored.fetch_add(count, Ordering::Relaxed);
    }

    /// Records of a changelog were read.
    pub(crate) fn restored(&self, count: u64) {
        self.restored.fetch_add(count, Ordering::Relaxed);
    }

    /// Windows were removed.
    pub(crate) fn windows_closed(&self, count: u64) {
        self.windows_closed.fetch_add(count, Ordering::Relaxed);
    }

    /// Stores were put aside.
    pub(crate) fn stores_set_aside(&self, count: u64) {
        self.stores_set_aside.fetch_add(count, Ordering::Relaxed);
    }

    /// Messages were sent.
    pub(crate) fn sent(&self, count: u64) {
        self.sent.fetch_add(count, Ordering::Relaxed);
    }

    /// A batch of messages was read.
    pub(crate) fn events(&self, count: u64) {
        self.events.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            events: read(&self.events),
            sent: read(&self.sent),
            dead_letters: read(&self.dead_letters),
            skipped: read(&self.skipped),
            commits: read(&self.commits),
            cuts_missed: read(&self.cuts_missed),
            agent_failures: read(&self.agent_failures),
            rebalances: read(&self.rebalances),
            disconnects: read(&self.disconnects),
            changelog: read(&self.changelog),
            stored: read(&self.stored),
            restored: read(&self.restored),
            late_events: read(&self.late_events),
            windows_closed: read(&self.windows_closed),
            misplaced_keys: read(&self.misplaced_keys),
            stores_set_aside: read(&self.stores_set_aside),
        }
    }
}
