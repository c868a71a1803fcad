//! Code shared by the hand-written loops on rdkafka.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, ToBytes};
use rdkafka::producer::{BaseProducer, BaseRecord};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::BoxError;

/// Timeout for responses of the brokers.
pub const WITHIN: Duration = Duration::from_secs(60);

/// Returns the framework's consumer settings that affect speed: see faust-core/src/transport/kafka/config.rs. `wait` is
/// the value of `fetch.wait.max.ms`.
pub fn consumer_settings(bootstrap: &str, wait: &str) -> ClientConfig {
    let settings = [
        ("bootstrap.servers", bootstrap),
        ("group.id", "bench-loop"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("isolation.level", "read_committed"),
        ("enable.partition.eof", "true"),
        ("queued.max.messages.kbytes", "16384"),
        ("fetch.message.max.bytes", "1048576"),
        ("fetch.wait.max.ms", wait),
        ("fetch.queue.backoff.ms", "10"),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Returns a configuration with only the bootstrap address.
pub fn client(bootstrap: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", bootstrap);
    client
}

/// Assigns all partitions of a topic from their beginning, and returns their number.
///
/// # Errors
/// Fails if the brokers do not respond.
pub fn assign(consumer: &BaseConsumer, topic: &str) -> Result<usize, BoxError> {
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10))?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    let mut list = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions)? {
        list.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    Ok(partitions)
}

/// Reads the `partitions` assigned partitions to their ends.
///
/// # Errors
/// Fails if the brokers do not respond, or if `each` fails.
pub fn to_the_ends(
    consumer: &BaseConsumer,
    mut partitions: usize,
    mut each: impl FnMut(&BorrowedMessage<'_>) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    while partitions > 0 {
        match consumer.poll(WITHIN).ok_or("no response from the brokers")? {
            Err(KafkaError::PartitionEOF(_)) => partitions -= 1,
            message => each(&message?)?,
        }
    }
    Ok(())
}

/// Sends a message, waiting while the queue is full.
///
/// # Errors
/// Fails if the producer rejects the message for another reason.
pub fn send<K: ToBytes + ?Sized, P: ToBytes + ?Sized>(
    producer: &BaseProducer,
    mut record: BaseRecord<'_, K, P>,
) -> Result<(), BoxError> {
    while let Err((error, refused)) = producer.send(record) {
        if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
            return Err(error.into());
        }
        producer.poll(Duration::from_millis(10));
        record = refused;
    }
    Ok(())
}
