//! The brokers that must behave alike: ours, and the Apache Kafka of `FAUST_TEST_KAFKA` if set.

use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use faust_broker::core::batch::Header;
use faust_broker::core::records::{self, Record};
use faust_broker::core::{Batch, Producer};
use faust_broker::{Broker, BrokerConfig};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, CreateTopicsRequest, FetchRequest, ListOffsetsRequest, MetadataRequest,
    ProduceRequest, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};
use uuid::Uuid;

use crate::wire::Client;

/// Time for which a condition is awaited before the test fails.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A broker with a connection to it.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    address: String,
    pub(crate) client: Client,
    _server: Option<Broker>,
}

/// Returns our broker, and Apache Kafka if its address is set.
pub(crate) fn peers() -> Vec<Peer> {
    let own = Peer::own(BrokerConfig::default().with_compaction_interval(Duration::from_millis(5)));
    let kafka = std::env::var("FAUST_TEST_KAFKA").ok().map(|address| Peer::new("Apache Kafka", address, None));
    std::iter::once(own).chain(kafka).collect()
}

pub(crate) fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Encodes records as one uncompressed batch.
pub(crate) fn batch(records: &[Record]) -> Batch {
    Batch::parse(records::encode(records, Producer::NONE).unwrap()).unwrap()
}

pub(crate) fn named(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

impl Peer {
    /// Starts our broker.
    pub(crate) fn own(config: BrokerConfig) -> Self {
        let server = Broker::start_with(config).unwrap();
        Self::new("our broker", server.bootstrap(), Some(server))
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn new(name: &'static str, address: String, server: Option<Broker>) -> Self {
        Self { name, client: Client::connect(&address), address, _server: server }
    }

    pub(crate) fn call<Q: Request>(&mut self, request: &Q, version: i16) -> Q::Response {
        self.client.call(request, version)
    }

    /// Returns the first and the last version that the broker lists for a request.
    pub(crate) fn versions(&mut self, api_key: i16) -> (i16, i16) {
        let response = self.client.call(&ApiVersionsRequest::default(), 0);
        let listed = response.api_keys.iter().find(|api| api.api_key == api_key).unwrap();
        (listed.min_version, listed.max_version)
    }

    /// Returns true if the broker closes a new connection after a request of this version without a body.
    pub(crate) fn closes_after(&self, api_key: i16, version: i16) -> bool {
        let mut client = Client::connect(&self.address);
        let header = [[0, 10], api_key.to_be_bytes(), version.to_be_bytes(), [0, 0], [0, 7], [0xff, 0xff]].concat();
        client.stream.write_all(&[&[0, 0], &header[..]].concat()).unwrap();
        client.is_closed()
    }

    /// Creates a topic with one partition and a name that is unique on this machine, and returns the name.
    pub(crate) fn create(&mut self, configs: &[(&str, &str)]) -> String {
        self.create_sized(1, configs)
    }

    /// Like [`create`](Self::create), with a number of partitions.
    pub(crate) fn create_sized(&mut self, partitions: i32, configs: &[(&str, &str)]) -> String {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let topic = format!("codecs-{}-{}", std::process::id(), since_epoch.as_nanos());
        let config = |(name, value): &(&str, &str)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string((*name).to_owned()))
                .with_value(Some(StrBytes::from_string((*value).to_owned())))
        };
        let wanted = CreatableTopic::default()
            .with_name(named(&topic))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
        let created = self.client.call(&request, 5);
        assert_eq!(created.topics[0].error_code, 0, "{}: {:?}", self.name, created.topics[0].error_message);
        topic
    }

    /// Returns the id of a topic.
    pub(crate) fn topic_id(&mut self, topic: &str) -> Uuid {
        let wanted = MetadataRequestTopic::default().with_name(Some(named(topic)));
        let found = self.client.call(&MetadataRequest::default().with_topics(Some(vec![wanted])), 12).topics.remove(0);
        assert_eq!(found.error_code, 0, "{}: {topic}", self.name);
        found.topic_id
    }

    /// Sends a batch and returns the response. Waits until the partition of a new topic has a leader.
    pub(crate) fn send(&mut self, topic: &str, batch: Bytes, version: i16) -> PartitionProduceResponse {
        let data = PartitionProduceData::default().with_index(0).with_records(Some(batch));
        let data = TopicProduceData::default().with_name(named(topic)).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![data]);
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let mut response = self.client.call(&request, version);
            let response = response.responses.remove(0).partition_responses.remove(0);
            // The topic is unknown for a moment, or its leader is.
            if !matches!(response.error_code, 3 | 6) {
                return response;
            }
            assert!(Instant::now() < deadline, "{}: {topic} has no leader", self.name);
        }
    }

    /// Sends a batch, which must be accepted.
    pub(crate) fn append(&mut self, topic: &str, batch: &Batch) {
        let response = self.send(topic, batch.bytes().clone(), 9);
        assert_eq!(response.error_code, 0, "{}: {:?}", self.name, response.error_message);
    }

    /// Reads all batches from the start of a log up to `end`.
    pub(crate) fn read(&mut self, topic: &str, end: i64) -> Vec<Bytes> {
        let (mut position, mut found) = (0, Vec::new());
        while position < end {
            let partition = FetchPartition::default()
                .with_partition(0)
                .with_fetch_offset(position)
                .with_partition_max_bytes(10 << 20);
            let wanted = FetchTopic::default().with_topic(named(topic)).with_partitions(vec![partition]);
            let request = FetchRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_max_wait_ms(100)
                .with_min_bytes(1)
                .with_max_bytes(10 << 20)
                .with_topics(vec![wanted]);
            let response = self.client.call(&request, 11);
            let partition = &response.responses[0].partitions[0];
            assert_eq!(partition.error_code, 0, "{}", self.name);
            let mut batches = partition.records.clone().unwrap_or_default();
            while let Some(header) = Header::read(&batches).filter(|header| header.size <= batches.len()) {
                found.push(batches.split_to(header.size));
                position = position.max(header.last_offset() + 1);
            }
        }
        found
    }

    /// Returns the offset and timestamp that `ListOffsets` finds for a timestamp or one of its special values.
    pub(crate) fn offset(&mut self, topic: &str, timestamp: i64) -> (i64, i64) {
        let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(timestamp);
        let wanted = ListOffsetsTopic::default().with_name(named(topic)).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![wanted]);
        let response = self.client.call(&request, 7);
        let found = &response.topics[0].partitions[0];
        assert_eq!(found.error_code, 0, "{}", self.name);
        (found.offset, found.timestamp)
    }
}
