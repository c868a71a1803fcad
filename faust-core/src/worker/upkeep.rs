//! What a worker does now and then beside its events: looks whether topics are as they were, trims its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::shared::Key;
use crate::error::{Error, TransportError};
use crate::plan::{Plan, TopicRole};
use crate::task::TaskHandle;
use crate::transport::{TopicPartition, Transport};

/// Looks whether the topics that tasks read still have as many partitions as at the start.
///
/// # Errors
/// One has not.
pub(super) async fn look_at_topics(plan: Arc<Plan>, transport: Arc<dyn Transport>) -> Result<(), Error> {
    let names: Vec<_> = plan.topics().map(|topic| topic.name().to_owned()).collect();
    // A broker that is away says nothing about counts.
    let Ok(found) = topics(&*transport, names).await else { return Ok(()) };
    for topic in plan.topics().filter(|topic| !matches!(topic.role(), TopicRole::Output | TopicRole::DeadLetter)) {
        if let (Some(known), Some(&now)) = (topic.partitions(), found.get(topic.name()))
            && now != known
        {
            return Err(changed_count(topic.name(), known, now));
        }
    }
    Ok(())
}

/// A partition that was not there at the start: its keys would lie where the tables of others do not look.
pub(super) fn check_count(plan: &Plan, partition: &TopicPartition) -> Result<(), Error> {
    let topic = plan.topics().find(|topic| *topic.name() == *partition.topic);
    match topic.and_then(|topic| topic.partitions()) {
        Some(known) if partition.partition >= known => {
            Err(changed_count(&partition.topic, known, partition.partition + 1))
        }
        _ => Ok(()),
    }
}

fn changed_count(topic: &str, known: i32, now: i32) -> Error {
    Error::Misuse(format!(
        "topic `{topic}` has {now} partitions now, and had {known} when the worker started: keys lie elsewhere from now on, and tables would be wrong; start the workers again, and where tables depend on it, raise the app's `version` to build them anew"
    ))
}

/// Trims the topics behind `group_by`: what is committed there nobody reads again.
#[derive(Debug, Default)]
pub(super) struct Purge {
    /// Up to where each partition was trimmed.
    done: BTreeMap<TopicPartition, i64>,
}

impl Purge {
    /// What is committed and was not trimmed yet.
    pub(super) fn due(&self, plan: &Plan, tasks: &BTreeMap<Key, TaskHandle>) -> BTreeMap<TopicPartition, i64> {
        let purged: Vec<_> = plan.topics().filter(|topic| topic.purge).map(|topic| topic.name()).collect();
        if purged.is_empty() {
            return BTreeMap::new();
        }
        let parts = tasks.values().flat_map(|task| &task.parts);
        let committed: BTreeMap<_, _> = parts
            .filter(|part| purged.contains(&&*part.reader.partition().topic))
            .filter_map(|part| Some((part.reader.partition().clone(), part.committed()?.offset)))
            .collect();
        let due = committed.iter().filter(|(partition, offset)| self.done.get(partition).unwrap_or(&0) < offset);
        due.map(|(partition, offset)| (partition.clone(), *offset)).collect()
    }

    /// These were trimmed.
    pub(super) fn done(&mut self, trimmed: BTreeMap<TopicPartition, i64>) {
        self.done.extend(trimmed);
    }
}

/// Trims; gives back what was trimmed. What does not succeed is tried again with the next trim.
pub(super) async fn purge(
    transport: Arc<dyn Transport>,
    before: BTreeMap<TopicPartition, i64>,
) -> BTreeMap<TopicPartition, i64> {
    match delete_records(&*transport, before.clone()).await {
        Ok(()) => before,
        Err(error) => {
            tracing::debug!("topics behind a `group_by` were not trimmed: {error}");
            BTreeMap::new()
        }
    }
}

async fn topics(transport: &dyn Transport, names: Vec<String>) -> Result<BTreeMap<String, i32>, TransportError> {
    transport.admin()?.topics(Some(names)).await
}

async fn delete_records(
    transport: &dyn Transport,
    before: BTreeMap<TopicPartition, i64>,
) -> Result<(), TransportError> {
    transport.admin()?.delete_records(before).await
}
