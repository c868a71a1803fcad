//! Kills of the broker while librdkafka produces, with each codec: what was acknowledged is there, once and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use faust_broker::core::batch::Header;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::process::Process;
use crate::restart::segments;

pub(crate) const PARTITIONS: i32 = 4;
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);
/// Number of messages that are acknowledged between two kills.
const BETWEEN: usize = 2000;

/// Returns the number of kills for each codec.
fn kills() -> u32 {
    std::env::var("FAUST_TEST_KILLS").map_or(2, |text| text.parse().expect("FAUST_TEST_KILLS is a number"))
}

/// The acknowledged messages by number, with partition and offset, and the signal for a further one.
#[derive(Clone, Default)]
pub(crate) struct Acknowledged(pub(crate) Arc<Mutex<BTreeMap<u64, (i32, i64)>>>, Arc<Condvar>);

impl Acknowledged {
    /// Waits until so many more messages are acknowledged.
    pub(crate) fn await_more(&self, more: usize) {
        let acknowledged = self.0.lock().unwrap();
        let wanted = acknowledged.len() + more;
        let waited = self.1.wait_timeout_while(acknowledged, TIMEOUT, |so_far| so_far.len() < wanted).unwrap();
        assert!(!waited.1.timed_out(), "nothing is acknowledged any more");
    }
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<u64>) {
        let message = result.as_ref().unwrap_or_else(|(error, _)| panic!("message {number}: {error}"));
        self.0.lock().unwrap().insert(*number, (message.partition(), message.offset()));
        self.1.notify_all();
    }
}

fn payload(number: u64) -> String {
    format!("{number} {}", "some text that is worth compressing ".repeat(3))
}

/// Produces numbered messages until `is_done`. Returns how many it has sent.
pub(crate) fn feed(producer: &ThreadedProducer<Acknowledged>, is_done: &AtomicBool) -> u64 {
    let mut number = 0;
    while !is_done.load(Ordering::Relaxed) {
        let (key, text) = (number.to_string(), payload(number));
        let record = BaseRecord::with_opaque_to("t", Box::new(number)).key(&key).payload(&text);
        match producer.send(record) {
            Ok(()) => number += 1,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                // Until all of them are acknowledged.
                producer.flush(TIMEOUT).unwrap();
            }
            Err((error, _)) => panic!("{error}"),
        }
    }
    producer.flush(TIMEOUT).unwrap();
    number
}

pub(crate) fn create_topic(bootstrap: &str, segment_bytes: u32) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let segment_bytes = segment_bytes.to_string();
    let topic = NewTopic::new("t", PARTITIONS, TopicReplication::Fixed(1)).set("segment.bytes", &segment_bytes);
    let options = AdminOptions::new();
    let created = admin.create_topics([&topic], &options);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(created).unwrap()[0].as_ref().unwrap();
}

/// Reads the numbers of all messages, by partition and offset.
pub(crate) fn read_all(bootstrap: &str) -> BTreeMap<(i32, i64), u64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "reader").set("check.crcs", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut left = BTreeMap::new();
    let mut assigned = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assigned.add_partition_offset("t", partition, Offset::Beginning).unwrap();
        left.insert(partition, consumer.fetch_watermarks("t", partition, TIMEOUT).unwrap().1);
    }
    left.retain(|_, end| *end > 0);
    consumer.assign(&assigned).unwrap();
    let mut found = BTreeMap::new();
    let deadline = Instant::now() + TIMEOUT;
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "not read to the end of {left:?}");
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let number = std::str::from_utf8(message.key().unwrap()).unwrap().parse().unwrap();
        assert_eq!(message.payload().unwrap(), payload(number).as_bytes());
        found.insert((message.partition(), message.offset()), number);
        if left.get(&message.partition()).is_some_and(|end| message.offset() + 1 == *end) {
            left.remove(&message.partition());
        }
    }
    found
}

/// Returns the codecs of all batches in the files of the broker, as numbers of the protocol.
fn codecs(directory: &Path) -> BTreeSet<i16> {
    let batches = segments(directory).into_iter().flat_map(|path| {
        let mut rest = Bytes::from(fs::read(path).unwrap());
        std::iter::from_fn(move || {
            let header = Header::read(&rest)?;
            rest.advance(header.size);
            Some(header.attributes & 7)
        })
    });
    batches.collect()
}

/// Returns the settings of a producer that reconnects quickly.
pub(crate) fn settings(bootstrap: &str, codec: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("compression.type", codec)
        .set("linger.ms", "1")
        .set("queue.buffering.max.messages", "1000")
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "100");
    config
}

/// Kills the broker while messages with this codec are produced. `number` is that of the codec in the protocol.
fn survives(codec: &str, number: i16) {
    let directory = tempfile::tempdir().unwrap();
    let mut broker = Process::start(directory.path(), 0);
    let bootstrap = broker.address.to_string();
    // Some segments are rolled between two kills.
    create_topic(&bootstrap, 20_000);
    let acknowledged = Acknowledged::default();
    let mut config = settings(&bootstrap, codec);
    let producer: ThreadedProducer<Acknowledged> =
        config.set("enable.idempotence", "true").create_with_context(acknowledged.clone()).unwrap();
    let is_done = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let feeding = scope.spawn(|| feed(&producer, &is_done));
        for _ in 0..kills() {
            acknowledged.await_more(BETWEEN);
            broker.kill();
            broker = Process::start(directory.path(), broker.address.port());
        }
        is_done.store(true, Ordering::Relaxed);
        feeding.join().unwrap()
    });
    assert!(codecs(directory.path()).contains(&number), "no batch is {codec}");
    let found = read_all(&bootstrap);
    let acknowledged = acknowledged.0.lock().unwrap();
    assert_eq!(acknowledged.len() as u64, sent);
    for (number, place) in acknowledged.iter() {
        assert_eq!(found.get(place), Some(number), "{codec}: message {number} was acknowledged at {place:?}");
    }
    assert_eq!(found.values().collect::<BTreeSet<_>>().len(), found.len(), "{codec}: a message is there twice");
    for partition in 0..PARTITIONS {
        let numbers: Vec<_> = found.range((partition, 0)..(partition + 1, 0)).map(|(_, number)| *number).collect();
        assert!(numbers.is_sorted(), "{codec}: partition {partition} is out of order");
    }
}

#[test]
fn uncompressed_messages_survive_kills() {
    survives("none", 0);
}

#[test]
fn gzip_messages_survive_kills() {
    survives("gzip", 1);
}

#[test]
fn snappy_messages_survive_kills() {
    survives("snappy", 2);
}

#[test]
fn lz4_messages_survive_kills() {
    survives("lz4", 3);
}

#[test]
fn zstd_messages_survive_kills() {
    survives("zstd", 4);
}
