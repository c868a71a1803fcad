//! Fast reading outside any group: one consumer, a queue for each partition, a thread that attends to both.

use std::sync::{Arc, Weak};
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use tracing::{debug, error};

use super::config::KafkaConfig;
use super::connection::Bystander;
use super::errors::{failed, unusable};
use super::native::{Member, PartitionReader, Reading};
use super::offsets::{listed, watermarks};
use super::queue::{KafkaQueue, split};
use crate::error::TransportError;
use crate::transport::port::{PartitionQueue, StartAt, TopicPartition};

/// How often sleeping queues are made to look again, should a wake-up have been lost, and queues that are gone are
/// noticed.
const TICK: Duration = Duration::from_millis(100);
/// How long a broker may hold a fetch: an end is noticed only after an empty one.
const FETCH_WAIT: Duration = Duration::from_millis(10);

/// Opens one queue per partition, in the order given. Blocks: it asks the brokers where logs begin and end.
pub(super) fn open(
    config: &KafkaConfig,
    from: Vec<(TopicPartition, StartAt)>,
) -> Result<Vec<Box<dyn PartitionQueue>>, TransportError> {
    let what = "opening of a tail";
    if from.is_empty() {
        return Ok(Vec::new());
    }
    let client = config.outsider(from.len(), FETCH_WAIT);
    let consumer: BaseConsumer<_> = client.create_with_context(Bystander).map_err(|error| unusable(what, &error))?;
    let member = Arc::new(Member::new(consumer));
    let starts = starts(&member, from, config.request_timeout)?;
    let offsets: Vec<_> = starts.iter().map(|(partition, start, _)| (partition.clone(), *start)).collect();
    let readers = split(&member, &offsets, Reading::Batches, |list| member.consumer().assign(list))?;

    let mut attended = Vec::with_capacity(readers.len());
    let mut queues: Vec<Box<dyn PartitionQueue>> = Vec::with_capacity(readers.len());
    for ((partition, _, next), reader) in starts.into_iter().zip(readers) {
        let reader = Arc::new(reader);
        attended.push((partition.clone(), Arc::downgrade(&reader)));
        queues.push(Box::new(KafkaQueue::new(partition, reader, member.clone(), next)));
    }
    let thread = std::thread::Builder::new().name("faust-tail".to_owned());
    thread.spawn(move || attend(member, attended)).map_err(|error| TransportError::fatal(what, error))?;
    Ok(queues)
}

/// Where each begins: for librdkafka, and as the number of the first offset that can come.
fn starts(
    member: &Member<Bystander>,
    from: Vec<(TopicPartition, StartAt)>,
    within: Duration,
) -> Result<Vec<(TopicPartition, Offset, i64)>, TransportError> {
    let unknown = from.iter().filter(|(_, at)| !matches!(at, StartAt::Offset(_)));
    let unknown: Vec<_> = unknown.map(|(partition, _)| partition.clone()).collect();
    let marks = watermarks(member.consumer(), &unknown, within)?;
    let start = |(partition, at)| {
        let (offset, next) = match (at, marks.get(&partition)) {
            (StartAt::Offset(offset), _) => (Offset::Offset(offset), offset),
            // Not by number: retention may take it before it is read.
            (StartAt::Earliest, Some((low, _))) => (Offset::Beginning, *low),
            (StartAt::Latest, Some((_, high))) => (Offset::Offset(*high), *high),
            (_, None) => return Err(TransportError::retriable(format!("tail of {partition}"), "its end is not known")),
        };
        Ok((partition, offset, next))
    };
    from.into_iter().map(start).collect()
}

/// Serves the consumer's own events until all queues are gone, and closes it: that takes 100 ms, which the runtime's
/// threads must not spend.
fn attend(member: Arc<Member<Bystander>>, mut readers: Vec<(TopicPartition, Weak<PartitionReader>)>) {
    // Every queue holds a count; at one, this thread's is the last, and nobody is left who could make another.
    while Arc::strong_count(&member) > 1 {
        poll(member.consumer());
        let mut gone = Vec::new();
        readers.retain(|(partition, reader)| match reader.upgrade() {
            Some(reader) => {
                reader.wake();
                true
            }
            None => {
                gone.push(partition.clone());
                false
            }
        });
        // What nobody reads any more would be fetched until its memory is full.
        if !gone.is_empty()
            && let Err(error) = member.consumer().incremental_unassign(&listed(&gone))
        {
            debug!(target: "faust::kafka", "{}", failed("giving up of partitions", &error));
        }
    }
}

fn poll(consumer: &BaseConsumer<Bystander>) {
    match consumer.poll(TICK) {
        None => {}
        Some(Ok(message)) => {
            // Fetched before its queue was split, and not made void by the seek: nobody reads here, so it is fetched
            // again.
            let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
            error!(target: "faust::kafka", "{topic}[{partition}] was read before its queue was split; reading offset {offset} again");
            if let Err(error) = consumer.seek(topic, partition, Offset::Offset(offset), TICK) {
                error!(target: "faust::kafka", "{}", failed(format!("seek of {topic}[{partition}] to {offset}"), &error));
            }
        }
        Some(Err(error)) => debug!(target: "faust::kafka", "{}", failed("reading", &error)),
    }
}
