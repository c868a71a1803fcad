//! The transactions of a partition: which of them are open, and which records are those of aborted ones.
//!
//! As in Kafka, the *last stable offset* is the first offset of the earliest open transaction, or the end of the log.
//! Consumers of committed records read up to it, and leave out the records of the aborted transactions, which the
//! response of a fetch lists.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::core::batch::Header;
use crate::core::records::marker::Outcome;

/// A transaction that was aborted, in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Id of its producer.
    pub producer_id: i64,
    /// Offset of its first record.
    pub first_offset: i64,
    /// Offset of the marker that ends it.
    pub last_offset: i64,
}

/// The transactions that begin or end in a segment: what those of the log follow from, without the batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SegmentTransactions {
    /// The first marker of each producer. Its transaction may have begun in an earlier segment.
    first_ends: BTreeMap<i64, FirstEnd>,
    /// The aborted transactions after it.
    aborted: Vec<AbortedTransaction>,
    /// The first offset of each transaction that begins in the segment and does not end there, by producer.
    open: BTreeMap<i64, i64>,
    /// The epoch and the timestamp of each producer's last marker.
    last_ends: BTreeMap<i64, (i16, i64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FirstEnd {
    /// The first offset of the transaction in the segment.
    began: Option<i64>,
    outcome: Outcome,
    offset: i64,
}

/// Sentinel for "no offset".
const NONE: i64 = -1;

impl SegmentTransactions {
    /// Records a batch, with the outcome if it ends a transaction.
    pub(crate) fn note(&mut self, header: &Header, outcome: Option<Outcome>) {
        let (producer_id, offset) = (header.producer_id, header.base_offset);
        let Some(outcome) = outcome else {
            if begins(header) {
                self.open.entry(producer_id).or_insert(offset);
            }
            return;
        };
        let began = self.open.remove(&producer_id);
        match (self.first_ends.entry(producer_id), began) {
            (Entry::Vacant(first), began) => {
                first.insert(FirstEnd { began, outcome, offset });
            }
            (Entry::Occupied(_), Some(first_offset)) if outcome == Outcome::Abort => {
                self.aborted.push(AbortedTransaction { producer_id, first_offset, last_offset: offset });
            }
            (Entry::Occupied(_), _) => {}
        }
        self.last_ends.insert(producer_id, (header.producer_epoch, header.max_timestamp));
    }

    /// Returns the last marker of each producer: its id, its epoch and the timestamp.
    pub(crate) fn last_ends(&self) -> impl Iterator<Item = (i64, i16, i64)> {
        self.last_ends.iter().map(|(producer_id, (epoch, timestamp))| (*producer_id, *epoch, *timestamp))
    }

    /// Appends the transactions to the numbers of a summary.
    pub(crate) fn encode(&self, numbers: &mut Vec<i64>) {
        let count = |len: usize| i64::try_from(len).unwrap_or(i64::MAX);
        numbers.push(count(self.first_ends.len()));
        for (producer_id, FirstEnd { began, outcome, offset }) in &self.first_ends {
            let is_commit = i64::from(*outcome == Outcome::Commit);
            numbers.extend([*producer_id, began.unwrap_or(NONE), is_commit, *offset]);
        }
        numbers.push(count(self.aborted.len()));
        for aborted in &self.aborted {
            numbers.extend([aborted.producer_id, aborted.first_offset, aborted.last_offset]);
        }
        numbers.push(count(self.open.len()));
        for (producer_id, first_offset) in &self.open {
            numbers.extend([*producer_id, *first_offset]);
        }
        numbers.push(count(self.last_ends.len()));
        for (producer_id, epoch, timestamp) in self.last_ends() {
            numbers.extend([producer_id, epoch.into(), timestamp]);
        }
    }

    /// Takes the transactions from the numbers of a summary.
    pub(crate) fn decode(numbers: &mut impl Iterator<Item = i64>) -> Option<Self> {
        let mut decoded = Self::default();
        for _ in 0..numbers.next()? {
            let (producer_id, began) = (numbers.next()?, numbers.next()?);
            let outcome = if numbers.next()? == 0 { Outcome::Abort } else { Outcome::Commit };
            let end = FirstEnd { began: (began != NONE).then_some(began), outcome, offset: numbers.next()? };
            decoded.first_ends.insert(producer_id, end);
        }
        for _ in 0..numbers.next()? {
            let (producer_id, first_offset) = (numbers.next()?, numbers.next()?);
            decoded.aborted.push(AbortedTransaction { producer_id, first_offset, last_offset: numbers.next()? });
        }
        for _ in 0..numbers.next()? {
            decoded.open.insert(numbers.next()?, numbers.next()?);
        }
        for _ in 0..numbers.next()? {
            let (producer_id, epoch) = (numbers.next()?, i16::try_from(numbers.next()?).ok()?);
            decoded.last_ends.insert(producer_id, (epoch, numbers.next()?));
        }
        Some(decoded)
    }
}

/// Returns true if a batch begins a transaction unless one is open. A batch that compaction has left without records belongs to
/// none.
fn begins(header: &Header) -> bool {
    header.is_transactional() && !header.is_control() && header.record_count > 0
}

/// The transactions of a partition. Their state follows from the batches of the log.
#[derive(Debug, Default)]
pub(crate) struct PartitionTransactions {
    /// The first offset of each open transaction, by producer id.
    open: BTreeMap<i64, i64>,
    /// Ordered by the offsets of their markers.
    aborted: Vec<AbortedTransaction>,
    /// The first offsets of the same transactions, by producer and offset of the marker. Those of a producer do not overlap.
    by_producer: BTreeMap<(i64, i64), i64>,
}

impl PartitionTransactions {
    /// Records a batch of a producer.
    pub(crate) fn note(&mut self, header: &Header) {
        if begins(header) {
            self.open.entry(header.producer_id).or_insert(header.base_offset);
        }
    }

    /// Records the transactions of the next segment.
    pub(crate) fn replay(&mut self, segment: &SegmentTransactions) {
        for (producer_id, FirstEnd { began, outcome, offset }) in &segment.first_ends {
            if let Some(began) = began {
                self.open.entry(*producer_id).or_insert(*began);
            }
            self.end(*producer_id, *outcome, *offset);
        }
        segment.aborted.iter().for_each(|aborted| self.abort(*aborted));
        self.aborted.sort_by_key(|aborted| aborted.last_offset);
        for (producer_id, first_offset) in &segment.open {
            self.open.entry(*producer_id).or_insert(*first_offset);
        }
    }

    /// Records the end of a transaction. There may be none, if its producer has sent nothing to this partition.
    pub(crate) fn end(&mut self, producer_id: i64, outcome: Outcome, marker_offset: i64) {
        let first_offset = self.open.remove(&producer_id);
        if let (Some(first_offset), Outcome::Abort) = (first_offset, outcome) {
            self.abort(AbortedTransaction { producer_id, first_offset, last_offset: marker_offset });
        }
    }

    fn abort(&mut self, aborted: AbortedTransaction) {
        self.by_producer.insert((aborted.producer_id, aborted.last_offset), aborted.first_offset);
        self.aborted.push(aborted);
    }

    /// Returns the first offset of the earliest open transaction.
    pub(crate) fn first_open(&self) -> Option<i64> {
        self.open.values().copied().min()
    }

    /// Returns the first offset of the producer's open transaction.
    pub(crate) fn open_since(&self, producer_id: i64) -> Option<i64> {
        self.open.get(&producer_id).copied()
    }

    /// Returns the open transactions: their producers and first offsets.
    pub(crate) fn open(&self) -> impl Iterator<Item = (i64, i64)> {
        self.open.iter().map(|(producer_id, first_offset)| (*producer_id, *first_offset))
    }

    /// Returns true if a batch at this offset belongs to an aborted transaction.
    pub(crate) fn is_aborted(&self, header: &Header) -> bool {
        let (id, offset) = (header.producer_id, header.base_offset);
        let next = self.by_producer.range((id, offset)..=(id, i64::MAX)).next();
        header.is_transactional() && next.is_some_and(|(_, first_offset)| *first_offset <= offset)
    }

    /// Returns the aborted transactions with records in `from..until`, ordered by their first offset.
    pub(crate) fn aborted_between(&self, from: i64, until: i64) -> Vec<AbortedTransaction> {
        let start = self.aborted.partition_point(|aborted| aborted.last_offset < from);
        let mut found: Vec<_> =
            self.aborted[start..].iter().filter(|aborted| aborted.first_offset < until).copied().collect();
        found.sort_by_key(|aborted| aborted.first_offset);
        found
    }

    /// Forgets aborted transactions whose markers compaction has removed, after their records: a consumer to which they
    /// were listed would leave out all further records of the producer. `offsets` is in order.
    pub(crate) fn forget_markers(&mut self, offsets: &[i64]) {
        if offsets.is_empty() {
            return;
        }
        let is_kept = |last_offset: &i64| offsets.binary_search(last_offset).is_err();
        self.aborted.retain(|aborted| is_kept(&aborted.last_offset));
        self.by_producer.retain(|(_, last_offset), _| is_kept(last_offset));
    }

    /// Forgets the transactions whose records have been deleted.
    pub(crate) fn forget_before(&mut self, start: i64) {
        let gone = self.aborted.partition_point(|aborted| aborted.last_offset < start);
        for aborted in self.aborted.drain(..gone) {
            self.by_producer.remove(&(aborted.producer_id, aborted.last_offset));
        }
    }
}
