//! Fast reading outside any group: one consumer, one queue per partition, and one thread that serves the consumer.

use std::sync::{Arc, Weak};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use tracing::{debug, error};

use super::config::KafkaConfig;
use super::connection::NoListener;
use super::errors::{failed, unusable};
use super::native::{GroupConsumer, PartitionReader, ReadState};
use super::offsets::{listed, watermarks};
use super::queue::{KafkaQueue, split};
use crate::error::TransportError;
use crate::message::Offset;
use crate::transport::port::{PartitionQueue, StartAt, TailPace, TopicPartition};

/// Interval at which pending queues are woken, in case a wake-up was lost, and dropped queues are detected.
const TICK: Duration = Duration::from_millis(100);
/// Maximum time a broker may hold a fetch. A partition end is detected only by an empty fetch.
const FETCH_WAIT: Duration = Duration::from_millis(10);

/// Opens one queue per partition, in the order given. Blocks, because it looks up the start and end offsets of logs.
pub(super) fn open(
    config: &KafkaConfig,
    from: Vec<(TopicPartition, StartAt)>,
    pace: TailPace,
) -> Result<Vec<Box<dyn PartitionQueue>>, TransportError> {
    let what = "opening a tail";
    if from.is_empty() {
        return Ok(Vec::new());
    }
    let client = match pace {
        TailPace::Fast => config.outsider(from.len(), FETCH_WAIT),
        TailPace::Steady => config.follower(from.len()),
    };
    let consumer: BaseConsumer<_> = client.create_with_context(NoListener).map_err(|error| unusable(what, &error))?;
    let member = Arc::new(GroupConsumer::new(consumer));
    let starts = starts(&member, from, config.request_timeout)?;
    let offsets: Vec<_> = starts.iter().map(|(partition, start, _)| (partition.clone(), *start)).collect();
    let readers = split(&member, &offsets, ReadState::Batches, |list| member.consumer().assign(list))?;

    let mut attended = Vec::with_capacity(readers.len());
    let mut queues: Vec<Box<dyn PartitionQueue>> = Vec::with_capacity(readers.len());
    for ((partition, _, next), reader) in starts.into_iter().zip(readers) {
        let reader = Arc::new(reader);
        attended.push((partition.clone(), Arc::downgrade(&reader)));
        queues.push(Box::new(KafkaQueue::new(partition, reader, Arc::clone(&member), next)));
    }
    let thread = std::thread::Builder::new().name("faust-tail".to_owned());
    thread.spawn(move || attend(member, attended)).map_err(|error| TransportError::fatal(what, error))?;
    Ok(queues)
}

/// Returns each partition's start, as librdkafka takes it and as the first offset that can be read.
fn starts(
    member: &GroupConsumer<NoListener>,
    from: Vec<(TopicPartition, StartAt)>,
    within: Duration,
) -> Result<Vec<(TopicPartition, rdkafka::Offset, Offset)>, TransportError> {
    let unknown = from.iter().filter(|(_, at)| !matches!(at, StartAt::Offset(_)));
    let unknown: Vec<_> = unknown.map(|(partition, _)| partition.clone()).collect();
    let marks = watermarks(member.consumer(), &unknown, within)?;
    let start = |(partition, at)| {
        let (offset, next) = match (at, marks.get(&partition)) {
            (StartAt::Offset(offset), _) => (rdkafka::Offset::Offset(offset.0), offset),
            // Not a number, because retention may delete that offset before it is read.
            (StartAt::Earliest, Some((low, _))) => (rdkafka::Offset::Beginning, *low),
            (StartAt::Latest, Some((_, high))) => (rdkafka::Offset::Offset(high.0), *high),
            (_, None) => return Err(TransportError::retriable(format!("tail of {partition}"), "its end is unknown")),
        };
        Ok((partition, offset, next))
    };
    from.into_iter().map(start).collect()
}

/// Serves the consumer's own events until all queues have been dropped, then closes the consumer. Closing blocks for
/// 100 ms, too long for a thread of the runtime.
fn attend(member: Arc<GroupConsumer<NoListener>>, mut readers: Vec<(TopicPartition, Weak<PartitionReader>)>) {
    // Every queue holds a reference. At a count of one, only this thread's is left, and no other can be created.
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
        // Without this, librdkafka would continue to fetch a partition without a reader until its queue is full.
        if !gone.is_empty()
            && let Err(error) = member.consumer().incremental_unassign(&listed(&gone))
        {
            debug!(target: "faust::kafka", "{}", failed("unassigning partitions", &error));
        }
    }
}

fn poll(consumer: &BaseConsumer<NoListener>) {
    match consumer.poll(TICK) {
        None => {}
        Some(Ok(message)) => {
            // The message was fetched before its queue was split, and the seek did not invalidate it. This queue has no
            // reader, so the message is fetched again.
            let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
            error!(target: "faust::kafka", "{topic}[{partition}] was read before its queue was split; reading offset {offset} again");
            if let Err(error) = consumer.seek(topic, partition, rdkafka::Offset::Offset(offset), TICK) {
                error!(target: "faust::kafka", "{}", failed(format!("seek of {topic}[{partition}] to {offset}"), &error));
            }
        }
        Some(Err(error)) => debug!(target: "faust::kafka", "{}", failed("reading", &error)),
    }
}
