//! Messages sent and read back: none is lost, changed, or placed in another partition than with the Java client.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::cluster::{Cluster, within};
use crate::error::TransportErrorKind;
use crate::message::{Headers, Offset, OwnedMessage};
use crate::time::Timestamp;
use crate::transport::Delivery;
use crate::transport::kafka::native;
use crate::transport::kafka::sink::KafkaSink;
use crate::transport::port::*;

const WITHIN: Duration = Duration::from_secs(20);

async fn read_to_the_ends(reader: &mut dyn Reader, mut ends: usize) -> BTreeMap<i32, Vec<OwnedMessage>> {
    let mut read: BTreeMap<i32, Vec<_>> = BTreeMap::new();
    while ends > 0 {
        match reader.next(WITHIN).await.unwrap().expect("a partition end") {
            Read::Message(from, message) => read.entry(from.partition).or_default().push(message),
            Read::End(_) => ends -= 1,
        }
    }
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_back_as_they_were_sent() {
    for cluster in Cluster::each(1).await {
        let transport = cluster.transport();
        let sink = transport.sink().unwrap();
        let (topic, delivery) = (sink.topic(&cluster.topic).unwrap(), Delivery::new());
        let mut headers = Headers::new().with("a", "1").with("a", vec![0xff]);
        headers.push("absent".to_owned(), None);
        let cases = [
            Outgoing { key: Some(b"k"), payload: Some(b"v"), ..Outgoing::default() },
            Outgoing { key: None, payload: None, ..Outgoing::default() },
            Outgoing { key: Some(b""), payload: Some(b""), ..Outgoing::default() },
            Outgoing { headers, timestamp: Some(Timestamp(12_345)), payload: Some(&[0xff, 0]), ..Outgoing::default() },
        ];
        for message in &cases {
            topic.try_send(message, &delivery).unwrap();
        }
        within("delivery", delivery.all()).await.unwrap();

        let partition = TopicPartition::new(&*cluster.topic, 0);
        let mut reader = transport.read(vec![(partition.clone(), StartAt::Earliest)], PROMPT).unwrap();
        let read = read_to_the_ends(&mut *reader, 1).await.remove(&0).unwrap();
        assert_eq!(read.len(), cases.len());
        for (index, (sent, read)) in cases.iter().zip(&read).enumerate() {
            assert_eq!((read.key.as_deref(), read.payload.as_deref()), (sent.key, sent.payload), "{index}");
            assert_eq!(read.headers, sent.headers);
            assert_eq!(read.offset, Offset(index as i64));
            assert!(sent.timestamp.is_none_or(|timestamp| timestamp == read.timestamp));
        }
        let admin = transport.admin().unwrap();
        assert_eq!(
            admin.watermarks(vec![partition.clone()]).await.unwrap(),
            BTreeMap::from([(partition.clone(), (Offset(0), Offset(4)))])
        );
        let mut reader = transport.read(vec![(partition, StartAt::Offset(Offset(2)))], PROMPT).unwrap();
        assert_eq!(read_to_the_ends(&mut *reader, 1).await[&0][0].offset, Offset(2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_reads_only_new_messages() {
    for cluster in Cluster::each(2).await {
        cluster.fill(0, 0..3).await;
        let from = (0..2).map(|partition| (TopicPartition::new(&*cluster.topic, partition), StartAt::Latest)).collect();
        let mut reader = cluster.transport().read(from, PROMPT).unwrap();
        cluster.fill(0, 7..8).await;
        let read = loop {
            if let Read::Message(_, message) = reader.next(WITHIN).await.unwrap().expect("the message") {
                break message;
            }
        };
        assert_eq!((read.offset, read.payload.as_deref()), (Offset(3), Some(&b"7"[..])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_placed_as_java_places_them() {
    // The murmur2 hashes are those of Kafka's own tests. The partition is the hash without its sign bit, modulo the
    // number of partitions.
    let golden = [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("abc", 479_470_107),
    ];
    for cluster in Cluster::each(7).await {
        let transport = cluster.transport();
        let sink = transport.sink().unwrap();
        let (topic, delivery) = (sink.topic(&cluster.topic).unwrap(), Delivery::new());
        for (key, _) in golden {
            topic.try_send(&Outgoing { key: Some(key.as_bytes()), ..Outgoing::default() }, &delivery).unwrap();
        }
        sink.flush(WITHIN).await.unwrap();
        assert_eq!(delivery.pending(), 0, "a flush waits for the reports");
        let from =
            (0..7).map(|partition| (TopicPartition::new(&*cluster.topic, partition), StartAt::Earliest)).collect();
        let read = read_to_the_ends(&mut *transport.read(from, PROMPT).unwrap(), 7).await;
        for (key, hash) in golden {
            let partition = (hash & i32::MAX) % 7;
            assert!(
                read[&partition].iter().any(|message| message.key.as_deref() == Some(key.as_bytes())),
                "{key} in {partition}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_rejected_and_not_counted() {
    let cluster = Cluster::mock(1);
    let sink = cluster.transport().sink().unwrap();
    let (topic, delivery) = (sink.topic(&cluster.topic).unwrap(), Delivery::new());
    let large = vec![0; cluster.config.max_message_bytes + 1];
    let refused = topic.try_send(&Outgoing { payload: Some(&large), ..Outgoing::default() }, &delivery);
    assert!(matches!(refused, Err(SendRefused::Failed(error)) if error.kind == TransportErrorKind::Fatal));
    within("delivery of no message", delivery.all()).await.unwrap();
}

/// A sender of a message that was refused would count it as a failure of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_fails_for_good_says_so_and_refuses_no_message() {
    let cluster = Cluster::mock(1);
    let sink = KafkaSink::open(&cluster.config, &cluster.transport().outage()).unwrap();
    let (topic, before, after) = (sink.topic(&cluster.topic).unwrap(), Delivery::new(), Delivery::new());
    let message = Outgoing { payload: Some(b"x"), ..Outgoing::default() };
    topic.try_send(&message, &before).unwrap();
    within("delivery", before.all()).await.unwrap();
    assert!(sink.lost().now_or_never().is_none(), "the producer works");
    native::fail(sink.producer(), c"the broker misses a message");
    let why = within("the failure", sink.lost()).await.to_string();
    assert!(why.contains("the broker misses a message") && why.contains("restart the worker"), "{why}");
    topic.try_send(&message, &after).unwrap();
    let error = within("delivery", after.all()).await.unwrap_err();
    assert!(error.is_retriable(), "{error:?}");
    within("flush", sink.flush(WITHIN)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_buffer_is_reported_and_has_room_again() {
    let mut cluster = Cluster::mock(1);
    cluster.config.settings.insert("producer.queue.buffering.max.messages".to_owned(), "10".to_owned());
    let sink = cluster.transport().sink().unwrap();
    let (topic, delivery) = (sink.topic(&cluster.topic).unwrap(), Delivery::new());
    let (mut sent, mut full) = (0, 0);
    while sent < 200 {
        match topic.try_send(&Outgoing { payload: Some(b"x"), ..Outgoing::default() }, &delivery) {
            Ok(()) => sent += 1,
            Err(SendRefused::Full) => {
                full += 1;
                within("room", sink.room()).await;
            }
            Err(SendRefused::Failed(error)) => panic!("{error}"),
        }
    }
    assert!(full > 0, "a buffer for 10 messages is full before 200 are sent");
    within("delivery", delivery.all()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_reports_the_last_offset_that_arrived() {
    for cluster in Cluster::each(2).await {
        cluster.fill(1, 0..3).await;
        let sink = cluster.transport().sink().unwrap();
        let (topic, delivery) =
            (sink.topic(&cluster.topic).unwrap(), Delivery::with_offsets(std::sync::Arc::default()));
        for last in [499, 999].map(Offset) {
            for _ in 0..500 {
                topic.try_send(&Outgoing { partition: Some(0), ..Outgoing::default() }, &delivery).unwrap();
            }
            within("delivery", delivery.all()).await.unwrap();
            assert_eq!(delivery.last_offset(), Some(last));
        }
    }
}

#[test]
fn an_unknown_setting_is_named() {
    let mut config = crate::transport::kafka::KafkaConfig::new("localhost:1");
    config.settings.insert("fetch.minimum".to_owned(), "1".to_owned());
    let error = crate::transport::kafka::KafkaTransport::new(config).sink().err().unwrap();
    assert!(error.to_string().contains("fetch.minimum"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn timestamps_are_stored_unchanged_or_refused() {
    for cluster in Cluster::each(1).await {
        let transport = cluster.transport();
        let sink = transport.sink().unwrap();
        let (topic, delivery) = (sink.topic(&cluster.topic).unwrap(), Delivery::new());
        for time in [0, -1, i64::MIN].map(Timestamp) {
            let refused = topic.try_send(&Outgoing { timestamp: Some(time), ..Outgoing::default() }, &delivery);
            let Err(SendRefused::Failed(error)) = refused else { panic!("{time}: {refused:?}") };
            let text = error.to_string();
            assert!(text.contains(&*cluster.topic) && text.contains(&format!("timestamp {time} ")), "{text}");
        }
        assert_eq!(delivery.pending(), 0);
        // Another program may store one that Faust refuses to send.
        let foreign: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", &cluster.config.bootstrap).create().unwrap();
        for time in [-5, 1] {
            let record: BaseRecord<'_, (), str> = BaseRecord::to(&cluster.topic).payload("x").timestamp(time);
            foreign.send(record).unwrap();
        }
        foreign.flush(WITHIN).unwrap();
        let from = vec![(TopicPartition::new(&*cluster.topic, 0), StartAt::Earliest)];
        let read = read_to_the_ends(&mut *transport.read(from, PROMPT).unwrap(), 1).await.remove(&0).unwrap();
        let times: Vec<_> = read.iter().map(|message| message.timestamp.0).collect();
        assert_eq!(times, [-5, 1]);
    }
}
