//! Start offsets of partitions: committed offsets, checked against the range of the log.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tracing::warn;

use super::config::OffsetReset;
use super::errors::{failed, refused};
use super::native::{PartitionAnswer, answers};
use crate::error::{TransportError, TransportErrorKind};
use crate::message::Offset;
use crate::transport::port::{Committed, TopicPartition, Watermarks};

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
    let list = consumer.committed_offsets(listed(of), within).map_err(|error| failed(what, &error))?;
    let rows = checked(what, answers(&list))?;
    Ok(rows.into_iter().filter_map(|row| Some((key(&row), row.committed?))).collect())
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

/// Returns the first offset to read.
///
/// # Errors
/// Returns [`OffsetOutOfRange`](TransportErrorKind::OffsetOutOfRange) if there is no valid committed offset and the
/// policy is [`OffsetReset::None`].
pub(super) fn start(
    partition: &TopicPartition,
    committed: Option<&Committed>,
    (low, high): (Offset, Offset),
    reset: OffsetReset,
) -> Result<Offset, TransportError> {
    if let Some(committed) = committed {
        // An offset above the range means that the topic was deleted and recreated, or that a transaction is still open
        // there.
        if (low..=high).contains(&committed.offset) {
            return Ok(committed.offset);
        }
        if reset != OffsetReset::None {
            warn!(
                target: "faust::kafka",
                "the committed offset {} of {partition} is not in its log, which holds {low} to {high}: \
                 resuming from the log's {}; messages may be skipped or processed again",
                committed.offset, if reset == OffsetReset::Earliest { "start" } else { "end" },
            );
        }
    }
    match reset {
        OffsetReset::Earliest => Ok(low),
        OffsetReset::Latest => Ok(high),
        OffsetReset::None => Err(TransportError {
            what: format!("start of {partition}"),
            why: match committed {
                Some(committed) => {
                    format!("the committed offset {} is not in the log, which holds {low} to {high}", committed.offset)
                }
                None => "no offset is committed, and `consumer_auto_offset_reset` is `none`".to_owned(),
            },
            kind: TransportErrorKind::OffsetOutOfRange,
        }),
    }
}

/// Creates a list of partitions without offsets.
pub(super) fn listed<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_the_committed_offset_if_the_log_still_has_it() {
        let partition = TopicPartition::new("t", 0);
        let at = |offset| Some(Committed { offset: Offset(offset), metadata: String::new() });
        let cases = [
            (at(5), OffsetReset::Earliest, Some(5)),
            (at(3), OffsetReset::None, Some(3)),
            (at(9), OffsetReset::Latest, Some(9)),
            (at(2), OffsetReset::Earliest, Some(3)),
            (at(10), OffsetReset::Latest, Some(9)),
            (at(2), OffsetReset::None, None),
            (None, OffsetReset::Earliest, Some(3)),
            (None, OffsetReset::Latest, Some(9)),
            (None, OffsetReset::None, None),
        ];
        for (committed, reset, expected) in cases {
            let found = start(&partition, committed.as_ref(), (Offset(3), Offset(9)), reset);
            assert!(found.as_ref().err().is_none_or(|e| e.kind == TransportErrorKind::OffsetOutOfRange));
            assert_eq!(found.ok(), expected.map(Offset), "{committed:?} {reset:?}");
        }
    }
}
