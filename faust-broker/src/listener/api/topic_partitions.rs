//! `DescribeTopicPartitions`: the partitions of many topics, in pages.

use std::collections::BTreeSet;

use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName};
use uuid::Uuid;

use crate::core::{BrokerCore, ErrorCode, LEADER_EPOCH};
use crate::listener::api::{NODE, Operations, text};
use crate::listener::router::Call;

/// Maximum number of partitions in a response, Kafka's default of `max.request.partition.size.limit`.
const MAX_PARTITIONS: usize = 2000;

pub(crate) fn describe(call: &Call, request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let state = call.shared.lock();
    let broker = &state.broker;
    let (from_topic, from_partition) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.to_string(), cursor.partition_index),
        None => (String::new(), 0),
    };
    let asks_for_all = request.topics.is_empty();
    let wanted: BTreeSet<String> = match asks_for_all {
        true => broker.topics().map(|(name, _)| name.to_owned()).collect(),
        false => request.topics.iter().map(|topic| topic.name.to_string()).collect(),
    };
    let is_misplaced = !asks_for_all && request.cursor.is_some() && !wanted.contains(&from_topic);
    if from_partition < 0 || is_misplaced {
        let refused = wanted.iter().map(|name| failed(name, ErrorCode::InvalidRequest));
        return DescribeTopicPartitionsResponse::default().with_topics(refused.collect());
    }
    let mut page = Page { room: limit(request.response_partition_limit), topics: Vec::new(), next: None };
    for name in wanted.range(from_topic.clone()..) {
        let first = if *name == from_topic { from_partition } else { 0 };
        if !page.add(broker, name, first) {
            break;
        }
    }
    DescribeTopicPartitionsResponse::default().with_topics(page.topics).with_next_cursor(page.next)
}

fn limit(requested: i32) -> usize {
    usize::try_from(requested).unwrap_or(0).clamp(1, MAX_PARTITIONS)
}

/// The topics of a response.
struct Page {
    /// Number of partitions that may still be added.
    room: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    /// The first partition of the next page, if there is one.
    next: Option<Cursor>,
}

impl Page {
    /// Adds the partitions of a topic from `first` on. Returns false if there is no room for all of them.
    fn add(&mut self, broker: &BrokerCore, name: &str, first: i32) -> bool {
        let Some(topic) = broker.topic(name) else {
            self.topics.push(failed(name, ErrorCode::UnknownTopicOrPartition));
            return true;
        };
        let partitions: Vec<_> = (first..topic.partitions()).take(self.room).map(partition).collect();
        let next = first.saturating_add(i32::try_from(partitions.len()).unwrap_or(i32::MAX));
        self.room -= partitions.len();
        let is_whole = next >= topic.partitions();
        if !partitions.is_empty() {
            let described = DescribeTopicPartitionsResponseTopic::default()
                .with_name(Some(TopicName(text(name))))
                .with_topic_id(Uuid::from_u128(topic.id()))
                .with_partitions(partitions)
                .with_topic_authorized_operations(Operations::Topic.if_wanted(true));
            self.topics.push(described);
        }
        if !is_whole {
            self.next = Some(Cursor::default().with_topic_name(TopicName(text(name))).with_partition_index(next));
        }
        is_whole
    }
}

fn partition(index: i32) -> DescribeTopicPartitionsResponsePartition {
    DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(index)
        .with_leader_id(NODE)
        .with_leader_epoch(LEADER_EPOCH)
        .with_replica_nodes(vec![NODE])
        .with_isr_nodes(vec![NODE])
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
}

fn failed(name: &str, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(code.code())
        .with_name(Some(TopicName(text(name))))
        .with_topic_authorized_operations(Operations::Topic.if_wanted(false))
}
