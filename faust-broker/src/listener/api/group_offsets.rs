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
use uuid::Uuid;

use crate::core::{BrokerCore, Committed, ErrorCode, MemberRef, OffsetToCommit};
use crate::listener::api::groups::member_ref;
use crate::listener::api::{code, text};
use crate::listener::router::Call;
use crate::listener::topic_ids::TOPIC_IDS;

pub(crate) fn commit(call: &Call, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let member = member_ref(&request.member_id, request.group_instance_id, request.generation_id_or_member_epoch);
    let member = MemberRef { knows_member_epochs: call.version >= 9, ..member };
    // Since version 5, the broker alone determines the retention; before, -1 stands for the broker's.
    let retention_ms = Some(request.retention_time_ms).filter(|ms| (2..=4).contains(&call.version) && *ms >= 0);
    let (names, outcome) = call.shared.with_groups(|broker, now_ms| {
        let name = |topic: &OffsetCommitRequestTopic| name_of(call, broker, &topic.name, topic.topic_id);
        let names: Vec<_> = request.topics.iter().map(name).collect();
        let known = request.topics.iter().zip(&names).filter_map(|(topic, name)| Some((topic, name.as_ref().ok()?)));
        let offsets: Vec<_> = known.flat_map(|(topic, name)| to_commit(topic, name, retention_ms)).collect();
        // As in Kafka, the member is not checked if there is nothing to commit.
        let outcome = match offsets.is_empty() {
            true => Ok(Vec::new()),
            false => broker.commit_offsets(&request.group_id, &member, offsets, now_ms),
        };
        (names, outcome)
    });
    // One result per partition in the order of the request, or one for all of them.
    let (mut each, all) = match outcome {
        Ok(each) => (each.into_iter(), Ok(())),
        Err(code) => (Vec::new().into_iter(), Err(code)),
    };
    let topics = request.topics.into_iter().zip(names).map(|(topic, name)| {
        let partitions = topic.partitions.iter().map(|partition| {
            let outcome = name.as_ref().map_or_else(|code| Err(*code), |_| each.next().unwrap_or(all));
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code(outcome))
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// Returns the name of a topic in a request, which has ids since version 10.
fn name_of(call: &Call, broker: &BrokerCore, name: &TopicName, id: Uuid) -> Result<TopicName, ErrorCode> {
    if call.version < TOPIC_IDS {
        return Ok(name.clone());
    }
    broker.topic_name(id.as_u128()).map(|name| TopicName(text(name))).ok_or(ErrorCode::UnknownTopicId)
}

fn to_commit<'a>(
    topic: &'a OffsetCommitRequestTopic,
    name: &'a TopicName,
    retention_ms: Option<i64>,
) -> impl Iterator<Item = OffsetToCommit> + 'a {
    topic.partitions.iter().map(move |partition| OffsetToCommit {
        topic: name.to_string(),
        partition: partition.partition_index,
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.as_ref().map(|metadata| metadata.to_string()).unwrap_or_default(),
        retention_ms,
    })
}

pub(crate) fn fetch(call: &Call, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let state = call.shared.lock();
    let broker = &state.broker;
    if call.version >= 8 {
        let groups = request.groups.into_iter().map(|group| fetch_group(call, broker, group, request.require_stable));
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let offsets = Offsets { broker, group: &request.group_id, must_be_stable: request.require_stable };
    let found = match request.topics {
        Some(topics) => topics
            .into_iter()
            .map(|topic| (topic.name.clone(), offsets.of(&Ok(topic.name), topic.partition_indexes)))
            .collect(),
        None => offsets.all(),
    };
    let topics = found.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, found)| fetched(call.version, index, found)).collect();
        OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions)
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

fn fetch_group(
    call: &Call,
    broker: &BrokerCore,
    group: OffsetFetchRequestGroup,
    must_be_stable: bool,
) -> OffsetFetchResponseGroup {
    if let Err(code) = checked(call.version, broker, &group) {
        let refused = OffsetFetchResponseGroup::default().with_group_id(group.group_id);
        return refused.with_error_code(code.code());
    }
    let offsets = Offsets { broker, group: &group.group_id, must_be_stable };
    let topic = |name: TopicName, id: Uuid, found: Vec<(i32, Found)>| {
        let partitions = found.into_iter().map(|(index, found)| fetched_by_group(index, found)).collect();
        OffsetFetchResponseTopics::default().with_name(name).with_topic_id(id).with_partitions(partitions)
    };
    let topics = match group.topics {
        Some(topics) => {
            let found = topics.into_iter().map(|wanted| {
                let name = name_of(call, broker, &wanted.name, wanted.topic_id);
                topic(wanted.name, wanted.topic_id, offsets.of(&name, wanted.partition_indexes))
            });
            found.collect()
        }
        None => {
            // Each of these topics exists: with a topic, its committed offsets are deleted.
            let id = |name: &TopicName| broker.topic(name).map_or(Uuid::nil(), |topic| Uuid::from_u128(topic.id()));
            let found = offsets.all().into_iter().map(|(name, found)| (id(&name), name, found));
            found.map(|(id, name, found)| topic(name, id, found)).collect()
        }
    };
    OffsetFetchResponseGroup::default().with_group_id(group.group_id).with_topics(topics)
}

/// Checks the member that a request states, as it may since version 9.
fn checked(version: i16, broker: &BrokerCore, group: &OffsetFetchRequestGroup) -> Result<(), ErrorCode> {
    let (id, epoch) = if version >= 9 { (group.member_id.as_deref(), group.member_epoch) } else { (None, -1) };
    broker.check_offset_fetch(&group.group_id, id, epoch)
}

/// A committed offset, if there is one, or the reason why it is not known.
type Found = Result<Option<Committed>, ErrorCode>;

/// The committed offsets of a group, as a request sees them.
struct Offsets<'a> {
    broker: &'a BrokerCore,
    group: &'a str,
    /// True if an offset is not known while an open transaction has committed another one.
    must_be_stable: bool,
}

impl Offsets<'_> {
    /// Returns those of some partitions of a topic, whose name may be unknown.
    fn of(&self, topic: &Result<TopicName, ErrorCode>, partitions: Vec<i32>) -> Vec<(i32, Found)> {
        let found = |index: i32| {
            let name = topic.as_ref().map_err(|code| *code)?;
            self.stable(name, index, self.broker.committed_offset(self.group, name, index).cloned())
        };
        partitions.into_iter().map(|index| (index, found(index))).collect()
    }

    /// Returns all of them by topic.
    fn all(&self) -> Vec<(TopicName, Vec<(i32, Found)>)> {
        let mut topics: Vec<(TopicName, Vec<(i32, Found)>)> = Vec::new();
        for offset in self.broker.committed_offsets(self.group) {
            let found = (offset.partition, self.stable(&offset.topic, offset.partition, Some(offset.committed)));
            match topics.last_mut().filter(|(name, _)| name.as_str() == offset.topic) {
                Some((_, partitions)) => partitions.push(found),
                None => topics.push((TopicName(text(offset.topic)), vec![found])),
            }
        }
        topics
    }

    fn stable(&self, topic: &str, index: i32, found: Option<Committed>) -> Found {
        let is_pending = self.must_be_stable && self.broker.has_pending_offset(self.group, topic, index);
        if is_pending { Err(ErrorCode::UnstableOffsetCommit) } else { Ok(found) }
    }
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
