//! Counters of a worker, for its log, its status and tests.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of a worker. They never decrease.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    events: AtomicU64,
    sent: AtomicU64,
    dead_letters: AtomicU64,
    skipped: AtomicU64,
    commits: AtomicU64,
    seals_missed: AtomicU64,
    agent_failures: AtomicU64,
    rebalances: AtomicU64,
    tasks_resumed: AtomicU64,
    disconnects: AtomicU64,
    changelog: AtomicU64,
    stored: AtomicU64,
    restored: AtomicU64,
    standby_takeovers: AtomicU64,
    standby_records: AtomicU64,
    late_events: AtomicU64,
    windows_closed: AtomicU64,
    misplaced_keys: AtomicU64,
    stores_set_aside: AtomicU64,
    events_ahead: AtomicU64,
    timestamps_replaced: AtomicU64,
    deleted_unread: AtomicU64,
    transactions_aborted: AtomicU64,
    producers_hung: AtomicU64,
}

/// A snapshot of a worker's counters.
///
/// `Display` shows the messages read and sent and the commits, then each counter of something unusual that is not zero.
///
/// ```
/// use faust::Counts;
///
/// let mut counts = Counts::default();
/// (counts.events, counts.sent, counts.commits, counts.late_events) = (250, 10, 3, 1);
/// assert_eq!(counts.to_string(), "250 messages read, 10 messages sent, 3 commits, 1 late event");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Messages read and decoded.
    pub events: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages that were sent to the dead-letter topic: they could not be decoded, or their agent failed each time.
    pub dead_letters: u64,
    /// Messages that were skipped, according to the policy: they could not be decoded, or their agent failed each time.
    pub skipped: u64,
    /// Commits accepted by the broker.
    pub commits: u64,
    /// Seals missed: an agent has been inside one event for so long that a commit contains nothing new of it.
    pub seals_missed: u64,
    /// Failures of agents.
    pub agent_failures: u64,
    /// Assignments received.
    pub rebalances: u64,
    /// Tasks that have continued after a rebalance, with their tables, because their partitions came back at once.
    pub tasks_resumed: u64,
    /// Times the connection to the brokers was lost.
    pub disconnects: u64,
    /// Records written to changelogs of tables.
    pub changelog: u64,
    /// Entries written to the stores of tables.
    pub stored: u64,
    /// Records read from changelogs to restore tables.
    pub restored: u64,
    /// Partitions of tables whose restore has continued from a standby of this worker.
    pub standby_takeovers: u64,
    /// Records that the standbys of this worker have applied.
    pub standby_records: u64,
    /// Writes to a window that had expired when the event arrived, counted once per window and call of the agent.
    pub late_events: u64,
    /// Windows that were removed, counted per key.
    pub windows_closed: u64,
    /// Keys written to a table in another partition than the one their bytes hash to.
    pub misplaced_keys: u64,
    /// Stores that could not be opened, were set aside and restored.
    pub stores_set_aside: u64,
    /// Events that were further ahead of the clock than `stream_time_max_ahead`, so that stream time did not follow them.
    /// An event counts once for every stage that reads it.
    pub events_ahead: u64,
    /// Messages that were sent with the clock's time because their topics do not accept their own.
    pub timestamps_replaced: u64,
    /// Offsets whose messages were deleted before they were read, such as by retention while no worker ran.
    pub deleted_unread: u64,
    /// Transactions that were aborted. What they contained is committed again.
    pub transactions_aborted: u64,
    /// Producers that were given up because a call of the Kafka client did not return.
    pub producers_hung: u64,
}

/// A counter in words: its value, and its name in the singular and in the plural.
type Worded = (u64, &'static str, &'static str);

impl Counts {
    /// Returns the counters of what a healthy app does.
    fn work(&self) -> [Worded; 3] {
        [
            (self.events, "message read", "messages read"),
            (self.sent, "message sent", "messages sent"),
            (self.commits, "commit", "commits"),
        ]
    }

    /// Returns the counters of what may need attention.
    fn unusual(&self) -> [Worded; 13] {
        [
            (self.dead_letters, "dead letter", "dead letters"),
            (self.skipped, "skipped message", "skipped messages"),
            (self.agent_failures, "failure of an agent", "failures of agents"),
            (self.late_events, "late event", "late events"),
            (self.events_ahead, "event ahead of the clock", "events ahead of the clock"),
            (self.misplaced_keys, "misplaced key", "misplaced keys"),
            (self.timestamps_replaced, "replaced timestamp", "replaced timestamps"),
            (self.deleted_unread, "message deleted unread", "messages deleted unread"),
            (self.seals_missed, "seal missed by a slow agent", "seals missed by slow agents"),
            (self.disconnects, "lost connection", "lost connections"),
            (self.stores_set_aside, "store set aside", "stores set aside"),
            (self.transactions_aborted, "aborted transaction", "aborted transactions"),
            (self.producers_hung, "producer given up", "producers given up"),
        ]
    }

    /// Returns the unusual counters that have grown since `earlier`, by how much, and their new values if these differ; `None`
    /// if there are none.
    pub(crate) fn unusual_since(&self, earlier: &Self) -> Option<String> {
        let grown = self.unusual().into_iter().zip(earlier.unusual());
        let grown = grown.filter_map(|((now, one, many), (before, ..))| {
            let text = worded(&(now.checked_sub(before).filter(|more| *more > 0)?, one, many));
            Some(if before > 0 { format!("{text} ({now} in all)") } else { text })
        });
        let grown: Vec<_> = grown.collect();
        (!grown.is_empty()).then(|| grown.join(", "))
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unusual = self.unusual().into_iter().filter(|(count, ..)| *count > 0);
        let all: Vec<_> = self.work().into_iter().chain(unusual).map(|count| worded(&count)).collect();
        f.write_str(&all.join(", "))
    }
}

fn worded((count, one, many): &Worded) -> String {
    format!("{count} {}", if *count == 1 { one } else { many })
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
        seal_missed => seals_missed,
        agent_failed => agent_failures,
        rebalanced => rebalances,
        task_resumed => tasks_resumed,
        disconnected => disconnects,
        late_event => late_events,
        misplaced_key => misplaced_keys,
        event_ahead => events_ahead,
        timestamp_replaced => timestamps_replaced,
        transaction_aborted => transactions_aborted,
        producer_hung => producers_hung,
    }

    /// Adds records written to a changelog.
    pub(crate) fn changelog(&self, count: u64) {
        self.changelog.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds entries written to a store.
    pub(crate) fn stored(&self, count: u64) {
        self.stored.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a table's partition that was restored from a standby.
    pub(crate) fn standby_taken_over(&self) {
        self.standby_takeovers.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds records that a standby has applied.
    pub(crate) fn applied_by_standby(&self, count: u64) {
        self.standby_records.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds records read from a changelog.
    pub(crate) fn restored(&self, count: u64) {
        self.restored.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds removed windows.
    pub(crate) fn windows_closed(&self, count: u64) {
        self.windows_closed.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds stores that were set aside.
    pub(crate) fn stores_set_aside(&self, count: u64) {
        self.stores_set_aside.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds offsets whose messages were deleted before they were read.
    pub(crate) fn deleted_unread(&self, count: u64) {
        self.deleted_unread.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds sent messages.
    pub(crate) fn sent(&self, count: u64) {
        self.sent.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds the messages of a batch.
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
            seals_missed: read(&self.seals_missed),
            agent_failures: read(&self.agent_failures),
            rebalances: read(&self.rebalances),
            tasks_resumed: read(&self.tasks_resumed),
            disconnects: read(&self.disconnects),
            changelog: read(&self.changelog),
            stored: read(&self.stored),
            restored: read(&self.restored),
            standby_takeovers: read(&self.standby_takeovers),
            standby_records: read(&self.standby_records),
            late_events: read(&self.late_events),
            windows_closed: read(&self.windows_closed),
            misplaced_keys: read(&self.misplaced_keys),
            stores_set_aside: read(&self.stores_set_aside),
            events_ahead: read(&self.events_ahead),
            timestamps_replaced: read(&self.timestamps_replaced),
            deleted_unread: read(&self.deleted_unread),
            transactions_aborted: read(&self.transactions_aborted),
            producers_hung: read(&self.producers_hung),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unusual_counters_that_have_grown_are_reported() {
        let before = Counts { events: 5, late_events: 2, dead_letters: 7, ..Counts::default() };
        assert_eq!(before.unusual_since(&before), None);
        let busy = Counts { events: 900, sent: 100, commits: 30, ..before };
        assert_eq!(busy.unusual_since(&before), None, "work is no reason for a report");
        let now = Counts { late_events: 5, skipped: 1, ..busy };
        let expected = "1 skipped message, 3 late events (5 in all)";
        assert_eq!(now.unusual_since(&before).as_deref(), Some(expected));
    }
}
