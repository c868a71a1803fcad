//! A group of the consumer protocol (KIP-848) on a broker, with the requests of its members.

use std::time::{Duration, Instant};

use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    FindCoordinatorRequest, GroupId, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::peer::{Peer, peers};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// Kafka answers with these while a coordinator is loaded.
pub(crate) const IN_A_MOMENT: [i16; 3] = [14, 15, 16];

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A broker with a topic of six partitions, and a group of its own.
pub(crate) struct Scene {
    pub(crate) peer: Peer,
    pub(crate) topic: String,
    pub(crate) topic_id: Uuid,
    pub(crate) group: GroupId,
}

/// A member: its id, its epoch and the partitions that it has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Consumer {
    pub(crate) id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) epoch: i32,
    pub(crate) owned: Vec<i32>,
}

impl Consumer {
    pub(crate) fn new(id: &str) -> Self {
        Self { id: id.to_owned(), ..Self::default() }
    }

    pub(crate) fn fixed(id: &str, instance_id: &str) -> Self {
        Self { instance_id: Some(instance_id.to_owned()), ..Self::new(id) }
    }
}

impl Scene {
    pub(crate) fn all() -> Vec<Self> {
        peers().into_iter().map(Self::new).collect()
    }

    fn new(mut peer: Peer) -> Self {
        let topic = peer.create_sized(6, &[]);
        let wanted = MetadataRequestTopic::default().with_name(Some(TopicName(text(&topic))));
        let request = MetadataRequest::default().with_topics(Some(vec![wanted]));
        let began = Instant::now();
        let topic_id = loop {
            let found = peer.call(&request, 12).topics.remove(0);
            if found.partitions.len() == 6 {
                break found.topic_id;
            }
            assert!(began.elapsed() < TIMEOUT, "{topic} has no partitions");
        };
        let group = GroupId(text(&format!("{topic}-group")));
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![group.0.clone()]);
        while IN_A_MOMENT.contains(&peer.call(&request, 4).coordinators[0].error_code) {
            assert!(began.elapsed() < TIMEOUT, "{topic} has no coordinator of groups");
        }
        Self { peer, topic, topic_id, group }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.peer.name
    }

    fn topics(&self) -> Option<Vec<TopicName>> {
        Some(vec![TopicName(text(&self.topic))])
    }

    pub(crate) fn owned(&self, partitions: &[i32]) -> Option<Vec<TopicPartitions>> {
        let owned = TopicPartitions::default().with_topic_id(self.topic_id).with_partitions(partitions.to_vec());
        Some(if partitions.is_empty() { Vec::new() } else { vec![owned] })
    }

    /// A heartbeat with everything.
    pub(crate) fn full(&self, consumer: &Consumer) -> ConsumerGroupHeartbeatRequest {
        self.brief(consumer)
            .with_rebalance_timeout_ms(60_000)
            .with_subscribed_topic_names(self.topics())
            .with_server_assignor(Some(text("range")))
            .with_topic_partitions(self.owned(&consumer.owned))
    }

    /// A heartbeat without changes.
    pub(crate) fn brief(&self, consumer: &Consumer) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(self.group.clone())
            .with_member_id(text(&consumer.id))
            .with_member_epoch(consumer.epoch)
            .with_instance_id(consumer.instance_id.as_deref().map(text))
    }

    pub(crate) fn send(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        let began = Instant::now();
        loop {
            let response = self.peer.call(request, 1);
            if !IN_A_MOMENT.contains(&response.error_code) {
                let explained = response.error_message.as_ref().is_some_and(|message| !message.is_empty());
                assert_eq!(explained, response.error_code != 0, "{}: {response:?}", self.peer.name);
                return response;
            }
            assert!(began.elapsed() < TIMEOUT, "{response:?}");
        }
    }

    pub(crate) fn code(&mut self, request: &ConsumerGroupHeartbeatRequest) -> i16 {
        self.send(request).error_code
    }

    pub(crate) fn take(&self, consumer: &mut Consumer, response: &ConsumerGroupHeartbeatResponse) {
        assert_eq!(response.error_code, 0, "{}: {:?}", self.name(), response.error_message);
        consumer.epoch = response.member_epoch;
        if let Some(assignment) = &response.assignment {
            consumer.owned = assignment.topic_partitions.iter().flat_map(|topic| topic.partitions.clone()).collect();
            consumer.owned.sort_unstable();
        }
    }

    /// Joins, and takes over the response.
    pub(crate) fn join(&mut self, consumer: &mut Consumer) {
        let response = self.send(&self.full(consumer));
        assert_eq!(response.member_id.as_deref(), Some(&consumer.id[..]), "{}", self.name());
        assert!(response.assignment.is_some(), "{}: a member that joins gets its assignment", self.name());
        self.take(consumer, &response);
    }

    /// Sends a heartbeat with the owned partitions, and takes over the response.
    pub(crate) fn beat(&mut self, consumer: &mut Consumer) {
        let response = self.send(&self.brief(consumer).with_topic_partitions(self.owned(&consumer.owned)));
        self.take(consumer, &response);
    }

    /// Sends heartbeats of all until they have these partitions. Kafka computes assignments in the background.
    pub(crate) fn settle(&mut self, expected: &mut [(&mut Consumer, &[i32])]) {
        let began = Instant::now();
        loop {
            for (consumer, _) in &mut *expected {
                self.beat(consumer);
            }
            let mut all: Vec<i32> = expected.iter().flat_map(|(consumer, _)| consumer.owned.clone()).collect();
            all.sort_unstable();
            assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{}: two owners: {expected:?}", self.name());
            if expected.iter().all(|(consumer, wanted)| consumer.owned == *wanted) {
                return;
            }
            assert!(began.elapsed() < TIMEOUT, "{}: {expected:?}", self.name());
        }
    }

    pub(crate) fn describe(&mut self) -> DescribedGroup {
        let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![self.group.clone()]);
        self.peer.call(&request, 1).groups.remove(0)
    }

    pub(crate) fn commit(&mut self, member: &Consumer, partition: i32, version: i16) -> i16 {
        let partition =
            OffsetCommitRequestPartition::default().with_partition_index(partition).with_committed_offset(5);
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(text(&self.topic)))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group.clone())
            .with_member_id(text(&member.id))
            .with_generation_id_or_member_epoch(member.epoch)
            .with_topics(vec![topic]);
        let began = Instant::now();
        loop {
            let code = self.peer.call(&request, version).topics[0].partitions[0].error_code;
            if !IN_A_MOMENT.contains(&code) {
                return code;
            }
            assert!(began.elapsed() < TIMEOUT, "the answer remains {code}");
        }
    }

    pub(crate) fn fetch(&mut self, member_id: Option<&str>, epoch: i32) -> (i16, Option<(i16, i64)>) {
        let topic =
            OffsetFetchRequestTopics::default().with_name(TopicName(text(&self.topic))).with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(self.group.clone())
            .with_member_id(member_id.map(text))
            .with_member_epoch(epoch)
            .with_topics(Some(vec![topic]));
        let mut response = self.peer.call(&OffsetFetchRequest::default().with_groups(vec![group]), 9);
        let group = response.groups.remove(0);
        let found = group.topics.first().map(|topic| &topic.partitions[0]);
        (group.error_code, found.map(|found| (found.error_code, found.committed_offset)))
    }
}
