//! Fills the input topic of the filter workload and summarizes its output topics.
//!
//! The summary of an output does not depend on its order, so that two systems can be compared partition by partition. Times
//! are the broker's timestamps, so that no system has to measure itself.

use std::process::ExitCode;

use faust_bench::{BoxError, Click, WITHIN, client, finish, hash, send, to_the_ends};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: faust::MiMalloc = faust::MiMalloc;

const USAGE: &str = "usage: bench-topics BOOTSTRAP COMMAND
  fill TOPIC EVENTS     sends clicks, always the same for the same number; prints the sum of those with number >= 100
  ends TOPIC            prints the end offset of each partition
  sum TOPIC ENDS        prints count, checksum and times of the messages after ENDS, the output of `ends`";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [bootstrap, "fill", topic, events] => fill(bootstrap, topic, events),
        [bootstrap, "ends", topic] => ends(bootstrap, topic).map(Value::from),
        [bootstrap, "sum", topic, ends] => sum(bootstrap, topic, ends),
        _ => Err(USAGE.into()),
    };
    finish("bench-topics", done)
}

fn fill(bootstrap: &str, topic: &str, events: &str) -> Result<Value, BoxError> {
    let producer: BaseProducer = client(bootstrap).set("enable.idempotence", "true").set("linger.ms", "20").create()?;
    let partitions = u64::try_from(partitions(producer.client().fetch_metadata(Some(topic), WITHIN)?.topics()))?;
    let (mut passed, mut checksum) = (0_u64, 0_u64);
    for index in 0..events.parse()? {
        let click = Click::numbered(index);
        let payload = serde_json::to_vec(&click)?;
        if click.number >= 100 {
            passed += 1;
            checksum = checksum.wrapping_add(hash(click.uri.as_bytes(), &payload));
        }
        let partition = i32::try_from(index % partitions)?;
        send(&producer, BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(&payload))?;
    }
    producer.flush(WITHIN)?;
    Ok(json!({ "count": passed, "checksum": checksum.to_string() }))
}

fn ends(bootstrap: &str, topic: &str) -> Result<Vec<i64>, BoxError> {
    let consumer: BaseConsumer = client(bootstrap).create()?;
    let partitions = partitions(consumer.fetch_metadata(Some(topic), WITHIN)?.topics());
    let end = |partition| Ok(consumer.fetch_watermarks(topic, i32::try_from(partition)?, WITHIN)?.1);
    (0..partitions).map(end).collect()
}

fn sum(bootstrap: &str, topic: &str, ends: &str) -> Result<Value, BoxError> {
    let starts: Vec<i64> = serde_json::from_str(ends)?;
    let consumer: BaseConsumer = client(bootstrap)
        .set("group.id", "bench-sum")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()?;
    let mut list = TopicPartitionList::new();
    for (partition, start) in (0..).zip(&starts) {
        list.add_partition_offset(topic, partition, Offset::Offset(*start))?;
    }
    consumer.assign(&list)?;
    let (mut counts, mut checksums) = (vec![0_u64; starts.len()], vec![0_u64; starts.len()]);
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    to_the_ends(&consumer, starts.len(), |message| {
        let partition = usize::try_from(message.partition())?;
        let hash = hash(message.key().unwrap_or_default(), message.payload().unwrap_or_default());
        checksums[partition] = checksums[partition].wrapping_add(hash);
        counts[partition] += 1;
        let at = message.timestamp().to_millis().ok_or("a message has no timestamp")?;
        (first, last) = (first.min(at), last.max(at));
        Ok(())
    })?;
    let total = checksums.iter().fold(0_u64, |sum, each| sum.wrapping_add(*each)).to_string();
    let checksums: Vec<_> = checksums.iter().map(u64::to_string).collect();
    let count: u64 = counts.iter().sum();
    Ok(
        json!({ "count": count, "checksum": total, "counts": counts, "checksums": checksums, "first_ms": first, "last_ms": last }),
    )
}

fn partitions(topics: &[rdkafka::metadata::MetadataTopic]) -> usize {
    topics.first().map_or(0, |topic| topic.partitions().len())
}
