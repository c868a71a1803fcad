//! The state of a partition's idempotent producers, used to detect duplicate batches and sequence gaps.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use crate::core::ErrorCode;
use crate::core::batch::Header;

/// Number of batches kept per producer, as in Kafka, which allows this many in-flight requests.
const REMEMBERED_BATCHES: usize = 5;

/// Largest id that a broker can have issued. Half of the numbers are more than enough, and leave room for the next ids.
const MAX_ISSUED_ID: i64 = i64::MAX / 2;

/// Number of sequence numbers that may be missing after damage. A larger difference is that of an earlier batch.
const MAX_GAP: i32 = 1 << 30;

/// The producers that have written to a partition.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    by_id: HashMap<i64, State>,
}

#[derive(Debug)]
struct State {
    epoch: i16,
    /// The last batches of this epoch, oldest first.
    batches: VecDeque<Written>,
    /// True if batches after the last one may have been lost to damage.
    may_have_gap: bool,
    /// Largest timestamp of its last batch or marker.
    last_ms: i64,
    is_transactional: bool,
    /// True if a marker has raised the epoch: the next batch starts at sequence 0.
    is_renewed: bool,
}

impl State {
    fn new(epoch: i16, last_ms: i64) -> Self {
        Self {
            epoch,
            batches: VecDeque::new(),
            may_have_gap: false,
            last_ms,
            is_transactional: false,
            is_renewed: false,
        }
    }
}

/// Sequence numbers, offset and timestamp of a stored batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    first_sequence: i32,
    last_sequence: i32,
    pub(crate) base_offset: i64,
    pub(crate) timestamp: i64,
}

/// An idempotent producer that has written to a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ActiveProducer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    /// Sequence number of its last record, or -1 if there is none with this epoch.
    pub(crate) last_sequence: i32,
    /// Largest timestamp of its last batch.
    pub(crate) last_timestamp: i64,
    /// True if it has ended a transaction in the partition, or has one open.
    pub(crate) is_transactional: bool,
    /// First offset of its open transaction.
    pub(crate) open_since: Option<i64>,
}

impl Producers {
    /// Returns the producers, ordered by id.
    pub(crate) fn active(&self) -> Vec<ActiveProducer> {
        let active = self.by_id.iter().map(|(id, state)| ActiveProducer {
            id: *id,
            epoch: state.epoch,
            last_sequence: state.batches.back().map_or(-1, |last| last.last_sequence),
            last_timestamp: state.last_ms,
            is_transactional: state.is_transactional,
            open_since: None,
        });
        let mut active: Vec<_> = active.collect();
        active.sort_by_key(|producer| producer.id);
        active
    }

    /// Checks the sequence of a batch. Returns `Ok(None)` if it must be appended, `Ok(Some)` if it is a duplicate of a
    /// stored batch.
    pub(crate) fn check(&self, header: &Header) -> Result<Option<Written>, ErrorCode> {
        if header.producer_id < 0 {
            return Ok(None);
        }
        if header.producer_epoch < 0 || header.base_sequence < 0 {
            return Err(ErrorCode::InvalidRecord);
        }
        // An unknown producer may start at any sequence: its earlier batches may have been deleted with their segment.
        let Some(state) = self.by_id.get(&header.producer_id) else {
            return Ok(None);
        };
        if header.producer_epoch < state.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if header.producer_epoch > state.epoch {
            return if header.base_sequence == 0 { Ok(None) } else { Err(ErrorCode::OutOfOrderSequence) };
        }
        if state.is_renewed && header.base_sequence != 0 {
            return Err(ErrorCode::OutOfOrderSequence);
        }
        let same = |written: &&Written| {
            written.first_sequence == header.base_sequence && written.last_sequence == header.last_sequence()
        };
        if let Some(written) = state.batches.iter().find(same) {
            return Ok(Some(*written));
        }
        let follows = state.batches.back().is_none_or(|last| {
            let ahead = header.base_sequence.wrapping_sub(next_sequence(last.last_sequence)) & i32::MAX;
            ahead == 0 || (state.may_have_gap && ahead <= MAX_GAP)
        });
        if follows { Ok(None) } else { Err(ErrorCode::OutOfOrderSequence) }
    }

    /// Records a batch that has been stored at `header.base_offset`.
    pub(crate) fn note(&mut self, header: &Header) {
        if header.producer_id < 0 {
            return;
        }
        let state = self
            .by_id
            .entry(header.producer_id)
            .or_insert_with(|| State::new(header.producer_epoch, header.max_timestamp));
        (state.may_have_gap, state.is_renewed) = (false, false);
        state.last_ms = header.max_timestamp;
        state.is_transactional |= header.is_transactional();
        if state.epoch != header.producer_epoch {
            state.epoch = header.producer_epoch;
            state.batches.clear();
        }
        if state.batches.len() == REMEMBERED_BATCHES {
            state.batches.pop_front();
        }
        state.batches.push_back(Written {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: header.base_offset,
            timestamp: header.max_timestamp,
        });
    }

    /// Returns the remembered batches with these offsets, as far as they are known.
    pub(crate) fn batches_in(&self, offsets: &Range<i64>) -> Vec<Header> {
        let of_producer = |(id, state): (&i64, &State)| {
            let (producer_id, producer_epoch) = (*id, state.epoch);
            let header = move |written: &Written| Header {
                base_offset: written.base_offset,
                size: 0,
                attributes: 0,
                last_offset_delta: written.last_sequence.wrapping_sub(written.first_sequence) & i32::MAX,
                base_timestamp: written.timestamp,
                max_timestamp: written.timestamp,
                producer_id,
                producer_epoch,
                base_sequence: written.first_sequence,
                record_count: 0,
            };
            state
                .batches
                .iter()
                .filter(|written| offsets.contains(&written.base_offset))
                .map(header)
                .collect::<Vec<_>>()
        };
        let mut batches: Vec<Header> = self.by_id.iter().flat_map(of_producer).collect();
        batches.sort_by_key(|batch| batch.base_offset);
        batches
    }

    /// Records the end of a transaction. If it has a newer epoch, the producer's next batch starts at sequence 0.
    pub(crate) fn note_marker(&mut self, producer_id: i64, epoch: i16, timestamp: i64) {
        let state = self.by_id.entry(producer_id).or_insert_with(|| State::new(epoch, timestamp));
        state.last_ms = state.last_ms.max(timestamp);
        state.is_transactional = true;
        if state.epoch < epoch {
            state.epoch = epoch;
            state.batches.clear();
            state.is_renewed = true;
        }
    }

    /// Returns the epoch of a producer that has written to the partition.
    pub(crate) fn epoch(&self, producer_id: i64) -> Option<i16> {
        self.by_id.get(&producer_id).map(|state| state.epoch)
    }

    /// Accepts a gap before the next batch of each producer, because batches were lost to damage: the producer cannot know
    /// it, and would fail.
    pub(crate) fn expect_gaps(&mut self) {
        self.by_id.values_mut().for_each(|state| state.may_have_gap = true);
    }

    /// Returns true if a duplicate of this stored batch would be detected. Compaction must keep the header of such a
    /// batch, so that the duplicate is detected after a restart too.
    pub(crate) fn remember(&self, header: &Header) -> bool {
        let state = self.by_id.get(&header.producer_id).filter(|state| state.epoch == header.producer_epoch);
        state.is_some_and(|state| state.batches.iter().any(|written| written.base_offset == header.base_offset))
    }

    /// Returns the highest producer id.
    ///
    /// Ids that no broker has issued do not count: clients may send any, and the next ones must not overflow.
    pub(crate) fn max_id(&self) -> Option<i64> {
        self.by_id.keys().copied().filter(|id| *id <= MAX_ISSUED_ID).max()
    }

    /// Removes producers without a batch since `time_ms`, so that their number does not grow without bound. Those for which
    /// `is_open` returns true have an open transaction, and are kept.
    pub(crate) fn forget_before(&mut self, time_ms: i64, is_open: impl Fn(i64) -> bool) {
        self.by_id.retain(|id, state| state.last_ms >= time_ms || is_open(*id));
    }
}

fn next_sequence(last: i32) -> i32 {
    last.checked_add(1).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(epoch: i16, sequence: i32, count: i32, base_offset: i64) -> Header {
        Header {
            base_offset,
            size: 100,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp: 0,
            max_timestamp: base_offset,
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence: sequence,
            record_count: count,
        }
    }

    fn producers(written: &[(i16, i32, i32, i64)]) -> Producers {
        let mut producers = Producers::default();
        for (epoch, sequence, count, offset) in written {
            producers.note(&header(*epoch, *sequence, *count, *offset));
        }
        producers
    }

    #[test]
    fn sequences_are_checked() {
        let cases = [
            ("the next batch", 1, 15, 5, Ok(None)),
            ("the last batch again", 1, 10, 5, Ok(Some(110))),
            ("the batch before it again", 1, 0, 10, Ok(Some(100))),
            ("same start, other length", 1, 10, 4, Err(ErrorCode::OutOfOrderSequence)),
            ("a gap", 1, 16, 1, Err(ErrorCode::OutOfOrderSequence)),
            ("an older epoch", 0, 15, 1, Err(ErrorCode::InvalidProducerEpoch)),
            ("a newer epoch from 0", 2, 0, 1, Ok(None)),
            ("a newer epoch not from 0", 2, 3, 1, Err(ErrorCode::OutOfOrderSequence)),
            ("no sequence", 1, -1, 1, Err(ErrorCode::InvalidRecord)),
        ];
        let producers = producers(&[(1, 0, 10, 100), (1, 10, 5, 110)]);
        for (name, epoch, sequence, count, expected) in cases {
            let found = producers.check(&header(epoch, sequence, count, 0));
            assert_eq!(found.map(|written| written.map(|written| written.base_offset)), expected, "{name}");
        }
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let producers = producers(&[(0, i32::MAX - 1, 2, 0)]);
        assert_eq!(producers.check(&header(0, 0, 1, 0)), Ok(None));
    }

    #[test]
    fn a_gap_is_accepted_once_after_damage() {
        let mut producers = producers(&[(1, 0, 10, 100), (1, 10, 5, 110)]);
        producers.expect_gaps();
        assert_eq!(producers.check(&header(1, 10, 5, 0)).unwrap().unwrap().base_offset, 110, "a retry is still one");
        assert_eq!(producers.check(&header(1, 5, 3, 0)), Err(ErrorCode::OutOfOrderSequence), "not a later batch");
        assert_eq!(producers.check(&header(1, 20, 5, 0)), Ok(None));
        producers.note(&header(1, 20, 5, 120));
        assert_eq!(producers.check(&header(1, 30, 5, 0)), Err(ErrorCode::OutOfOrderSequence));
    }

    #[test]
    fn inactive_producers_expire() {
        let mut producers = producers(&[(1, 0, 10, 100)]);
        producers.forget_before(101, |_| true);
        assert_eq!(
            producers.check(&header(0, 99, 1, 0)),
            Err(ErrorCode::InvalidProducerEpoch),
            "its transaction is open"
        );
        producers.forget_before(101, |_| false);
        assert_eq!(producers.check(&header(0, 99, 1, 0)), Ok(None));
    }

    proptest! {
        /// Law: however often a producer retries its last five batches, each sequence number is stored once and in
        /// order.
        #[test]
        fn retries_change_nothing(sizes in proptest::collection::vec(1i32..50, 1..30), back in proptest::collection::vec(0usize..5, 30)) {
            let mut producers = Producers::default();
            let (mut sequence, mut offset, mut sent) = (0, 0i64, Vec::new());
            for (size, back) in sizes.iter().zip(back) {
                let batch = header(0, sequence, *size, offset);
                prop_assert_eq!(producers.check(&batch).unwrap(), None);
                producers.note(&batch);
                sent.push(batch);
                let repeated = sent[sent.len().saturating_sub(1 + back)];
                prop_assert_eq!(producers.check(&repeated).unwrap().map(|written| written.base_offset), Some(repeated.base_offset));
                sequence += size;
                offset += i64::from(*size);
            }
        }
    }
}
