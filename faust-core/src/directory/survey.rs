//! The workers and plans of an app as its control topic describes them, read from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use super::entries::{EntryKey, WorkerEntry};
use super::known::Known;
use crate::error::TransportError;
use crate::message::OwnedMessage;
use crate::plan::{Plan, PlanChange, PlanSummary};
use crate::time::Timestamp;
use crate::transport::{PROMPT, Read, StartAt, TopicPartition, Transport};

/// Maximum time between two records of the control topic while it is read to its end.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// The workers of an app, and the plans that they run.
///
/// The state is that of the app's control topic, where each worker writes its plan when it starts, and a sign of life every few
/// seconds.
#[derive(Debug)]
pub struct RunningApp {
    /// The workers of each plan. Without live workers, this is the plan that was started last, without workers.
    plans: Vec<(PlanSummary, Vec<String>)>,
    /// The live workers, as they describe themselves.
    live: BTreeMap<String, WorkerEntry>,
}

/// The workers that keep a partition of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableReplicas {
    /// Name of the table.
    pub table: String,
    /// Number of its partition.
    pub partition: i32,
    /// The worker that updates it; `None` while no live worker has the partition.
    pub worker: Option<String>,
    /// The workers that keep a standby, each with its lag: the number of changelog offsets between it and the last commit. `None`
    /// until that is known.
    pub standbys: BTreeMap<String, Option<u64>>,
}

impl RunningApp {
    /// Reads the control topic of the plan's app, which must exist, to its end. With `has_members` false, the consumer group is
    /// known to have no members, so that no worker is alive, whatever the topic says.
    ///
    /// # Errors
    /// Fails if the topic cannot be read.
    pub async fn read(transport: &dyn Transport, plan: &Plan, has_members: bool) -> Result<Self, TransportError> {
        let topic = TopicPartition::new(plan.control_topic(), 0);
        let mut reader = transport.read(vec![(topic, StartAt::Earliest)], PROMPT)?;
        let mut records = Vec::new();
        loop {
            match reader.next(READ_WITHIN).await? {
                Some(Read::Message(_, message)) => records.push(message),
                Some(Read::End(_)) => return Ok(Self::of(&records, has_members)),
                None => {
                    let why = format!("its end was not reached: no record within {READ_WITHIN:?}");
                    return Err(TransportError::retriable(format!("read of topic `{}`", plan.control_topic()), why));
                }
            }
        }
    }

    fn of(records: &[OwnedMessage], has_members: bool) -> Self {
        // No worker has an empty name, so that none of the entries is taken for an own one.
        let mut known = Known::new(String::new(), 0);
        let (mut latest, mut last_plan) = (Timestamp(i64::MIN), None);
        for record in records {
            latest = latest.max(record.timestamp);
            if let (Some(EntryKey::Plan(name)), Some(_)) =
                (record.key.as_deref().and_then(EntryKey::read), &record.payload)
            {
                last_plan = Some(name);
            }
            known.apply(record);
        }
        // Live workers write every few seconds: one that is alive is so at the time of the latest record, too.
        let live = known.live(latest).filter(|_| has_members);
        let live: BTreeMap<_, _> = live.map(|(worker, entry)| (worker.to_owned(), entry.clone())).collect();
        let mut by_plan: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (worker, entry) in &live {
            by_plan.entry(&entry.plan).or_default().push(worker.clone());
        }
        if by_plan.is_empty() {
            by_plan.extend(last_plan.as_deref().map(|plan| (plan, Vec::new())));
        }
        let plans = by_plan.into_iter().filter_map(|(plan, workers)| Some((known.plan(plan)?.clone(), workers)));
        Self { plans: plans.collect(), live }
    }

    /// Returns `true` if no worker of the app has run so far.
    pub fn is_new(&self) -> bool {
        self.plans.is_empty()
    }

    /// Returns the names of the live workers.
    pub fn workers(&self) -> impl Iterator<Item = &str> {
        self.plans.iter().flat_map(|(_, workers)| workers).map(String::as_str)
    }

    /// Returns who keeps each partition of the plan's tables, sorted, as far as a live worker does. Workers publish their lags every
    /// few seconds.
    pub fn replicas(&self, plan: &Plan) -> Vec<TableReplicas> {
        let mut found = BTreeMap::new();
        let empty = |table: &str, partition| TableReplicas {
            table: table.to_owned(),
            partition,
            worker: None,
            standbys: BTreeMap::new(),
        };
        for set in plan.sets() {
            for (worker, entry) in &self.live {
                let owned: Vec<i32> =
                    set.topics.iter().filter_map(|topic| entry.partitions.get(&**topic)).flatten().copied().collect();
                for table in &set.tables {
                    for number in &owned {
                        let replicas = found.entry((&**table, *number)).or_insert_with(|| empty(table, *number));
                        replicas.worker = Some(worker.clone());
                    }
                    for (number, lag) in entry.standbys.get(&**table).into_iter().flatten() {
                        let replicas = found.entry((&**table, *number)).or_insert_with(|| empty(table, *number));
                        replicas.standbys.insert(worker.clone(), *lag);
                    }
                }
            }
        }
        found.into_values().collect()
    }

    /// Returns the number of different plans of the live workers, or 1 for the last plan of an app without any.
    pub fn plan_count(&self) -> usize {
        self.plans.len()
    }

    /// Returns the changes from the running plans to this one, without duplicates.
    pub fn changes_to(&self, plan: &Plan) -> Vec<PlanChange> {
        let ours = plan.summary();
        let mut changes: Vec<PlanChange> = Vec::new();
        for change in self.plans.iter().flat_map(|(running, _)| ours.changes_from(running)) {
            if !changes.contains(&change) {
                changes.push(change);
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use bytes::Bytes;

    use super::super::entries::WorkerEntry;
    use super::*;
    use crate::message::{Headers, Offset};

    fn record(time: i64, key: &EntryKey, payload: Option<Vec<u8>>) -> OwnedMessage {
        OwnedMessage {
            offset: Offset(time),
            timestamp: Timestamp(time),
            key: Some(Bytes::from(key.text())),
            payload: payload.map(Bytes::from),
            headers: Headers::new(),
        }
    }

    fn plan(time: i64, name: &str) -> OwnedMessage {
        let summary = serde_json::to_vec(&PlanSummary::default()).unwrap();
        record(time, &EntryKey::Plan(name.to_owned()), Some(summary))
    }

    fn worker(time: i64, name: &str, plan: &str) -> OwnedMessage {
        let entry = WorkerEntry { start: 1, plan: plan.to_owned(), timeout_ms: 1000, ..WorkerEntry::default() };
        record(time, &EntryKey::Worker(name.to_owned()), Some(serde_json::to_vec(&entry).unwrap()))
    }

    fn running(records: &[OwnedMessage], has_members: bool) -> Vec<Vec<String>> {
        RunningApp::of(records, has_members).plans.into_iter().map(|(_, workers)| workers).collect()
    }

    #[test]
    fn the_plans_are_those_of_live_workers_or_the_last() {
        let records =
            [plan(0, "p1"), plan(10, "p2"), worker(20, "a", "p1"), worker(1100, "b", "p2"), worker(1200, "c", "p2")];
        assert_eq!(running(&records, true), [["b", "c"]], "`a` has been silent for longer than its timeout");
        assert_eq!(running(&records[..4], true), [["b"]]);
        assert_eq!(running(&records[..3], true), [["a"]]);
        assert_eq!(running(&records, false), [[""; 0]], "the last plan, without workers");
        assert!(RunningApp::of(&[], true).is_new());
    }
}
