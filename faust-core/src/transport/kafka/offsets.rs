//! Where partitions begin: what is committed, held against what the log still has.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tracing::warn;

use super::config::OffsetReset;
use super::errors::{failed, refused};
use super::native::{PartitionAnswer, answers};
use crate::error::{TransportError, TransportErrorKind};
use crate::transport::port::{Committed, TopicPartition, Watermarks};

/// What the consumer's group has committed; partitions without a commit are left out.
///
/// # Errors
/// The first of the partitions' errors, or that of the request.
pub(super) fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    of: &[TopicPartition],
    within: Duration,
) -> Result<BTreeMap<TopicPartition, Committed>, TransportError> {
    let what = "look-up of committed offsets";
    if of.is_empty() {
        return Ok(BTreeMap::new());
    }
    let list = consumer.committed_offsets(listed(of), within).map_err(|error| failed(what, &error))?;
    let rows = checked(what, answers(&list))?;
    Ok(rows.into_iter().filter_map(|row| Some((key(&row), row.committed?))).collect())
}

/// What the logs hold, as a `read_committed` reader sees them; two requests for all.
///
/// # Errors
/// The first of the partitions' errors, or that of a request.
pub(super) fn watermarks<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    of: &[TopicPartition],
    within: Duration,
) -> Result<Watermarks, TransportError> {
    let mut lows = look_up(consumer, of, Offset::Beginning, within)?;
    let highs = look_up(consumer, of, Offset::End, within)?;
    let both = highs.into_iter().map(|(partition, high)| {
        let low = lows.remove(&partition).unwrap_or(high);
        (partition, (low, high))
    });
    Ok(both.collect())
}

// Kafka answers the "timestamps" -2 and -1 with a log's start and end.
fn look_up<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    of: &[TopicPartition],
    at: Offset,
    within: Duration,
) -> Result<BTreeMap<TopicPartition, i64>, TransportError> {
    let what = "look-up of watermarks";
    if of.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut list = listed(of);
    let asked = list.set_all_offsets(at).and_then(|()| consumer.offsets_for_times(list, within));
    let rows = checked(what, answers(&asked.map_err(|error| failed(what, &error))?))?;
    let number = |row: &PartitionAnswer| row.committed.as_ref().map(|found| (key(row), found.offset));
    Ok(rows.iter().filter_map(number).collect())
}

/// The first offset to read.
///
/// # Errors
/// [`OffsetOutOfRange`](TransportErrorKind::OffsetOutOfRange) where the policy is to begin nowhere.
pub(super) fn start(
    partition: &TopicPartition,
    committed: Option<&Committed>,
    (low, high): (i64, i64),
    reset: OffsetReset,
) -> Result<i64, TransportError> {
    if let Some(committed) = committed {
        // Above the high watermark: the topic was deleted and made anew, or a transaction is still open there.
        if (low..=high).contains(&committed.offset) {
            return Ok(committed.offset);
        }
        if reset != OffsetReset::None {
            warn!(
                target: "faust::kafka",
                "the committed offset {} of {partition} is not in its log, which holds {low} to {high}: \
                 reading on from the {}; messages may be missed or repeated",
                committed.offset, if reset == OffsetReset::Earliest { "oldest message kept" } else { "end" },
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

/// A list of partitions without offsets.
pub(super) fn listed<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}

/// A list of partitions with offsets.
///
/// # Errors
/// An offset below zero.
pub(super) fn listed_at<'a>(
    starts: impl IntoIterator<Item = (&'a TopicPartition, Offset)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in starts {
        list.add_partition(&partition.topic, partition.partition).set_offset(offset)?;
    }
    Ok(list)
}

/// The rows, unless one of them is an error.
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
    fn the_start_is_what_is_committed_if_the_log_still_has_it() {
        let partition = TopicPartition::new("t", 0);
        let at = |offset| Some(Committed { offset, metadata: String::new() });
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
            let found = start(&partition, committed.as_ref(), (3, 9), reset);
            assert!(found.as_ref().err().is_none_or(|e| e.kind == TransportErrorKind::OffsetOutOfRange));
            assert_eq!(found.ok(), expected, "{committed:?} {reset:?}");
        }
    }
}
