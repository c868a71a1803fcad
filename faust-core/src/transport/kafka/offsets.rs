//! Lookups of partitions' committed offsets and watermarks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::errors::{failed, refused};
use super::native::{PartitionAnswer, answers};
use crate::error::TransportError;
use crate::message::Offset;
use crate::transport::port::{Committed, TopicPartition, Watermarks};

/// Duration of the first attempt to look up committed offsets. The next one takes twice as long, and so on.
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);

/// Returns the committed offsets of the consumer's group. Partitions without a committed offset are omitted.
///
/// # Errors
/// Returns the first partition's error, or that of the request.
pub(super) fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    of: &[TopicPartition],
    within: Duration,
) -> Result<BTreeMap<TopicPartition, Committed>, TransportError> {
    let what = "lookup of committed offsets";
    if of.is_empty() {
        return Ok(BTreeMap::new());
    }
    let list = committed_list(consumer, of, within).map_err(|error| failed(what, &error))?;
    let rows = checked(what, answers(&list))?;
    Ok(rows.into_iter().filter_map(|row| Some((key(&row), row.committed?))).collect())
}

/// Looks up committed offsets, in attempts of increasing length.
///
/// librdkafka waits for a change of a broker's state if the group's coordinator is not ready. If the coordinator's connection is,
/// and only the group is not yet, there is no further change, and it waits for the whole timeout.
fn committed_list<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    of: &[TopicPartition],
    within: Duration,
) -> Result<TopicPartitionList, KafkaError> {
    let deadline = Instant::now() + within;
    let mut attempt = FIRST_ATTEMPT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match consumer.committed_offsets(listed(of), attempt.min(left)) {
            Err(error) if is_timeout(&error) && left > attempt => attempt *= 2,
            found => return found,
        }
    }
}

fn is_timeout(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{OperationTimedOut, RequestTimedOut};
    matches!(error.rdkafka_error_code(), Some(OperationTimedOut | RequestTimedOut))
}

/// Returns the log start offsets and the end offsets as seen by a `read_committed` consumer, with two requests in all.
///
/// # Errors
/// Returns the first partition's error, or that of a request.
pub(super) fn watermarks<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    of: &[TopicPartition],
    within: Duration,
) -> Result<Watermarks, TransportError> {
    let mut lows = look_up(consumer, of, rdkafka::Offset::Beginning, within)?;
    let highs = look_up(consumer, of, rdkafka::Offset::End, within)?;
    let both = highs.into_iter().map(|(partition, high)| {
        let low = lows.remove(&partition).unwrap_or(high);
        (partition, (low, high))
    });
    Ok(both.collect())
}

// Kafka returns a log's start and end for the special timestamps -2 and -1.
fn look_up<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    of: &[TopicPartition],
    at: rdkafka::Offset,
    within: Duration,
) -> Result<BTreeMap<TopicPartition, Offset>, TransportError> {
    let what = "lookup of watermarks";
    if of.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut list = listed(of);
    let asked = list.set_all_offsets(at).and_then(|()| consumer.offsets_for_times(list, within));
    let rows = checked(what, answers(&asked.map_err(|error| failed(what, &error))?))?;
    let number = |row: &PartitionAnswer| row.committed.as_ref().map(|found| (key(row), found.offset));
    Ok(rows.iter().filter_map(number).collect())
}

/// Creates a list of partitions without offsets.
pub(super) fn listed<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}

/// Creates a list of offsets to commit, with their metadata.
///
/// # Errors
/// Returns an error for a negative offset.
pub(super) fn to_commit(offsets: &BTreeMap<TopicPartition, Committed>) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (partition, committed) in offsets {
        let mut row = list.add_partition(&partition.topic, partition.partition);
        row.set_offset(rdkafka::Offset::Offset(committed.offset.0))?;
        row.set_metadata(&committed.metadata);
    }
    Ok(list)
}

/// Creates a list of partitions with offsets.
///
/// # Errors
/// Returns an error for a negative offset.
pub(super) fn listed_at<'a>(
    starts: impl IntoIterator<Item = (&'a TopicPartition, rdkafka::Offset)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in starts {
        list.add_partition(&partition.topic, partition.partition).set_offset(offset)?;
    }
    Ok(list)
}

/// Returns the rows, or the first error among them.
pub(super) fn checked(what: &str, rows: Vec<PartitionAnswer>) -> Result<Vec<PartitionAnswer>, TransportError> {
    match rows.iter().find(|row| row.error != RDKafkaErrorCode::NoError) {
        Some(row) => Err(refused(format!("{what} of {}", key(row)), row.error)),
        None => Ok(rows),
    }
}

fn key(row: &PartitionAnswer) -> TopicPartition {
    TopicPartition::new(row.topic.as_str(), row.partition)
}
