//! The plans and workers that a worker has read from the control topic.

use std::collections::{BTreeMap, BTreeSet};

use super::entries::{EntryKey, START_HEADER, WorkerEntry};
use crate::message::OwnedMessage;
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
    /// The latest time of a record, by the broker's clock.
    latest: Timestamp,
    /// The broker's time of the first entry of this start of this worker; `None` until it was read.
    own: Option<Timestamp>,
}

/// Another worker, as its last entry describes it.
#[derive(Debug)]
struct KnownWorker {
    entry: WorkerEntry,
    /// The broker's time of the entry.
    time: Timestamp,
}

impl KnownWorker {
    fn is_live(&self, now: Timestamp) -> bool {
        let age = u64::try_from(now.0.saturating_sub(self.time.0)).unwrap_or(0);
        age < self.entry.timeout_ms
    }
}

/// Another worker, which owns partitions of a table of this plan from other topics.
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
    /// The first entry of this worker was read: everything is known that was written before.
    Complete,
    /// Another worker has started under the same name.
    Replaced,
}

impl Known {
    pub(super) fn new(name: String, start: u64) -> Self {
        let former = BTreeSet::new();
        Self {
            name,
            start,
            former,
            plans: BTreeMap::new(),
            workers: BTreeMap::new(),
            latest: Timestamp(i64::MIN),
            own: None,
        }
    }

    /// Returns the other workers that had partitions of these numbers when they wrote their last entries, each with whether it is
    /// alive. This worker's own entries move the time on.
    pub(super) fn owners(&self, partitions: &BTreeSet<i32>) -> BTreeMap<String, bool> {
        let had = |known: &KnownWorker| known.entry.partitions.values().flatten().any(|own| partitions.contains(own));
        let of = self.workers.iter().filter(|(_, known)| had(known));
        of.map(|(name, known)| (name.clone(), known.is_live(self.latest))).collect()
    }

    /// Returns the plan with this fingerprint, if it is known.
    pub(super) fn plan(&self, fingerprint: &str) -> Option<&PlanSummary> {
        self.plans.get(fingerprint)
    }

    /// Returns the workers that are alive at this time, by the broker's clock, each with its last entry.
    pub(super) fn live(&self, now: Timestamp) -> impl Iterator<Item = (&str, &WorkerEntry)> {
        let live = self.workers.iter().filter(move |(_, known)| known.is_live(now));
        live.map(|(name, known)| (name.as_str(), &known.entry))
    }

    /// Applies a record. What cannot be read is ignored: a later release may have written it.
    pub(super) fn apply(&mut self, message: &OwnedMessage) -> Effect {
        self.latest = self.latest.max(message.timestamp);
        let Some(key) = message.key.as_deref().and_then(EntryKey::read) else { return Effect::Nothing };
        match (key, message.payload.as_deref()) {
            (EntryKey::Plan(name), Some(payload)) => {
                self.plans.extend(serde_json::from_slice(payload).ok().map(|plan| (name, plan)));
                Effect::Nothing
            }
            (EntryKey::Worker(name), Some(payload)) => match serde_json::from_slice(payload) {
                Ok(entry) => self.apply_worker(name, entry, message),
                Err(_) => Effect::Nothing,
            },
            (EntryKey::Worker(name), None) => {
                let start = message.headers.get_str(START_HEADER).and_then(|start| start.parse().ok());
                let is_of = |known: &KnownWorker| start.is_none_or(|start: u64| known.entry.start == start);
                if self.workers.get(&name).is_some_and(is_of) {
                    self.workers.remove(&name);
                }
                Effect::Nothing
            }
            (EntryKey::Plan(_), None) => Effect::Nothing,
        }
    }

    fn apply_worker(&mut self, name: String, entry: WorkerEntry, message: &OwnedMessage) -> Effect {
        if name != self.name {
            self.workers.insert(name, KnownWorker { entry, time: message.timestamp });
            return Effect::Nothing;
        }
        match (entry.start == self.start, self.own) {
            (true, None) => {
                self.own = Some(message.timestamp);
                Effect::Complete
            }
            (true, Some(_)) => Effect::Nothing,
            (false, None) => {
                self.former.insert(entry.start);
                Effect::Nothing
            }
            // It has not read yet that this one has replaced it.
            (false, Some(_)) if self.former.contains(&entry.start) => Effect::Nothing,
            (false, Some(_)) => Effect::Replaced,
        }
    }

    /// Returns the workers that own partitions of a table of this plan from other topics, of those that were alive when this
    /// worker's first entry was written, by the broker's clock. Those that have started since are not among them as long as this
    /// is called when everything before is known: of two that start at once, one finds the other.
    pub(super) fn rivals(&self, plan: &PlanSummary) -> Vec<Rival> {
        let Some(now) = self.own else { return Vec::new() };
        let live = self.workers.iter().filter(|(_, known)| known.is_live(now));
        let plans = live.filter_map(|(name, known)| Some((name, self.plans.get(&known.entry.plan)?)));
        let rivals = plans.flat_map(|(worker, theirs)| {
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
    use crate::message::{Headers, Offset};
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

    fn removal(key: &str, start: u64) -> OwnedMessage {
        let headers = Headers::new().with(START_HEADER, start.to_string());
        OwnedMessage { headers, ..message(1, 1, key, None) }
    }

    fn entry(start: u64, plan: &str) -> Option<String> {
        let entry = WorkerEntry { start, plan: plan.to_owned(), timeout_ms: 10_000, ..WorkerEntry::default() };
        serde_json::to_string(&entry).ok()
    }

    fn plan(topic: &str) -> PlanSummary {
        let table =
            TableSummary { changelog: "log".to_owned(), kind: "u8".to_owned(), topics: [topic.to_owned()].into() };
        PlanSummary { tables: [("t".to_owned(), table)].into(), ..PlanSummary::default() }
    }

    /// A worker that has read its own first entry, written at time 100 000, after these records.
    fn known(records: &[OwnedMessage]) -> Known {
        let mut known = Known::new("me".to_owned(), 1);
        for record in records {
            assert_ne!(known.apply(record), Effect::Complete);
        }
        assert_eq!(known.apply(&message(10, 100_000, "worker/me", entry(1, "mine"))), Effect::Complete);
        known
    }

    fn records(time: i64, topic: &str) -> Vec<OwnedMessage> {
        let theirs = serde_json::to_string(&plan(topic)).ok();
        vec![message(1, time, "plan/x", theirs), message(2, time, "worker/other", entry(5, "x"))]
    }

    #[test]
    fn a_live_worker_with_the_table_and_other_topics_is_a_rival() {
        let rivals = |records: &[OwnedMessage]| known(records).rivals(&plan("a"));
        let rival = Rival { worker: "other".to_owned(), table: "t".to_owned(), topics: vec!["b".to_owned()] };
        assert_eq!(rivals(&records(95_000, "b")), [rival]);
        assert_eq!(rivals(&records(95_000, "a")), [], "it shares the topic");
        assert_eq!(rivals(&records(80_000, "b")), [], "it was dead before");
        let with = |last: OwnedMessage| rivals(&[records(95_000, "b"), vec![last]].concat()).len();
        assert_eq!(with(removal("worker/other", 5)), 0, "it has stopped");
        assert_eq!(with(removal("worker/other", 4)), 1, "its former start has stopped");
        assert_eq!(with(message(3, 1, "worker/other", Some("[]".to_owned()))), 1, "an entry that cannot be read");
    }

    #[test]
    fn a_later_start_under_the_same_name_replaces_this_worker() {
        let mut known = known(&[message(3, 99_000, "worker/me", entry(9, "x"))]);
        assert_eq!(known.apply(&message(11, 1, "worker/me", entry(1, "mine"))), Effect::Nothing);
        assert_eq!(known.apply(&message(11, 1, "worker/me", entry(9, "x"))), Effect::Nothing, "it is the former");
        assert_eq!(known.apply(&message(12, 1, "worker/me", entry(2, "mine"))), Effect::Replaced);
    }

    #[test]
    fn a_former_owner_is_alive_until_it_has_been_silent_for_its_timeout() {
        let partitions = [("in".to_owned(), vec![3])].into();
        let theirs = WorkerEntry { start: 5, timeout_ms: 10_000, partitions, ..WorkerEntry::default() };
        let entry_of_other = message(2, 95_000, "worker/other", serde_json::to_string(&theirs).ok());
        let mut known = known(&[entry_of_other]);
        let owners = |known: &Known, number| known.owners(&[number].into());
        assert_eq!(owners(&known, 3), [("other".to_owned(), true)].into());
        assert_eq!(owners(&known, 4), BTreeMap::new());
        // The own entries move the time on.
        known.apply(&message(11, 105_000, "worker/me", entry(1, "mine")));
        assert_eq!(owners(&known, 3), [("other".to_owned(), false)].into());
        known.apply(&removal("worker/other", 5));
        assert_eq!(owners(&known, 3), BTreeMap::new(), "it has stopped");
    }

    #[test]
    fn records_of_other_kinds_are_ignored() {
        let mut known = known(&[]);
        for (key, payload) in [("command/x", "{}"), ("worker/y", "[]"), ("plan/z", "no JSON")] {
            assert_eq!(known.apply(&message(20, 1, key, Some(payload.to_owned()))), Effect::Nothing, "{key}");
        }
        assert_eq!((known.plan("z"), known.rivals(&plan("a"))), (None, Vec::new()));
    }
}
