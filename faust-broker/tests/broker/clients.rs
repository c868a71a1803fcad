//! Tests with librdkafka, the client that the framework uses.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use faust_broker::core::Compression;
use faust_broker::core::batch::Header as BatchHeader;
use faust_broker::{Broker, BrokerConfig};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::wire::{Client, fetch};

const TIMEOUT: Duration = Duration::from_secs(30);

fn config(server: &Broker) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server.bootstrap());
    config
}

fn consumer(server: &Broker, group: &str) -> BaseConsumer {
    config(server)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "false")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "200")
        .create()
        .unwrap()
}

fn send(server: &Broker, topic: &str, numbers: std::ops::Range<i32>) {
    send_compressed(server, topic, numbers, "none");
}

fn send_compressed(server: &Broker, topic: &str, numbers: std::ops::Range<i32>, codec: &str) {
    let producer: ThreadedProducer<DefaultProducerContext> = config(server)
        .set("enable.idempotence", "true")
        .set("compression.type", codec)
        .set("linger.ms", "20")
        .create()
        .unwrap();
    for number in numbers {
        let (key, value) = (format!("key {number}"), number.to_string());
        let headers = OwnedHeaders::new().insert(Header { key: "h", value: Some("x") });
        let record = BaseRecord::to(topic).key(&key).payload(&value).headers(headers).timestamp(i64::from(number) + 1);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(TIMEOUT).unwrap();
}

/// Polls once and returns the number of the message, if there is one.
fn next(consumer: &BaseConsumer) -> Option<i32> {
    let message = consumer.poll(Duration::from_millis(100))?.unwrap();
    assert_eq!(message.headers().unwrap().get(0).value, Some(&b"x"[..]));
    let number: i32 = std::str::from_utf8(message.payload().unwrap()).unwrap().parse().unwrap();
    assert_eq!(message.timestamp().to_millis(), Some(i64::from(number) + 1));
    Some(number)
}

fn create(server: &Broker, topic: &str, partitions: i32) -> AdminClient<DefaultClientContext> {
    let admin: AdminClient<DefaultClientContext> = config(server).create().unwrap();
    let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1)).set("retention.ms", "1000000");
    let created = wait(admin.create_topics([&topic], &AdminOptions::new())).unwrap();
    assert!(created[0].is_ok(), "{created:?}");
    admin
}

fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn a_group_resumes_at_its_committed_offsets() {
    let server = Broker::start_with(BrokerConfig::default()).unwrap();
    create(&server, "t", 3);
    send(&server, "t", 0..1000);
    let first = consumer(&server, "g");
    first.subscribe(&["t"]).unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 1000 {
        seen.extend(next(&first));
    }
    assert_eq!(seen, (0..1000).collect());
    first.commit_consumer_state(CommitMode::Sync).unwrap();
    drop(first);

    send(&server, "t", 1000..1100);
    let second = consumer(&server, "g");
    second.subscribe(&["t"]).unwrap();
    let mut later = BTreeSet::new();
    while later.len() < 100 {
        later.extend(next(&second));
    }
    assert_eq!(later, (1000..1100).collect());
}

/// Returns the codecs of a topic's batches.
fn stored_codecs(server: &Broker, topic: &'static str) -> Vec<Compression> {
    let response = Client::new(server).call(&fetch(topic, 0, 0), 12);
    let mut batches = response.responses[0].partitions[0].records.clone().unwrap();
    let mut codecs = Vec::new();
    while let Some(header) = BatchHeader::read(&batches) {
        drop(batches.split_to(header.size));
        codecs.push(header.compression().unwrap());
    }
    codecs
}

#[test]
fn every_codec_of_the_client_and_of_the_topic_is_read_back() {
    let server = Broker::start_with(BrokerConfig::default()).unwrap();
    let admin: AdminClient<DefaultClientContext> = config(&server).create().unwrap();
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    for (topic, expected) in ["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"].into_iter().zip([
        None,
        Some(Compression::None),
        Some(Compression::Gzip),
        Some(Compression::Snappy),
        Some(Compression::Lz4),
        Some(Compression::Zstd),
    ]) {
        let wanted = NewTopic::new(topic, 1, TopicReplication::Fixed(1)).set("compression.type", topic);
        wait(admin.create_topics([&wanted], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
        for (numbers, codec) in (0..).step_by(200).map(|from| from..from + 200).zip(codecs) {
            send_compressed(&server, topic, numbers, codec);
        }
        let found = stored_codecs(&server, topic);
        match expected {
            Some(expected) => assert!(found.iter().all(|codec| *codec == expected), "{topic}: {found:?}"),
            // librdkafka compresses a batch only if that makes it smaller.
            None => assert!(Compression::ALL.iter().all(|codec| found.contains(codec)), "{found:?}"),
        }
        let reader = consumer(&server, "g");
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
        reader.assign(&partitions).unwrap();
        let mut seen = Vec::new();
        while seen.len() < 1000 {
            seen.extend(next(&reader));
        }
        assert_eq!(seen, (0..1000).collect::<Vec<_>>(), "{topic}");
    }
}

#[test]
fn two_members_share_the_partitions_until_one_leaves() {
    let server = Broker::start_with(BrokerConfig::default()).unwrap();
    create(&server, "t", 4);
    let (first, second) = (consumer(&server, "g"), consumer(&server, "g"));
    first.subscribe(&["t"]).unwrap();
    second.subscribe(&["t"]).unwrap();
    let assigned = |consumer: &BaseConsumer| {
        assert!(consumer.poll(Duration::from_millis(20)).is_none());
        consumer.assignment().unwrap().count()
    };
    while (assigned(&first), assigned(&second)) != (2, 2) {}
    drop(second);
    while assigned(&first) != 4 {}
}

#[test]
fn offsets_are_found_by_time_and_records_are_deleted() {
    let server = Broker::start_with(BrokerConfig::default()).unwrap();
    let admin = create(&server, "t", 1);
    send(&server, "t", 0..100);
    let consumer = consumer(&server, "g");
    assert_eq!(consumer.fetch_watermarks("t", 0, TIMEOUT).unwrap(), (0, 100));
    let mut times = TopicPartitionList::new();
    times.add_partition_offset("t", 0, Offset::Offset(51)).unwrap();
    let found = consumer.offsets_for_times(times, TIMEOUT).unwrap();
    assert_eq!(found.elements()[0].offset(), Offset::Offset(50));

    let mut deleted = TopicPartitionList::new();
    deleted.add_partition_offset("t", 0, Offset::Offset(10)).unwrap();
    wait(admin.delete_records(&deleted, &AdminOptions::new())).unwrap();
    assert_eq!(consumer.fetch_watermarks("t", 0, TIMEOUT).unwrap(), (10, 100));
}

#[test]
fn topics_are_described_and_deleted() {
    let server = Broker::start_with(BrokerConfig::default()).unwrap();
    let admin = create(&server, "t", 2);
    let described = wait(admin.describe_configs([&ResourceSpecifier::Topic("t")], &AdminOptions::new())).unwrap();
    let configs = described[0].as_ref().unwrap();
    assert_eq!(configs.get("retention.ms").unwrap().value.as_deref(), Some("1000000"));
    assert_eq!(configs.get("cleanup.policy").unwrap().value.as_deref(), Some("delete"));
    wait(admin.delete_topics(&["t"], &AdminOptions::new())).unwrap();
    let metadata = admin.inner().fetch_metadata(None, TIMEOUT).unwrap();
    assert_eq!(metadata.topics().len(), 0);
}

#[test]
fn a_compacted_topic_is_read_to_its_end() {
    let server =
        Broker::start_with(BrokerConfig::default().with_compaction_interval(Duration::from_millis(5))).unwrap();
    let admin: AdminClient<DefaultClientContext> = config(&server).create().unwrap();
    let topic = NewTopic::new("t", 1, TopicReplication::Fixed(1))
        .set("cleanup.policy", "compact")
        .set("segment.bytes", "300")
        .set("min.cleanable.dirty.ratio", "0.01")
        .set("delete.retention.ms", "0");
    wait(admin.create_topics([&topic], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
    // The same ten keys ten times, while compaction runs.
    for _ in 0..10 {
        send(&server, "t", 0..10);
    }
    send(&server, "t", 10..11);
    // Every reader must find every number, and eventually few superseded records.
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let reader = consumer(&server, "g");
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset("t", 0, Offset::Beginning).unwrap();
        reader.assign(&partitions).unwrap();
        let mut seen = Vec::new();
        while seen.last() != Some(&10) {
            seen.extend(next(&reader));
        }
        assert_eq!(seen.iter().copied().collect::<BTreeSet<_>>(), (0..11).collect());
        assert_eq!(reader.fetch_watermarks("t", 0, TIMEOUT).unwrap(), (0, 101));
        // The last segment is not compacted, so a few keys may occur twice.
        if seen.len() < 20 {
            break;
        }
        assert!(Instant::now() < deadline, "{} records are left", seen.len());
    }
}
