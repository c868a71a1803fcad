//! `ConsumerGroupHeartbeat`, `ConsumerGroupDescribe`: groups of the consumer protocol (KIP-848).

use std::collections::BTreeSet;

use kafka_protocol::messages::consumer_group_describe_response::{
    Assignment as DescribedAssignment, DescribedGroup, Member, TopicPartitions as DescribedPartitions,
};
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as OwnedPartitions;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, GroupId, TopicName,
};
use uuid::Uuid;

use crate::core::{
    BrokerCore, ConsumerHeartbeat, DescribedConsumer, DescribedConsumerGroup, ErrorCode, TopicPartition,
};
use crate::listener::api::groups::owned;
use crate::listener::api::{Operations, text};
use crate::listener::router::Call;

/// The number in the protocol of a member that uses the consumer protocol.
const CONSUMER_MEMBER: i8 = 1;

pub(crate) fn heartbeat(call: &Call, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
    let group = request.group_id.to_string();
    let heartbeat = heartbeat_of(call, request);
    match call.shared.with_groups(|broker, now_ms| broker.consumer_heartbeat(&group, heartbeat, now_ms)) {
        Ok(reply) => ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(text(reply.member_id)))
            .with_member_epoch(reply.epoch)
            .with_heartbeat_interval_ms(reply.interval_ms)
            .with_assignment(reply.assignment.as_ref().map(assignment)),
        Err(refusal) => ConsumerGroupHeartbeatResponse::default()
            .with_error_code(refusal.code.code())
            .with_error_message(Some(text(refusal.message))),
    }
}

fn heartbeat_of(call: &Call, request: ConsumerGroupHeartbeatRequest) -> ConsumerHeartbeat {
    let names = |names: Vec<TopicName>| names.into_iter().map(|name| name.to_string()).collect();
    let flat = |topic: OwnedPartitions| {
        let id = topic.topic_id.as_u128();
        topic.partitions.into_iter().map(move |partition| (id, partition))
    };
    ConsumerHeartbeat {
        member_id: request.member_id.to_string(),
        epoch: request.member_epoch,
        instance_id: owned(request.instance_id),
        rack_id: owned(request.rack_id),
        client_id: call.client_id.clone(),
        client_host: format!("/{}", call.link.peer.ip()),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        topics: request.subscribed_topic_names.map(names),
        topic_regex: owned(request.subscribed_topic_regex),
        assignor: owned(request.server_assignor),
        names_itself: call.version >= 1,
        owned: request.topic_partitions.map(|topics| topics.into_iter().flat_map(flat).collect()),
    }
}

/// Returns the partitions of each topic, ordered.
fn by_topic(partitions: &BTreeSet<TopicPartition>) -> Vec<(u128, Vec<i32>)> {
    let mut topics: Vec<(u128, Vec<i32>)> = Vec::new();
    for (topic, partition) in partitions {
        match topics.last_mut().filter(|(id, _)| id == topic) {
            Some((_, numbers)) => numbers.push(*partition),
            None => topics.push((*topic, vec![*partition])),
        }
    }
    topics
}

fn assignment(partitions: &BTreeSet<TopicPartition>) -> Assignment {
    let topic = |(id, numbers): (u128, Vec<i32>)| {
        TopicPartitions::default().with_topic_id(Uuid::from_u128(id)).with_partitions(numbers)
    };
    Assignment::default().with_topic_partitions(by_topic(partitions).into_iter().map(topic).collect())
}

pub(crate) fn describe(call: &Call, request: ConsumerGroupDescribeRequest) -> ConsumerGroupDescribeResponse {
    let state = call.shared.lock();
    let operations = Operations::Group.if_wanted(request.include_authorized_operations);
    let groups = request.group_ids.into_iter().map(|id| match state.broker.describe_consumer_group(&id) {
        Some(group) => described(call.version, &state.broker, id, group).with_authorized_operations(operations),
        None => unknown(id),
    });
    ConsumerGroupDescribeResponse::default().with_groups(groups.collect())
}

fn described(version: i16, broker: &BrokerCore, id: GroupId, group: DescribedConsumerGroup) -> DescribedGroup {
    let member = |member: DescribedConsumer| {
        let described = Member::default()
            .with_member_id(text(member.member_id))
            .with_instance_id(member.instance_id.map(text))
            .with_rack_id(member.rack_id.map(text))
            .with_member_epoch(member.epoch)
            .with_client_id(text(member.client_id))
            .with_client_host(text(member.client_host))
            .with_subscribed_topic_names(member.topics.into_iter().map(|name| TopicName(text(name))).collect())
            .with_subscribed_topic_regex(member.topic_regex.map(text))
            .with_assignment(described_assignment(broker, &member.assignment))
            .with_target_assignment(described_assignment(broker, &member.target));
        if version >= 1 { described.with_member_type(CONSUMER_MEMBER) } else { described }
    };
    DescribedGroup::default()
        .with_group_id(id)
        .with_group_state(text(group.state))
        .with_group_epoch(group.epoch)
        .with_assignment_epoch(group.assignment_epoch)
        .with_assignor_name(text(group.assignor))
        .with_members(group.members.into_iter().map(member).collect())
}

/// Describes partitions with the names of their topics. Those of a topic that has been deleted are left out, as in Kafka.
fn described_assignment(broker: &BrokerCore, partitions: &BTreeSet<TopicPartition>) -> DescribedAssignment {
    let topic = |(id, numbers): (u128, Vec<i32>)| {
        let name = broker.topic_name(id)?;
        let described = DescribedPartitions::default().with_topic_id(Uuid::from_u128(id));
        Some(described.with_topic_name(TopicName(text(name))).with_partitions(numbers))
    };
    DescribedAssignment::default().with_topic_partitions(by_topic(partitions).into_iter().filter_map(topic).collect())
}

fn unknown(id: GroupId) -> DescribedGroup {
    let message = format!("group `{}` does not exist, or has the classic protocol", id.as_str());
    DescribedGroup::default()
        .with_error_code(ErrorCode::GroupIdNotFound.code())
        .with_error_message(Some(text(message)))
        .with_group_id(id)
}
