//! Periodic maintenance of a worker: checks the topics' partition counts, and deletes committed repartition records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::shared::Key;
use crate::error::{Error, TransportError};
use crate::message::Offset;
use crate::plan::{Plan, TopicPlan, TopicRole};
use crate::task::{BegunLogs, OwnParts, TaskHandle, TaskPartition};
use crate::transport::{TopicPartition, Transport};

/// Checks that the app's topics, other than outputs and the dead-letter topic, still have as many partitions as at the
/// start, or more if no table depends on them. Compares the logs of the assigned partitions with those that are read, and
/// checks whether logs that were empty are those whose first message was read. Reads the parts of changelogs that may hold records of
/// former owners. What cannot be looked up is checked the next time.
///
/// # Errors
/// Fails if a partition count has changed.
pub(super) async fn look_at_topics(
    plan: Arc<Plan>,
    transport: Arc<dyn Transport>,
    begun: Arc<BegunLogs>,
    own_parts: Arc<OwnParts>,
    parts: Vec<TaskPartition>,
) -> Result<(), Error> {
    if let Err(error) = own_parts.look(&*transport).await {
        tracing::debug!("{error}; the next restore reads more of some changelogs");
    }
    let names: Vec<_> = plan.topics().map(|topic| topic.name().to_owned()).collect();
    let Ok(found) = topics(&*transport, names).await else { return Ok(()) };
    for topic in plan
        .topics()
        .filter(|topic| !matches!(topic.role(), TopicRole::Output | TopicRole::DeadLetter | TopicRole::Control))
    {
        if let (Some(known), Some(&now)) = (topic.partitions(), found.get(topic.name()))
            && now != known
            && !(now > known && may_grow(&plan, topic))
        {
            return Err(changed_count(topic.name(), known, now));
        }
    }
    let checked = match begun.check(&*transport).await {
        Ok(()) => compare_logs(&*transport, &parts).await,
        Err(error) => Err(error),
    };
    if let Err(error) = checked {
        tracing::debug!("{error}; the logs of some topics are not known yet");
    }
    Ok(())
}

/// Ends the reading of partitions whose topics were deleted and created again. A broker reports it only if the new log is shorter
/// than what was read of the former one.
async fn compare_logs(transport: &dyn Transport, parts: &[TaskPartition]) -> Result<(), TransportError> {
    let topics: BTreeSet<_> = parts.iter().map(|part| part.reader.partition().topic.to_string()).collect();
    if topics.is_empty() {
        return Ok(());
    }
    let ids = transport.admin()?.topic_ids(topics.into_iter().collect()).await?;
    for part in parts {
        if let Some(id) = ids.get(&*part.reader.partition().topic) {
            part.compare_log(id);
        }
    }
    Ok(())
}

/// Returns whether partitions may be added to a topic while workers run: it is a source, no table depends on the partitions
/// of its keys, and no other topic must have as many partitions.
fn may_grow(plan: &Plan, topic: &TopicPlan) -> bool {
    let set = plan.set_of(topic.name()).and_then(|set| plan.sets().get(set));
    let is_followed = |other: &TopicPlan| other.follows && other.like.iter().any(|like| **like == *topic.name());
    topic.role() == TopicRole::Source
        && topic.decl.and_then(|decl| decl.partitions).is_none()
        && set.is_some_and(|set| set.tables.is_empty())
        && !plan.topics().any(is_followed)
}

/// Checks that an assigned partition existed at the start, unless no table depends on it.
///
/// # Errors
/// Fails if it did not: its keys were in other partitions before, where their table entries are.
pub(super) fn check_count(plan: &Plan, partition: &TopicPartition) -> Result<(), Error> {
    let topic = plan.topics().find(|topic| *topic.name() == *partition.topic && !may_grow(plan, topic));
    match topic.and_then(|topic| topic.partitions()) {
        Some(known) if partition.partition >= known => {
            Err(changed_count(&partition.topic, known, partition.partition + 1))
        }
        _ => Ok(()),
    }
}

fn changed_count(topic: &str, known: i32, now: i32) -> Error {
    Error::Misuse(format!(
        "topic `{topic}` has {now} partitions now, but had {known} when the worker started: keys map to other partitions, and tables would be wrong; restart the workers, and if tables depend on the topic, raise the app's `version` to rebuild them"
    ))
}

/// Deletion of committed records from the repartition topics of `group_by`, which are not read again.
#[derive(Debug, Default)]
pub(super) struct Purge {
    /// Offset before which the records of each partition have been deleted.
    done: BTreeMap<TopicPartition, Offset>,
}

impl Purge {
    /// Returns the committed offset of each partition that has committed records to delete.
    pub(super) fn due(&self, plan: &Plan, tasks: &BTreeMap<Key, TaskHandle>) -> BTreeMap<TopicPartition, Offset> {
        let purged: Vec<_> = plan.topics().filter(|topic| topic.purge).map(|topic| topic.name()).collect();
        if purged.is_empty() {
            return BTreeMap::new();
        }
        let parts = tasks.values().flat_map(|task| &task.parts);
        let committed: BTreeMap<_, _> = parts
            .filter(|part| purged.contains(&&*part.reader.partition().topic))
            .filter_map(|part| Some((part.reader.partition().clone(), part.committed()?)))
            .collect();
        let due =
            committed.iter().filter(|(partition, offset)| self.done.get(partition).unwrap_or(&Offset(0)) < offset);
        due.map(|(partition, offset)| (partition.clone(), *offset)).collect()
    }

    /// Records the partitions whose records have been deleted.
    pub(super) fn done(&mut self, trimmed: BTreeMap<TopicPartition, Offset>) {
        self.done.extend(trimmed);
    }
}

/// Deletes the records before the given offsets. Returns the offsets if that succeeded; a failed deletion is retried
/// with the next one.
pub(super) async fn purge(
    transport: Arc<dyn Transport>,
    before: BTreeMap<TopicPartition, Offset>,
) -> BTreeMap<TopicPartition, Offset> {
    match delete_records(&*transport, before.clone()).await {
        Ok(()) => before,
        Err(error) => {
            tracing::debug!("committed records of `group_by` topics were not deleted: {error}");
            BTreeMap::new()
        }
    }
}

async fn topics(transport: &dyn Transport, names: Vec<String>) -> Result<BTreeMap<String, i32>, TransportError> {
    transport.admin()?.topics(Some(names)).await
}

async fn delete_records(
    transport: &dyn Transport,
    before: BTreeMap<TopicPartition, Offset>,
) -> Result<(), TransportError> {
    transport.admin()?.delete_records(before).await
}
