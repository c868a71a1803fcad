//! `OffsetCommit`, `OffsetFetch`, `OffsetDelete`.

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse, TopicName,
};

use crate::core::{BrokerCore, Committed, ErrorCode, MemberRef, OffsetToCommit};
use crate::listener::api::groups::member_ref;
use crate::listener::api::{code, text};
use crate::listener::router::Call;

pub(crate) fn commit(call: &Call, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let member = member_ref(&request.member_id, request.group_instance_id, request.generation_id_or_member_epoch);
    let member = MemberRef { knows_member_epochs: call.version >= 9, ..member };
    // Since version 5, the broker alone determines the retention; before, -1 stands for the broker's.
    let retention_ms = Some(request.retention_time_ms).filter(|ms| (2..=4).contains(&call.version) && *ms >= 0);
    let offsets = request.topics.iter().flat_map(|topic| to_commit(topic, retention_ms)).collect();
    let outcome =
        call.shared.with_groups(|broker, now_ms| broker.commit_offsets(&request.group_id, &member, offsets, now_ms));
    // One result per partition in the order of the request, or one for all of them.
    let (mut each, all) = match outcome {
        Ok(each) => (each.into_iter(), Ok(())),
        Err(code) => (Vec::new().into_iter(), Err(code)),
    };
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code(each.next().unwrap_or(all)))
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

fn to_commit(topic: &OffsetCommitRequestTopic, retention_ms: Option<i64>) -> impl Iterator<Item = OffsetToCommit> {
    topic.partitions.iter().map(move |partition| OffsetToCommit {
        topic: topic.name.to_string(),
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.as_ref().map(|metadata| metadata.to_string()).unwrap_or_default(),
        retention_ms,
    })
}

pub(crate) fn fetch(call: &Call, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let state = call.shared.lock();
    if call.version >= 8 {
        let groups = request.groups.into_iter().map(|group| {
            if let Err(code) = checked(call.version, &state.broker, &group) {
                let refused = OffsetFetchResponseGroup::default().with_group_id(group.group_id);
                return refused.with_error_code(code.code());
            }
            let wanted = group
                .topics
                .map(|topics| topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect());
            let offsets = offsets_of(&state.broker, &group.group_id, wanted, request.require_stable);
            let topics = offsets.into_iter().map(|(name, partitions)| {
                let partitions = partitions.into_iter().map(|(index, found)| fetched_by_group(index, found)).collect();
                OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions)
            });
            let topics = topics.collect();
            OffsetFetchResponseGroup::default().with_group_id(group.group_id).with_topics(topics)
        });
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let wanted =
        request.topics.map(|topics| topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect());
    let offsets = offsets_of(&state.broker, &request.group_id, wanted, request.require_stable);
    let topics = offsets.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, found)| fetched(call.version, index, found)).collect();
        OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions)
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

/// Checks the member that a request states, as it may since version 9.
fn checked(version: i16, broker: &BrokerCore, group: &OffsetFetchRequestGroup) -> Result<(), ErrorCode> {
    let (id, epoch) = if version >= 9 { (group.member_id.as_deref(), group.member_epoch) } else { (None, -1) };
    broker.check_offset_fetch(&group.group_id, id, epoch)
}

type ByTopic<T> = Vec<(TopicName, Vec<T>)>;

/// A committed offset, if there is one, or the reason why it is not known.
type Found = Result<Option<Committed>, ErrorCode>;

/// Returns the committed offsets of a group, for the `wanted` partitions or for all. With `must_be_stable`, the offset of
/// a partition is not known while an open transaction has committed another one.
fn offsets_of(
    broker: &BrokerCore,
    group: &str,
    wanted: Option<ByTopic<i32>>,
    must_be_stable: bool,
) -> ByTopic<(i32, Found)> {
    let stable = |topic: &str, index: i32, found: Option<Committed>| {
        let is_pending = must_be_stable && broker.has_pending_offset(group, topic, index);
        if is_pending { Err(ErrorCode::UnstableOffsetCommit) } else { Ok(found) }
    };
    if let Some(wanted) = wanted {
        let topic = |(name, partitions): (TopicName, Vec<i32>)| {
            let found = |index| (index, stable(&name, index, broker.committed_offset(group, &name, index).cloned()));
            let partitions = partitions.into_iter().map(found).collect();
            (name, partitions)
        };
        return wanted.into_iter().map(topic).collect();
    }
    let mut topics: ByTopic<(i32, Found)> = Vec::new();
    for offset in broker.committed_offsets(group) {
        let found = (offset.partition, stable(&offset.topic, offset.partition, Some(offset.committed)));
        match topics.last_mut().filter(|(name, _)| name.as_str() == offset.topic) {
            Some((_, partitions)) => partitions.push(found),
            None => topics.push((TopicName(text(offset.topic)), vec![found])),
        }
    }
    topics
}

fn fetched_by_group(index: i32, found: Found) -> OffsetFetchResponsePartitions {
    let partition = OffsetFetchResponsePartitions::default().with_partition_index(index);
    match found {
        Ok(Some(found)) => partition
            .with_committed_offset(found.offset)
            .with_committed_leader_epoch(found.leader_epoch)
            .with_metadata(Some(text(found.metadata))),
        found => {
            partition.with_committed_offset(-1).with_metadata(Some(text(""))).with_error_code(code(found.map(|_| ())))
        }
    }
}

fn fetched(version: i16, index: i32, found: Found) -> OffsetFetchResponsePartition {
    let partition = OffsetFetchResponsePartition::default().with_partition_index(index);
    match found {
        Ok(Some(found)) => partition
            .with_committed_offset(found.offset)
            .with_committed_leader_epoch(if version >= 5 { found.leader_epoch } else { -1 })
            .with_metadata(Some(text(found.metadata))),
        found => {
            partition.with_committed_offset(-1).with_metadata(Some(text(""))).with_error_code(code(found.map(|_| ())))
        }
    }
}

pub(crate) fn delete(call: &Call, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let mut state = call.shared.lock();
    if !state.broker.has_group(&request.group_id) {
        return OffsetDeleteResponse::default().with_error_code(ErrorCode::GroupIdNotFound.code());
    }
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            let known = state.broker.topic(&topic.name).map_or(0..0, |topic| 0..topic.partitions());
            let deleted = match known.contains(&index) {
                true => state.broker.delete_offset(&request.group_id, &topic.name, index),
                false => Err(ErrorCode::UnknownTopicOrPartition),
            };
            OffsetDeleteResponsePartition::default().with_partition_index(index).with_error_code(code(deleted))
        });
        let partitions = partitions.collect();
        OffsetDeleteResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}
