//! The log of one partition: append, read, look up by timestamp, delete and apply retention.

mod committed;
mod compaction;
mod keys;
mod recovery;
mod sweep;
mod transactions;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::core::admission::CheckedBatch;
use crate::core::advice::advice;
use crate::core::batch::{Batch, Header};
use crate::core::config::TopicConfig;
use crate::core::log::compaction::Pass;
pub(crate) use crate::core::log::compaction::{CompactionLimits, Step};
pub(crate) use crate::core::log::recovery::Recovery;
pub use crate::core::log::transactions::AbortedTransaction;
use crate::core::log::transactions::PartitionTransactions;
pub(crate) use crate::core::log::transactions::SegmentTransactions;
use crate::core::producer_state::{ActiveProducer, Producers};
use crate::core::records::marker::{self, Outcome};
use crate::core::records::raw;
use crate::core::scan;
use crate::core::segment::Segment;
use crate::core::storage::{LogStorage, PartitionId};
use crate::core::{ErrorCode, LEADER_EPOCH};

/// Time after which the state of an inactive idempotent producer expires, as in Kafka.
const PRODUCER_EXPIRY_MS: i64 = 24 * 60 * 60 * 1000;

/// The log of a partition. With a single replica, the high watermark is always the log end offset.
#[derive(Debug)]
pub(crate) struct Log {
    id: PartitionId,
    start: i64,
    end: i64,
    /// Ordered by offset, without gaps; empty until the first append, and never again afterwards: the name of the last one
    /// holds the end of the log.
    segments: VecDeque<Segment>,
    producers: Producers,
    transactions: PartitionTransactions,
    /// The log is compacted up to this offset: no key occurs twice before it.
    clean: i64,
    /// The compaction pass in progress.
    pass: Option<Pass>,
}

/// Persistent state of a log that its segments do not contain.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Marks {
    /// The log start offset.
    pub(crate) start: i64,
    /// The offset up to which the log is compacted.
    pub(crate) clean: i64,
}

/// The result of a verification of checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verified {
    /// The offset from which to continue, or of the damaged batch.
    pub(crate) next: i64,
    /// Number of bytes that have been verified.
    pub(crate) bytes: usize,
    pub(crate) is_damaged: bool,
}

/// The result of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The log start offset.
    pub log_start: i64,
    /// The timestamp set by the broker if the topic uses `LogAppendTime`, otherwise -1.
    pub append_time_ms: i64,
    /// True if the batch is a retry of an already stored batch, whose offsets are returned.
    pub is_repeated: bool,
}

/// The result of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The log start offset.
    pub log_start: i64,
    /// The high watermark: the offset after the last record.
    pub high_watermark: i64,
    /// The last stable offset: the first offset of the earliest open transaction, or the high watermark.
    pub last_stable: i64,
    /// Whole batches; the first one may start before the requested offset.
    pub batches: Vec<Bytes>,
    /// The aborted transactions with records in `batches`, if only committed records are wanted.
    pub aborted: Vec<AbortedTransaction>,
}

/// The offset to look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log start offset.
    Earliest,
    /// The offset after the last record.
    Latest,
    /// The offset of the record with the highest timestamp.
    MaxTimestamp,
    /// The offset of the first record at or after this time, in milliseconds since the Unix epoch.
    Since(i64),
}

/// An offset and the timestamp of its record, each -1 if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset.
    pub offset: i64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
}

impl Log {
    pub(crate) fn new(id: PartitionId) -> Self {
        let (producers, transactions) = (Producers::default(), PartitionTransactions::default());
        Self { id, start: 0, end: 0, segments: VecDeque::new(), producers, transactions, clean: 0, pass: None }
    }

    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    /// Returns the last stable offset.
    pub(crate) fn last_stable(&self) -> i64 {
        self.transactions.first_open().map_or(self.end, |first| first.max(self.start))
    }

    pub(crate) fn transactions(&self) -> &PartitionTransactions {
        &self.transactions
    }

    pub(crate) fn clean(&self) -> i64 {
        self.clean
    }

    pub(crate) fn size(&self) -> u64 {
        self.segments.iter().map(Segment::size).sum()
    }

    pub(crate) fn append(
        &mut self,
        checked: &CheckedBatch,
        config: &TopicConfig,
        now_ms: i64,
        storage: &mut dyn LogStorage,
    ) -> Result<Appended, ErrorCode> {
        let (batch, append_time_ms) = (checked.batch(), checked.append_time_ms());
        if let Some(written) = self.producers.check(batch.header())? {
            let last_offset = written.base_offset + i64::from(batch.header().last_offset_delta);
            let (base_offset, log_start) = (written.base_offset, self.start);
            return Ok(Appended { base_offset, last_offset, log_start, append_time_ms, is_repeated: true });
        }
        self.store(batch, config, now_ms, storage).map_err(|error| storage_error(&error, self.id))?;
        let header = Header { base_offset: self.end, ..*batch.header() };
        self.note(&header, None);
        self.end = header.last_offset() + 1;
        let (base_offset, last_offset, log_start) = (header.base_offset, header.last_offset(), self.start);
        Ok(Appended { base_offset, last_offset, log_start, append_time_ms, is_repeated: false })
    }

    /// Ends the transaction of a producer with a marker.
    pub(crate) fn end_transaction(
        &mut self,
        (producer_id, epoch): (i64, i16),
        outcome: Outcome,
        config: &TopicConfig,
        now_ms: i64,
        storage: &mut dyn LogStorage,
    ) -> Result<(), ErrorCode> {
        if self.producers.epoch(producer_id).is_some_and(|known| known > epoch) {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        let batch = marker::marker(producer_id, epoch, outcome, now_ms)?;
        self.store(&batch, config, now_ms, storage).map_err(|error| storage_error(&error, self.id))?;
        let header = Header { base_offset: self.end, ..*batch.header() };
        self.note(&header, Some(outcome));
        self.end = header.last_offset() + 1;
        Ok(())
    }

    /// Records a batch that has been stored, with the outcome if it ends a transaction.
    fn note(&mut self, header: &Header, outcome: Option<Outcome>) {
        if let Some(outcome) = outcome {
            self.producers.note_marker(header.producer_id, header.producer_epoch, header.max_timestamp);
            self.transactions.end(header.producer_id, outcome, header.base_offset);
        } else if !header.is_control() {
            self.producers.note(header);
            self.transactions.note(header);
        }
    }

    /// Records the transactions of the next segment, after its batches.
    fn replay(&mut self, transactions: &SegmentTransactions) {
        self.transactions.replay(transactions);
        for (producer_id, epoch, timestamp) in transactions.last_ends() {
            self.producers.note_marker(producer_id, epoch, timestamp);
        }
    }

    fn store(
        &mut self,
        batch: &Batch,
        config: &TopicConfig,
        now_ms: i64,
        storage: &mut dyn LogStorage,
    ) -> io::Result<()> {
        let header = batch.header();
        let room = |segment: &Segment| {
            // As in Kafka, segments are rolled by the records' timestamps, so that retention finds old and new records
            // in different segments.
            let is_near = |first: i64| first < 0 || header.max_timestamp.saturating_sub(first) <= config.segment_ms;
            let fits = segment.size() + header.size as u64 <= config.segment_bytes;
            let is_active = segment.end_offset == self.end && !segment.is_sealed();
            is_active && (segment.is_empty() || (fits && segment.first_timestamp.is_none_or(is_near)))
        };
        if !self.segments.back().is_some_and(room) {
            self.begin_segment(storage)?;
        }
        let active = self.segments.back_mut().expect("a segment was just pushed if there was none");
        active.append(batch, LEADER_EPOCH)?;
        active.begun_ms.get_or_insert(now_ms);
        Ok(())
    }

    fn begin_segment(&mut self, storage: &mut dyn LogStorage) -> io::Result<()> {
        let data = storage.create_segment(&self.id, self.end)?;
        if let Some(full) = self.segments.back_mut() {
            full.seal();
            full.summarize(&self.producers);
        }
        self.segments.push_back(Segment::new(self.end, data));
        Ok(())
    }

    /// Rolls the active segment unless it is empty.
    pub(crate) fn roll(&mut self, storage: &mut dyn LogStorage) -> io::Result<()> {
        if self.segments.back().is_some_and(|active| !active.is_sealed() && !active.is_empty()) {
            self.begin_segment(storage)?;
        }
        Ok(())
    }

    /// Rolls the active segment of a compacted log when it is due, so that topics without new records are compacted
    /// too.
    pub(crate) fn roll_when_due(
        &mut self,
        config: &TopicConfig,
        now_ms: i64,
        storage: &mut dyn LogStorage,
    ) -> io::Result<()> {
        let Some(compaction) = &config.compaction else { return Ok(()) };
        let Some(active) = self.segments.back_mut().filter(|active| !active.is_empty()) else { return Ok(()) };
        // After a restart, the timestamp of the first record stands in for the time of its append.
        let first_ms = active.first_timestamp.filter(|first| (0..now_ms).contains(first)).unwrap_or(now_ms);
        let begun_ms = *active.begun_ms.get_or_insert(first_ms);
        if now_ms.saturating_sub(begun_ms) >= config.segment_ms.min(compaction.max_lag_ms) {
            self.roll(storage)?;
        }
        Ok(())
    }

    /// Reads whole batches from `offset`, up to `max_bytes`, but at least one batch unless `offset` is the end of the
    /// log.
    pub(crate) fn read(&self, offset: i64, max_bytes: usize) -> Result<Read, ErrorCode> {
        if offset < self.start || offset > self.end {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        self.read_until(self.end, offset, max_bytes)
    }

    /// Like [`read`](Self::read), up to the last stable offset, with the aborted transactions.
    pub(crate) fn read_committed(&self, offset: i64, max_bytes: usize) -> Result<Read, ErrorCode> {
        if offset < self.start || offset > self.end {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        // IMPORTANT: up to the batch itself, even if its first records have been deleted: the others are open, too.
        let until = self.transactions.first_open().unwrap_or(self.end);
        let mut read = self.read_until(until, offset, max_bytes)?;
        if let Some(next) = read.batches.last().and_then(next_offset) {
            read.aborted = self.transactions.aborted_between(offset, next);
        }
        Ok(read)
    }

    fn read_until(&self, until: i64, offset: i64, max_bytes: usize) -> Result<Read, ErrorCode> {
        let batches = self.batches(offset, until, max_bytes).map_err(|error| storage_error(&error, self.id))?;
        let (log_start, high_watermark, last_stable) = (self.start, self.end, self.last_stable());
        Ok(Read { log_start, high_watermark, last_stable, batches, aborted: Vec::new() })
    }

    fn batches(&self, offset: i64, until: i64, max_bytes: usize) -> io::Result<Vec<Bytes>> {
        let from = self.segments.partition_point(|segment| segment.end_offset <= offset);
        for segment in self.segments.range(from..).take_while(|segment| segment.base_offset < until) {
            let batches = segment.read(offset, until, max_bytes)?;
            // Compaction may have removed all records of this segment from `offset` on.
            if !batches.is_empty() {
                return Ok(batches);
            }
        }
        Ok(Vec::new())
    }

    pub(crate) fn find_offset(&self, spec: OffsetSpec) -> Result<FoundOffset, ErrorCode> {
        let time_ms = match spec {
            OffsetSpec::Earliest => return Ok(FoundOffset { offset: self.start, timestamp: -1 }),
            OffsetSpec::Latest => return Ok(FoundOffset { offset: self.end, timestamp: -1 }),
            OffsetSpec::MaxTimestamp => self.latest_ms(),
            OffsetSpec::Since(time_ms) => time_ms,
        };
        let found = self.record_since(time_ms).map_err(|error| storage_error(&error, self.id))?;
        Ok(found.unwrap_or(FoundOffset { offset: -1, timestamp: -1 }))
    }

    /// Like [`find_offset`](Self::find_offset), before the last stable offset.
    pub(crate) fn find_committed_offset(&self, spec: OffsetSpec) -> Result<FoundOffset, ErrorCode> {
        let last_stable = self.last_stable();
        let found = match spec {
            OffsetSpec::Latest => return Ok(FoundOffset { offset: last_stable, timestamp: -1 }),
            spec => self.find_offset(spec)?,
        };
        let is_visible = found.offset < last_stable || spec == OffsetSpec::Earliest;
        Ok(if is_visible { found } else { FoundOffset { offset: -1, timestamp: -1 } })
    }

    fn record_since(&self, time_ms: i64) -> io::Result<Option<FoundOffset>> {
        let mut from = self.start;
        // The record that made a batch match may have been deleted; then the search continues after the batch.
        while let Some((header, bytes)) = self.batch_since(time_ms, from)? {
            let Some(body) = raw::readable(&header, &bytes) else {
                // The start of a damaged batch is the best answer.
                let offset = header.base_offset.max(self.start);
                return Ok(Some(FoundOffset { offset, timestamp: header.base_timestamp }));
            };
            let records = raw::records(&header, &body).map_while(Result::ok);
            let mut found =
                records.map(|record| FoundOffset { offset: record.offset, timestamp: header.timestamp_of(&record) });
            let is_right = |found: &FoundOffset| found.timestamp >= time_ms && found.offset >= self.start;
            if let Some(found) = found.find(is_right) {
                return Ok(Some(found));
            }
            from = header.last_offset() + 1;
        }
        Ok(None)
    }

    fn batch_since(&self, time_ms: i64, from: i64) -> io::Result<Option<(Header, Bytes)>> {
        let candidates =
            self.segments.iter().filter(|segment| segment.max_timestamp >= time_ms && segment.end_offset > from);
        for segment in candidates {
            if let Some(found) = segment.batch_since(time_ms, from)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Deletes all records before `offset`. Whole segments are deleted at once; the remaining records are only hidden.
    pub(crate) fn delete_before(&mut self, offset: i64, storage: &mut dyn LogStorage) -> Result<(), ErrorCode> {
        if offset < 0 || offset > self.end {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        if offset > self.start {
            self.abandon_compaction();
        }
        self.start = self.start.max(offset);
        self.transactions.forget_before(self.start);
        self.drop_segments(storage).map_err(|error| storage_error(&error, self.id))
    }

    fn drop_segments(&mut self, storage: &mut dyn LogStorage) -> io::Result<()> {
        self.drop_former_segments()?;
        if self.segments.back().is_some_and(|last| last.end_offset <= self.start && !last.is_empty()) {
            self.begin_segment(storage)?;
            self.drop_former_segments()?;
        }
        Ok(())
    }

    /// Deletes the segments before the log start offset, except the last one.
    fn drop_former_segments(&mut self) -> io::Result<()> {
        while self.segments.len() > 1 && self.segments[0].end_offset <= self.start {
            let Some(first) = self.segments.pop_front() else { break };
            first.delete()?;
        }
        Ok(())
    }

    /// Returns the log start offset after retention at `now_ms`. Retention deletes whole segments only.
    pub(crate) fn start_after_retention(&self, config: &TopicConfig, now_ms: i64) -> i64 {
        if !config.deletes {
            return self.start;
        }
        let mut start = self.start;
        let mut size = self.size();
        for segment in &self.segments {
            let too_old = config.retention_ms.is_some_and(|keep| segment.max_timestamp < now_ms.saturating_sub(keep));
            let is_active = !segment.is_sealed();
            let too_much = config.retention_bytes.is_some_and(|keep| size - segment.size() >= keep) && !is_active;
            if segment.first_timestamp.is_none() && !is_active {
                // Compaction has removed all records of this segment; it is deleted with the next one.
                continue;
            }
            if segment.is_empty() || !(too_old || too_much) {
                break;
            }
            size -= segment.size();
            start = segment.end_offset;
        }
        start
    }

    /// Requests a sync of the active segment if more than `least` bytes of it are not synced; the others are synced when they
    /// are sealed. Returns the end of what is synced then.
    pub(crate) fn sync(&mut self, least: u64) -> i64 {
        let Some(active) = self.segments.back_mut() else { return 0 };
        if active.unsynced() > least {
            active.sync();
        }
        active.synced()
    }

    /// Stores a summary of the last segment, so that the next start need not read it. The others are summarized when they are
    /// sealed.
    pub(crate) fn summarize(&mut self) {
        if let Some(last) = self.segments.back_mut() {
            last.summarize(&self.producers);
        }
    }

    /// Verifies the batches with these offsets, about `step_bytes`: their order and their checksums.
    pub(crate) fn verify(&self, offsets: Range<i64>, step_bytes: usize) -> Verified {
        // From the start of a batch on.
        let next = offsets.start.max(self.segments.front().map_or(self.start, |first| first.base_offset));
        let mut verified = Verified { next, bytes: 0, is_damaged: false };
        let at = self.segments.partition_point(|segment| segment.end_offset <= next);
        let Some(segment) = self.segments.get(at).filter(|_| next < offsets.end) else {
            return Verified { next: offsets.end, ..verified };
        };
        let mut is_interrupted = false;
        let read = segment.each_batch(next, |header, bytes| {
            // The checksum does not cover the offset and the leader epoch.
            let is_placed = match (segment.has_gaps(), verified.bytes > 0) {
                (false, true) => header.base_offset == verified.next,
                (false, false) => header.base_offset <= verified.next,
                (true, true) => header.base_offset >= verified.next,
                (true, false) => true,
            };
            let is_inside = header.base_offset >= segment.base_offset && header.last_offset() < segment.end_offset;
            verified.is_damaged = !(is_placed && is_inside && scan::is_intact(bytes));
            if verified.is_damaged {
                return Ok(false);
            }
            verified.next = header.last_offset() + 1;
            verified.bytes += header.size;
            is_interrupted = verified.bytes >= step_bytes || verified.next >= offsets.end;
            Ok(!is_interrupted)
        });
        verified.is_damaged |= read.is_err();
        if !verified.is_damaged && !is_interrupted {
            verified.next = segment.end_offset;
        }
        verified
    }

    /// Returns the highest id of a producer that has written to the log.
    pub(crate) fn max_producer_id(&self) -> Option<i64> {
        self.producers.max_id()
    }

    /// Returns the largest timestamp of the records, or -1 if there are none.
    pub(crate) fn latest_ms(&self) -> i64 {
        self.segments.iter().map(|segment| segment.max_timestamp).max().unwrap_or(-1)
    }

    /// Returns the epoch of a producer that has written to the log.
    pub(crate) fn producer_epoch(&self, producer_id: i64) -> Option<i16> {
        self.producers.epoch(producer_id)
    }

    pub(crate) fn active_producers(&self) -> Vec<ActiveProducer> {
        let mut active = self.producers.active();
        for producer in &mut active {
            producer.open_since = self.transactions.open_since(producer.id);
        }
        active
    }

    pub(crate) fn forget_silent_producers(&mut self, now_ms: i64) {
        let transactions = &self.transactions;
        let is_open = |producer_id| transactions.open_since(producer_id).is_some();
        self.producers.forget_before(now_ms.saturating_sub(PRODUCER_EXPIRY_MS), is_open);
    }
}

/// Returns the offset after the last of these batches.
fn next_offset(batches: &Bytes) -> Option<i64> {
    let (mut rest, mut next) = (&batches[..], None);
    while let Some(header) = Header::read(rest).filter(|header| header.size <= rest.len()) {
        next = Some(header.last_offset() + 1);
        rest = &rest[header.size..];
    }
    next
}

fn storage_error(error: &io::Error, id: PartitionId) -> ErrorCode {
    let advice = advice(error);
    tracing::error!(topic_id = %format_args!("{:032x}", id.topic_id), partition = id.partition, %error, advice, "storage failed");
    ErrorCode::StorageError
}

#[cfg(test)]
mod tests;
