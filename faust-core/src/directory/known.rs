//! What a worker has read from the control topic.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::entries::{EntryKey, WorkerEntry};
use crate::message::{Offset, OwnedMessage};
use crate::plan::PlanSummary;
use crate::time::Timestamp;

/// The plans and workers of an app, as far as its control topic was read.
#[derive(Debug)]
pub(super) struct Known {
    name: String,
    start: u64,
    /// Former starts of this worker: those that have written before this one.
    former: BTreeSet<u64>,
    plans: BTreeMap<String, PlanSummary>,
    workers: BTreeMap<String, KnownWorker>,
    /// Offset and time of the first entry of this start of this worker; `None` until it was read.
    own: Option<(Offset, Timestamp)>,
    /// Age after which an entry counts as that of a dead worker.
    timeout: Duration,
}

/// A worker, as its last entry describes it.
#[derive(Debug)]
struct KnownWorker {
    entry: WorkerEntry,
    /// Offset of the first entry of this start that was read.
    first: Offset,
    /// The broker's time of the last entry.
    time: Timestamp,
    /// Time at which the last entry arrived; `None` if it was there before this worker's own.
    arrived: Option<Instant>,
}

/// Another worker, which has started before this one, and owns partitions of a table from other topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rival {
    pub(crate) worker: String,
    pub(crate) table: String,
    /// The topics from which it owns the table's partitions.
    pub(crate) topics: Vec<String>,
}

/// The effect of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    /// The first entry of this worker was read: it knows all that was written before.
    Complete,
    /// Other workers have changed.
    Changed,
    /// Another worker has started under the same name.
    Replaced,
}

impl Known {
    pub(super) fn new(name: String, start: u64, timeout: Duration) -> Self {
        Self {
            name,
            start,
            former: BTreeSet::new(),
            plans: BTreeMap::new(),
            workers: BTreeMap::new(),
            own: None,
            timeout,
        }
    }

    /// Returns whether everything was read that was written before this worker's first entry.
    pub(super) fn is_complete(&self) -> bool {
        self.own.is_some()
    }

    /// Returns the plan with this fingerprint, if it is known.
    pub(super) fn plan(&self, fingerprint: &str) -> Option<&PlanSummary> {
        self.plans.get(fingerprint)
    }

    /// Applies a record. What cannot be read is ignored: a later release may have written it.
    pub(super) fn apply(&mut self, message: &OwnedMessage, now: Instant) -> Effect {
        let Some(key) = message.key.as_deref().and_then(EntryKey::read) else { return Effect::Nothing };
        match key {
            EntryKey::Plan(name) => {
                let plan = message.payload.as_deref().and_then(|payload| serde_json::from_slice(payload).ok());
                self.plans.extend(plan.map(|plan| (name, plan)));
                Effect::Nothing
            }
            EntryKey::Worker(name) => {
                let entry = message.payload.as_deref().and_then(|payload| serde_json::from_slice(payload).ok());
                self.apply_worker(name, entry, message, now)
            }
        }
    }

    fn apply_worker(
        &mut self,
        name: String,
        entry: Option<WorkerEntry>,
        message: &OwnedMessage,
        now: Instant,
    ) -> Effect {
        let Some(entry) = entry else {
            return if self.workers.remove(&name).is_some() { Effect::Changed } else { Effect::Nothing };
        };
        if name == self.name {
            return match (entry.start == self.start, self.own) {
                (true, None) => {
                    self.own = Some((message.offset, message.timestamp));
                    Effect::Complete
                }
                (false, None) => {
                    self.former.insert(entry.start);
                    Effect::Nothing
                }
                // It does not know yet that this one has replaced it.
                (false, Some(_)) if self.former.contains(&entry.start) => Effect::Nothing,
                (false, Some(_)) => Effect::Replaced,
                (true, Some(_)) => Effect::Nothing,
            };
        }
        let before = self.workers.get(&name).filter(|seen| seen.entry.start == entry.start);
        let first = before.map_or(message.offset, |seen| seen.first);
        let changed = before.is_none_or(|seen| seen.entry != entry);
        let arrived = self.own.map(|_| now);
        self.workers.insert(name, KnownWorker { entry, first, time: message.timestamp, arrived });
        if changed { Effect::Changed } else { Effect::Nothing }
    }

    /// Returns the live workers that started before this one, and own partitions of a table of this plan from other topics.
    pub(super) fn rivals(&self, plan: &PlanSummary, now: Instant, began: Instant) -> Vec<Rival> {
        let Some((own, time)) = self.own else { return Vec::new() };
        let is_live = |seen: &KnownWorker| match seen.arrived {
            Some(arrived) => now.saturating_duration_since(arrived) < self.timeout,
            // By the broker's clock, since this worker's own entry was written.
            None => {
                let age = u64::try_from(time.0.saturating_sub(seen.time.0)).unwrap_or(0);
                Duration::from_millis(age) + now.saturating_duration_since(began) < self.timeout
            }
        };
        let earlier = self.workers.iter().filter(|(_, seen)| seen.first < own && is_live(seen));
        let contested = earlier.filter_map(|(name, seen)| Some((name, self.plans.get(&seen.entry.plan)?)));
        let rivals = contested.flat_map(|(worker, theirs)| {
            plan.contested(theirs).into_iter().map(|contested| Rival {
                worker: worker.clone(),
                table: contested.table,
                topics: contested.topics.into_iter().collect(),
            })
        });
        rivals.collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::Headers;
    use crate::plan::TableSummary;

    fn message(offset: i64, time: i64, key: &str, payload: Option<String>) -> OwnedMessage {
        OwnedMessage {
            offset: Offset(offset),
            timestamp: Timestamp(time),
            key: Some(Bytes::from(key.to_owned())),
            payload: payload.map(Bytes::from),
            headers: Headers::new(),
        }
    }

    fn entry(start: u64, plan: &str) -> Option<String> {
        let entry = WorkerEntry { start, plan: plan.to_owned(), ..WorkerEntry::default() };
        serde_json::to_string(&entry).ok()
    }

    fn plan(topic: &str) -> PlanSummary {
        let table =
            TableSummary { changelog: "log".to_owned(), kind: "u8".to_owned(), topics: [topic.to_owned()].into() };
        PlanSummary { tables: [("t".to_owned(), table)].into(), ..PlanSummary::default() }
    }

    const TIMEOUT: Duration = Duration::from_secs(10);

    /// A worker that has read its own first entry at offset 10 and time 100 000, after these records.
    fn known(records: &[OwnedMessage], now: Instant) -> Known {
        let mut known = Known::new("me".to_owned(), 1, TIMEOUT);
        for record in records {
            assert_ne!(known.apply(record, now), Effect::Complete);
        }
        assert_eq!(known.apply(&message(10, 100_000, "worker/me", entry(1, "mine")), now), Effect::Complete);
        known
    }

    #[test]
    fn an_earlier_live_worker_with_the_table_and_other_topics_is_a_rival() {
        let now = Instant::now();
        let theirs = |topic: &str| serde_json::to_string(&plan(topic)).ok();
        let records = |time: i64, topic: &str| {
            [message(1, time, "plan/x", theirs(topic)), message(2, time, "worker/other", entry(5, "x"))]
        };
        let rivals = |known: &Known, after: u64| known.rivals(&plan("a"), now + Duration::from_secs(after), now).len();
        let live = known(&records(95_000, "b"), now);
        assert_eq!(
            live.rivals(&plan("a"), now, now),
            [Rival { worker: "other".to_owned(), table: "t".to_owned(), topics: vec!["b".to_owned()] }]
        );
        assert_eq!((rivals(&live, 4), rivals(&live, 6)), (1, 0), "it has written nothing for the session timeout");
        assert_eq!(rivals(&known(&records(95_000, "a"), now), 0), 0, "it shares the topic");
        assert_eq!(rivals(&known(&records(80_000, "b"), now), 0), 0, "it was dead before");

        let mut known = known(&records(95_000, "b"), now);
        let later = now + Duration::from_secs(5);
        assert_eq!(known.apply(&message(11, 1, "worker/other", entry(5, "x")), later), Effect::Nothing);
        assert_eq!(rivals(&known, 14), 1, "it goes on");
        assert_eq!(known.apply(&message(12, 1, "worker/other", None), later), Effect::Changed);
        assert_eq!(rivals(&known, 5), 0, "it has stopped");
        assert_eq!(known.apply(&message(13, 1, "worker/other", entry(6, "x")), later), Effect::Changed);
        assert_eq!(rivals(&known, 5), 0, "it has started after this worker");
    }

    #[test]
    fn a_later_start_under_the_same_name_replaces_this_worker() {
        let now = Instant::now();
        let mut known = known(&[message(3, 99_000, "worker/me", entry(9, "x"))], now);
        assert_eq!(known.apply(&message(11, 1, "worker/me", entry(1, "mine")), now), Effect::Nothing);
        assert_eq!(known.apply(&message(11, 1, "worker/me", entry(9, "x")), now), Effect::Nothing, "it is the former");
        assert_eq!(known.apply(&message(12, 1, "worker/me", entry(2, "mine")), now), Effect::Replaced);
    }

    #[test]
    fn records_of_other_kinds_are_ignored() {
        let now = Instant::now();
        let mut known = known(&[], now);
        for (key, payload) in [("command/x", "{}"), ("worker/y", "[]"), ("plan/z", "no JSON")] {
            assert_eq!(known.apply(&message(20, 1, key, Some(payload.to_owned())), now), Effect::Nothing, "{key}");
        }
        assert_eq!((known.plan("z"), known.rivals(&plan("a"), now, now)), (None, Vec::new()));
    }
}
