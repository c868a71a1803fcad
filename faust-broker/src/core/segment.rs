//! A segment of a log: consecutive batches with a sparse index from offset to position.

use std::io;

use bytes::Bytes;

use crate::core::batch::{Batch, Header};
use crate::core::log::SegmentTransactions;
use crate::core::producer_state::Producers;
use crate::core::records::marker::{self, Outcome};
use crate::core::scan::{BatchWalk, WalkStep};
use crate::core::storage::{SegmentData, StoredSegment};
use crate::core::summary::{Entry, Summary};

/// Minimum distance between two index entries in bytes. A larger value saves memory, but lookups scan more batches.
const INDEX_INTERVAL: u64 = 8 * 1024;

/// Number of bytes per read when a whole segment is scanned.
const CHUNK: usize = 1024 * 1024;

/// A segment of a log, starting at `base_offset`.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base_offset: i64,
    /// The offset after the last record, including records that compaction has removed and damage has destroyed.
    pub(crate) end_offset: i64,
    /// Highest timestamp of the records, or -1 if there are none.
    pub(crate) max_timestamp: i64,
    /// Highest timestamp of the first batch that has records.
    pub(crate) first_timestamp: Option<i64>,
    /// Earliest time at which tombstones of the segment may be removed.
    pub(crate) delete_horizon_ms: Option<i64>,
    /// Time at which the first batch was appended; an estimate after a restart.
    pub(crate) begun_ms: Option<i64>,
    /// End of the records for which a sync has been requested.
    synced: i64,
    /// True if the stored summary is that of the segment.
    is_summarized: bool,
    transactions: SegmentTransactions,
    state: State,
    /// Ordered by offset; the first entry is the first batch.
    index: Vec<Entry>,
    data: Box<dyn SegmentData>,
}

/// The state of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The active segment: batches are appended without gaps.
    Growing,
    /// Nothing more is appended.
    Sealed,
    /// Written by compaction or repaired. It has gaps, and its end offset does not follow from its batches.
    Rewritten,
}

/// A segment of an earlier run, after a walk through all of its batches.
#[derive(Debug)]
pub(crate) enum Recovered {
    Whole(Segment),
    /// It contains something else than batches, or ends too early. It has not been changed.
    Damaged(StoredSegment),
}

impl Segment {
    pub(crate) fn new(base_offset: i64, data: Box<dyn SegmentData>) -> Self {
        Self {
            base_offset,
            end_offset: base_offset,
            max_timestamp: -1,
            first_timestamp: None,
            delete_horizon_ms: None,
            begun_ms: None,
            synced: base_offset,
            is_summarized: false,
            transactions: SegmentTransactions::default(),
            state: State::Growing,
            index: Vec::new(),
            data,
        }
    }

    /// Opens a segment of an earlier run and rebuilds its index, calling `seen` for each batch of a client. `next` is the
    /// offset at which the next segment begins, and `reach` the offset that the segment must reach. Checksums are not verified before the offset `trusted`.
    pub(crate) fn recover(
        stored: StoredSegment,
        next: Option<i64>,
        reach: i64,
        trusted: i64,
        mut seen: impl FnMut(&Header),
    ) -> io::Result<Recovered> {
        let bounds = stored.bounds(next);
        let is_usable = |summary: &Summary| {
            // The end of the last segment follows from its batches, and that of others is known.
            let is_end_right = summary.end_offset == bounds.offsets.end || bounds.offsets.end == i64::MAX;
            summary.len == stored.data.len() && is_end_right && summary.end_offset <= trusted
        };
        if let Some(summary) = stored.data.summary().filter(is_usable)
            && summary.end_offset >= reach
        {
            summary.batches.iter().for_each(seen);
            return Ok(Recovered::Whole(Self::summarized(stored, next, summary)));
        }
        let mut walk = BatchWalk::new(bounds, trusted);
        let StoredSegment { base_offset, end_offset, synced, data } = stored;
        let mut segment = Self::new(base_offset, data);
        let mut synced_bytes = 0;
        let is_whole = loop {
            match walk.next(segment.data.as_ref())? {
                WalkStep::Batch(header, position) => {
                    if !header.is_control() {
                        seen(&header);
                    }
                    let outcome = segment.outcome_at(&header, position)?;
                    segment.note(&header, position, outcome);
                    if header.last_offset() < synced {
                        synced_bytes = position + header.size as u64;
                    }
                }
                WalkStep::End => break true,
                WalkStep::Damage => break false,
            }
        };
        segment.end_offset = end_offset.unwrap_or(segment.end_offset);
        if !is_whole || segment.end_offset < reach {
            let data = segment.data;
            return Ok(Recovered::Damaged(StoredSegment { base_offset, end_offset, synced, data }));
        }
        segment.synced = synced.clamp(base_offset, segment.end_offset);
        segment.data.was_synced(synced_bytes);
        if end_offset.is_some() {
            segment.state = State::Rewritten;
        }
        if next.is_some() || end_offset.is_some() {
            segment.seal();
        }
        Ok(Recovered::Whole(segment))
    }

    /// Opens a segment that an earlier run has summarized.
    fn summarized(stored: StoredSegment, next: Option<i64>, summary: Summary) -> Self {
        let StoredSegment { base_offset, end_offset, synced, data } = stored;
        let Summary { end_offset: end, max_timestamp, first_timestamp, delete_horizon_ms, index, .. } = summary;
        let mut segment = Self::new(base_offset, data);
        (segment.end_offset, segment.max_timestamp, segment.index) = (end, max_timestamp, index);
        (segment.first_timestamp, segment.delete_horizon_ms) = (first_timestamp, delete_horizon_ms);
        segment.transactions = summary.transactions;
        segment.is_summarized = true;
        segment.data.was_synced(if end <= synced { segment.data.len() } else { 0 });
        segment.synced = synced.clamp(base_offset, end);
        if end_offset.is_some() {
            segment.state = State::Rewritten;
        }
        if next.is_some() || end_offset.is_some() {
            segment.seal();
        }
        segment
    }

    /// Stores a summary of a segment to which nothing is appended for now, unless there is one. `producers` are those that have
    /// written to it.
    pub(crate) fn summarize(&mut self, producers: &Producers) {
        if std::mem::replace(&mut self.is_summarized, true) {
            return;
        }
        let summary = Summary {
            len: self.data.len(),
            end_offset: self.end_offset,
            max_timestamp: self.max_timestamp,
            first_timestamp: self.first_timestamp,
            delete_horizon_ms: self.delete_horizon_ms,
            index: self.index.clone(),
            batches: producers.batches_in(&(self.base_offset..self.end_offset)),
            transactions: self.transactions.clone(),
        };
        self.data.set_summary(&summary);
    }

    /// Returns the outcome of the transaction that a batch ends.
    fn outcome_at(&self, header: &Header, position: u64) -> io::Result<Option<Outcome>> {
        if !header.is_control() {
            return Ok(None);
        }
        let bytes = self.data.read(position, header.size)?;
        Ok(bytes.first().and_then(|bytes| outcome_in(header, bytes.get(..header.size)?)))
    }

    /// Returns the transactions that begin or end in the segment.
    pub(crate) fn transactions(&self) -> &SegmentTransactions {
        &self.transactions
    }

    pub(crate) fn size(&self) -> u64 {
        self.data.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Appends a batch. Its records get offsets starting at `end_offset`.
    pub(crate) fn append(&mut self, batch: &Batch, leader_epoch: i32) -> io::Result<()> {
        let position = self.data.len();
        let (stamp, rest) = batch.stamped(self.end_offset, leader_epoch);
        self.data.append(&stamp, rest)?;
        let outcome = outcome_in(batch.header(), batch.bytes());
        self.note(&Header { base_offset: self.end_offset, ..*batch.header() }, position, outcome);
        Ok(())
    }

    /// Appends a stored batch with its own offsets, which may leave a gap.
    pub(crate) fn append_stored(&mut self, header: &Header, bytes: &[u8]) -> io::Result<()> {
        let position = self.data.len();
        let short = || io::Error::new(io::ErrorKind::InvalidData, "a batch is shorter than its header");
        let (stamp, rest) = bytes.split_first_chunk().ok_or_else(short)?;
        self.data.append(stamp, rest)?;
        self.note(header, position, outcome_in(header, bytes));
        Ok(())
    }

    fn note(&mut self, header: &Header, position: u64, outcome: Option<Outcome>) {
        self.is_summarized = false;
        self.transactions.note(header, outcome);
        if self.index.last().is_none_or(|last| position - last.position >= INDEX_INTERVAL) {
            let max_timestamp_before = self.max_timestamp;
            self.index.push(Entry { offset: header.base_offset, position, max_timestamp_before });
        }
        self.end_offset = header.last_offset() + 1;
        if header.record_count > 0 {
            self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
            self.first_timestamp.get_or_insert(header.max_timestamp);
        }
        if let Some(horizon_ms) = header.delete_horizon_ms() {
            self.delete_horizon_ms = Some(self.delete_horizon_ms.map_or(horizon_ms, |first| first.min(horizon_ms)));
        }
    }

    /// Reads whole batches that start before `until`, starting with the first batch that has records and ends at
    /// `offset` or later. See [`SegmentData::read`] for `max_bytes`.
    pub(crate) fn read(&self, offset: i64, until: i64, max_bytes: usize) -> io::Result<Vec<Bytes>> {
        let wanted = |header: &Header| header.last_offset() >= offset && header.record_count > 0;
        let Some((position, first)) = self.find(self.entry_before(offset), wanted)? else { return Ok(Vec::new()) };
        if first.base_offset >= until {
            return Ok(Vec::new());
        }
        let mut max_bytes = max_bytes;
        if until < self.end_offset
            && let Some((end, _)) = self.find(self.entry_before(until), |header| header.base_offset >= until)?
        {
            max_bytes = max_bytes.min(usize::try_from(end - position).unwrap_or(usize::MAX));
        }
        self.data.read(position, max_bytes)
    }

    /// Returns the first batch that ends at offset `from` or later and may contain a record with a timestamp of at
    /// least `time_ms`.
    pub(crate) fn batch_since(&self, time_ms: i64, from: i64) -> io::Result<Option<(Header, Bytes)>> {
        let earlier = self.index.partition_point(|entry| entry.max_timestamp_before < time_ms);
        let start = self.position_before(earlier).max(self.entry_before(from));
        let wanted = |header: &Header| header.max_timestamp >= time_ms && header.last_offset() >= from;
        let Some((position, header)) = self.find(start, wanted)? else { return Ok(None) };
        let bytes = self.data.read(position, header.size)?.into_iter().next();
        Ok(bytes.map(|bytes| (header, bytes.slice(..header.size))))
    }

    /// Calls `each` for every batch, starting with the one that contains `offset`, until it returns an error or
    /// `false`.
    pub(crate) fn each_batch(
        &self,
        offset: i64,
        mut each: impl FnMut(&Header, &[u8]) -> io::Result<bool>,
    ) -> io::Result<()> {
        let Some((mut position, _)) = self.find(self.entry_before(offset), |header| header.last_offset() >= offset)?
        else {
            return Ok(());
        };
        while position < self.data.len() {
            for chunk in self.data.read(position, CHUNK)? {
                let mut rest = &chunk[..];
                while let Some(header) = Header::read(rest).filter(|header| header.size <= rest.len()) {
                    let (batch, after) = rest.split_at(header.size);
                    if !each(&header, batch)? {
                        return Ok(());
                    }
                    rest = after;
                    position += header.size as u64;
                }
                if !rest.is_empty() || chunk.is_empty() {
                    let text = format!("incomplete batch at position {position}");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
            }
        }
        Ok(())
    }

    fn entry_before(&self, offset: i64) -> u64 {
        self.position_before(self.index.partition_point(|entry| entry.offset <= offset))
    }

    /// Returns the position of the index entry before the one with index `at`, or 0 if there is none.
    fn position_before(&self, at: usize) -> u64 {
        at.checked_sub(1).map_or(0, |at| self.index[at].position)
    }

    fn find(&self, from: u64, wanted: impl Fn(&Header) -> bool) -> io::Result<Option<(u64, Header)>> {
        let mut position = from;
        while position < self.data.len() {
            let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("no batch at position {position}"));
            // A reader must not be sent to another offset by one that is damaged.
            let is_inside = |header: &Header| {
                header.base_offset >= self.base_offset
                    && header.last_offset_delta >= 0
                    && header.last_offset() < self.end_offset
            };
            let header = Header::read(&self.data.header(position)?).filter(is_inside).ok_or_else(damaged)?;
            if wanted(&header) {
                return Ok(Some((position, header)));
            }
            position += header.size as u64;
        }
        Ok(None)
    }

    /// Marks the segment as complete: nothing more will be appended.
    pub(crate) fn seal(&mut self) {
        if self.state == State::Growing {
            self.state = State::Sealed;
        }
        self.index.shrink_to_fit();
        self.data.seal();
        self.sync();
    }

    /// Syncs the batches in the background, so that they survive a power failure.
    pub(crate) fn sync(&mut self) {
        self.data.sync();
        self.synced = self.end_offset;
    }

    /// Returns the number of bytes for which no sync has been requested yet.
    pub(crate) fn unsynced(&self) -> u64 {
        self.data.unsynced()
    }

    /// Returns true if no sync that was requested is still to be done, and an error if it has failed.
    pub(crate) fn is_synced(&self) -> io::Result<bool> {
        self.data.is_synced()
    }

    /// Returns the end of the records for which a sync has been requested.
    pub(crate) fn synced(&self) -> i64 {
        self.synced
    }

    /// Returns true if nothing more will be appended.
    pub(crate) fn is_sealed(&self) -> bool {
        self.state != State::Growing
    }

    /// Returns true if offsets may be missing between two batches.
    pub(crate) fn has_gaps(&self) -> bool {
        self.state == State::Rewritten
    }

    /// Puts a segment written by compaction into effect. It replaces all records before `end_offset`.
    pub(crate) fn install(&mut self, end_offset: i64) -> io::Result<()> {
        self.data.install()?;
        self.state = State::Rewritten;
        self.end_offset = end_offset;
        self.seal();
        Ok(())
    }

    /// Returns true if the segment was written by compaction for exactly these offsets.
    pub(crate) fn is_rewritten_as(&self, base_offset: i64, end_offset: i64) -> bool {
        self.state == State::Rewritten && self.base_offset == base_offset && self.end_offset == end_offset
    }

    pub(crate) fn delete(mut self) -> io::Result<()> {
        self.data.delete()
    }
}

fn outcome_in(header: &Header, batch: &[u8]) -> Option<Outcome> {
    if header.is_control() { marker::outcome(header, batch) } else { None }
}
