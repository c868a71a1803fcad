//! The first offset that a member of a group reads of an assigned partition.

use tracing::warn;

use super::port::{Committed, TopicPartition};
use crate::config::OffsetReset;
use crate::error::{TransportError, TransportErrorKind};
use crate::message::Offset;

/// Returns the first offset to read of a partition whose log reaches from `low` to `high`.
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
        // The worker reports messages that were deleted.
        if committed.offset > high && reset != OffsetReset::None {
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
