//! The summary of a segment: all that a start must know of it, so that it need not be read.
//!
//! It is a sequence of 64-bit numbers in big-endian order, the last of which is the checksum of the others. A summary that does
//! not fit its segment is not used.

use crate::core::batch::Header;
use crate::core::log::SegmentTransactions;

/// The version of the format.
const VERSION: i64 = 1;
/// Sentinel for "no timestamp".
const NONE: i64 = i64::MIN;

/// The summary of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The size of the segment in bytes.
    pub(crate) len: u64,
    pub(crate) end_offset: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) first_timestamp: Option<i64>,
    pub(crate) delete_horizon_ms: Option<i64>,
    pub(crate) index: Vec<Entry>,
    /// The batches that idempotent producers may send again, ordered by offset. Only the fields about offsets, sequence numbers
    /// and the producer are known.
    pub(crate) batches: Vec<Header>,
    pub(crate) transactions: SegmentTransactions,
}

/// An entry of a segment's sparse index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) offset: i64,
    pub(crate) position: u64,
    /// Highest timestamp of the preceding records, so that a lookup by timestamp can start at this entry.
    pub(crate) max_timestamp_before: i64,
}

impl Summary {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { len, end_offset, max_timestamp, first_timestamp, delete_horizon_ms, .. } = self;
        let (first, horizon) = (first_timestamp.unwrap_or(NONE), delete_horizon_ms.unwrap_or(NONE));
        let mut numbers = vec![VERSION, signed(*len), *end_offset, *max_timestamp, first, horizon];
        numbers.push(signed(self.index.len() as u64));
        for Entry { offset, position, max_timestamp_before } in &self.index {
            numbers.extend([*offset, signed(*position), *max_timestamp_before]);
        }
        numbers.push(signed(self.batches.len() as u64));
        for batch in &self.batches {
            numbers.extend([batch.base_offset, batch.last_offset_delta.into(), batch.max_timestamp]);
            numbers.extend([batch.producer_id, batch.producer_epoch.into(), batch.base_sequence.into()]);
        }
        self.transactions.encode(&mut numbers);
        let mut bytes: Vec<u8> = numbers.into_iter().flat_map(i64::to_be_bytes).collect();
        let crc = crc32c::crc32c(&bytes);
        bytes.extend(i64::from(crc).to_be_bytes());
        bytes
    }

    /// Decodes a summary. Returns `None` if it is damaged, or of another version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<8>()?;
        let (words, rest) = body.as_chunks::<8>();
        if i64::from_be_bytes(*crc) != i64::from(crc32c::crc32c(body)) || !rest.is_empty() {
            return None;
        }
        let mut numbers = words.iter().map(|word| i64::from_be_bytes(*word));
        if numbers.next()? != VERSION {
            return None;
        }
        let len = u64::try_from(numbers.next()?).ok()?;
        let (end_offset, max_timestamp) = (numbers.next()?, numbers.next()?);
        let mut time = || numbers.next().map(|time| (time != NONE).then_some(time));
        let (first_timestamp, delete_horizon_ms) = (time()?, time()?);
        let count = numbers.next()?;
        let entry = |numbers: &mut dyn Iterator<Item = i64>| {
            let (offset, position) = (numbers.next()?, u64::try_from(numbers.next()?).ok()?);
            Some(Entry { offset, position, max_timestamp_before: numbers.next()? })
        };
        let index = (0..count).map(|_| entry(&mut numbers)).collect::<Option<Vec<_>>>()?;
        let count = numbers.next()?;
        let batches = (0..count).map(|_| batch(&mut numbers)).collect::<Option<Vec<_>>>()?;
        let transactions = SegmentTransactions::decode(&mut numbers)?;
        Some(Self { len, end_offset, max_timestamp, first_timestamp, delete_horizon_ms, index, batches, transactions })
    }
}

fn batch(numbers: &mut impl Iterator<Item = i64>) -> Option<Header> {
    let base_offset = numbers.next()?;
    let last_offset_delta = i32::try_from(numbers.next()?).ok()?;
    let max_timestamp = numbers.next()?;
    let producer_id = numbers.next()?;
    let producer_epoch = i16::try_from(numbers.next()?).ok()?;
    let base_sequence = i32::try_from(numbers.next()?).ok()?;
    Some(Header {
        base_offset,
        last_offset_delta,
        max_timestamp,
        producer_id,
        producer_epoch,
        base_sequence,
        size: 0,
        attributes: 0,
        base_timestamp: max_timestamp,
        record_count: 0,
    })
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::core::Outcome;

    fn transactions() -> SegmentTransactions {
        let mut transactions = SegmentTransactions::default();
        let sent = |number: i64| batch(&mut [number, 0, 1000, number % 2, 1, 0].into_iter()).unwrap();
        for number in 0..8 {
            let header = Header { attributes: 1 << 4, record_count: 1, ..sent(number) };
            let outcome = (number > 3).then_some(if number == 6 { Outcome::Abort } else { Outcome::Commit });
            transactions.note(&header, outcome.filter(|_| number < 7));
        }
        transactions
    }

    #[test]
    fn a_summary_is_read_as_it_was_written_and_not_if_it_is_damaged() {
        let entry =
            |number| Entry { offset: number, position: 3 * number.unsigned_abs(), max_timestamp_before: number - 2 };
        let sent = |number: i64| batch(&mut [number, 2, 1000, 7, 1, 5].into_iter()).unwrap();
        let summary = Summary {
            len: 1 << 40,
            end_offset: 17,
            max_timestamp: 1000,
            first_timestamp: None,
            delete_horizon_ms: Some(-1),
            index: (0..3).map(entry).collect(),
            batches: (4..6).map(sent).collect(),
            transactions: transactions(),
        };
        let bytes = summary.encode();
        assert_eq!(Summary::decode(&bytes), Some(summary));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Summary::decode(&damaged), None, "flipped at {at}");
            assert_eq!(Summary::decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
